"""HTTP/1.1 as uvicorn speaks it, with limits on how long and how large a request's head may be."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_SECONDS", "PatientProtocol"]

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10


class PatientProtocol(HttpToolsProtocol):
    """Hang up on who opens a connection, or begins a request, and does not go on."""

    _deadline: asyncio.TimerHandle | None = None
    _n_head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Stop the clock once a whole head is there; let it run on while one drips in."""
        super().data_received(data)
        if self._is_busy():
            self._n_head_bytes = 0
            self._disarm()
            return
        self._n_head_bytes += len(data)
        if self._n_head_bytes > HEAD_BYTES:
            self._hang_up()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._disarm()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if not self._is_busy():
            self.transport.close()

"""Running the application: its listeners, its signals, a stop that drops no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import uvicorn

from retrieval.config import Settings
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.server.app import make_app
from retrieval.server.auth import Boundary, Policy, make_policy
from retrieval.server.local import SOCKET_NAME, listen_local
from retrieval.server.protocol import PatientProtocol
from retrieval.server.state import Options, State

__all__ = ["Address", "listen_tcp", "run_servers", "serve", "uvicorn_server"]

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_STOP_SECONDS = 20
_TURN_SECONDS = 0.0001


@dataclass(frozen=True)
class Address:
    """Where to listen, and who may come.

    Attributes:
        host, port: of the TCP listener; port 0 takes a free one.
        token: the secret, or empty.
        names: further host names by which the server is addressed.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    names: tuple[str, ...] = ()


def serve(
    engine: Engine,
    *,
    settings: Settings,
    address: Address,
    options: Options | None = None,
    on_start: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve a store until a signal comes; what has begun by then is finished.

    Args:
        engine: of the store; stays open.
        settings: resolved.
        address: where.
        options: how.
        on_start: is told the URL once requests are taken.

    Raises:
        UsageError: an unsafe address (`token_missing`), or one that is taken (`address_in_use`).
    """
    policy = make_policy(address.host, token=address.token, names=address.names)
    listener = listen_tcp(address)
    port = listener.getsockname()[1]
    host = f"[{address.host}]" if ":" in address.host else address.host
    state = State(engine=engine, settings=settings, options=options or Options())
    local = _listen_local(engine)
    try:
        app = make_app(state)
        servers = [uvicorn_server(Boundary(app, policy=policy, is_full=state.turns_away))]
        sockets = [listener]
        if local is not None:
            servers.append(
                uvicorn_server(Boundary(app, policy=Policy(local=True), is_full=state.turns_away))
            )
            sockets.append(local)
        # A search in its thread would keep the loop that answers waiting 5 ms for each turn.
        sys.setswitchinterval(_TURN_SECONDS)
        state.start()
        on_start(f"http://{host}:{port}")
        # uvloop where there is one: a request costs it less than asyncio's own loop
        with asyncio.Runner(loop_factory=servers[0].config.get_loop_factory()) as runner:
            runner.run(run_servers(servers, sockets))
    finally:
        state.close()
        listener.close()
        if local is not None:
            local.close()
            (engine.store.root / SOCKET_NAME).unlink(missing_ok=True)


async def run_servers(servers: list[uvicorn.Server], sockets: list[socket.socket]) -> None:
    """Run servers, each on its socket, until the first signal; the second does not wait."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.force_exit = server.should_exit  # the second signal does not wait
            server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(s.serve([k]) for s, k in zip(servers, sockets, strict=True)))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run_servers`: there is more than one server."""
        yield


def uvicorn_server(app: Boundary, *, lifespan: Literal["on", "off"] = "off") -> uvicorn.Server:
    """Make the server of one listener."""
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever comes says so himself, and nobody here believes it
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_SECONDS,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=64 << 10,
        http=PatientProtocol,
    )
    return _Server(config)


def listen_tcp(address: Address) -> socket.socket:
    """Listen on an address.

    Raises:
        UsageError: it is taken, or not ours (`address_in_use`).
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With its protocol named: only then does asyncio turn Nagle's 40 ms off.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {address.host} port {address.port}: {error}; name another --port",
            code="address_in_use",
        ) from error
    return listener


def _listen_local(engine: Engine) -> socket.socket | None:
    try:
        return listen_local(engine.store.root)
    except OSError as error:
        _log.warning(
            "no socket in the store (%s): the command line will not use this server", error
        )
        return None

"""Many may search at once; who changes an index has it alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Guard:
    """Admit any number of users or one changer.

    faiss is safe for concurrent searches on a CPU and unsafe for a search beside a change. A
    waiting changer goes first, so a stream of searches cannot starve it.

    Example:
        >>> guard = Guard()
        >>> with guard.use(), guard.use():
        ...     pass
        >>> with guard.change():
        ...     pass
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._n_users = 0
        self._n_waiting = 0
        self._changing = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """Search; waits while somebody changes the index or is about to."""
        with self._turn:
            self._turn.wait_for(lambda: not self._changing and not self._n_waiting)
            self._n_users += 1
        try:
            yield
        finally:
            with self._turn:
                self._n_users -= 1
                self._turn.notify_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Add or remove; waits until nobody searches."""
        with self._turn:
            self._n_waiting += 1
            self._turn.wait_for(lambda: not self._changing and not self._n_users)
            self._n_waiting -= 1
            self._changing = True
        try:
            yield
        finally:
            with self._turn:
                self._changing = False
                self._turn.notify_all()

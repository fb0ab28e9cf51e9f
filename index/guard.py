"""Many may search at once; who changes an index has it alone."""

from __future__ import annotations

import threading


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
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._n_users = 0
        self._n_waiting = 0
        self._changing = False
        self._user = _User(self)
        self._changer = _Changer(self)

    def use(self) -> _User:
        """Search; waits while somebody changes the index or is about to."""
        return self._user

    def change(self) -> _Changer:
        """Add or remove; waits until nobody searches."""
        return self._changer

    def begin_use(self) -> None:
        with self._lock:
            if self._changing or self._n_waiting:
                self._turn.wait_for(lambda: not self._changing and not self._n_waiting)
            self._n_users += 1

    def end_use(self) -> None:
        with self._lock:
            self._n_users -= 1
            if self._n_waiting:
                self._turn.notify_all()

    def begin_change(self) -> None:
        with self._turn:
            self._n_waiting += 1
            self._turn.wait_for(lambda: not self._changing and not self._n_users)
            self._n_waiting -= 1
            self._changing = True

    def end_change(self) -> None:
        with self._turn:
            self._changing = False
            self._turn.notify_all()


class _User:
    """What `with` enters; without state of its own, so that one serves every thread."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._guard.begin_use()

    def __exit__(self, *_: object) -> None:
        self._guard.end_use()


class _Changer:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._guard.begin_change()

    def __exit__(self, *_: object) -> None:
        self._guard.end_change()

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


class _User:
    """What `with` enters; without state of its own, so that one serves every thread."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        guard = self._guard
        with guard._lock:
            if guard._changing or guard._n_waiting:
                guard._turn.wait_for(lambda: not guard._changing and not guard._n_waiting)
            guard._n_users += 1

    def __exit__(self, *_: object) -> None:
        guard = self._guard
        with guard._lock:
            guard._n_users -= 1
            if guard._n_waiting:
                guard._turn.notify_all()


class _Changer:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        guard = self._guard
        with guard._turn:
            guard._n_waiting += 1
            guard._turn.wait_for(lambda: not guard._changing and not guard._n_users)
            guard._n_waiting -= 1
            guard._changing = True

    def __exit__(self, *_: object) -> None:
        guard = self._guard
        with guard._turn:
            guard._changing = False
            guard._turn.notify_all()

"""A large value on its way into the store: written piece by piece, over as many turns as that takes."""

from __future__ import annotations

from stash_daemon.engine.core import Core
from stash_daemon.store import PIECE, Large
from stash_protocol.reader import Payload


class Draft:
    """The pieces of a value that no entry has yet. Whoever makes one drops it in the end, whatever became of it.

    Args:
        core: the engine.
        value: all of it, in memory.
    """

    def __init__(self, core: Core, value: Payload) -> None:
        self._store = core.store
        self._rest = memoryview(value)
        self._size = len(value)
        self._number: int | None = None
        self._places = 0

    @property
    def complete(self) -> bool:
        """Whether all pieces were written."""
        return not self._rest

    def write(self) -> None:
        """Within a turn: write the next piece. A turn that fails leaves a draft that can only be dropped."""
        if self._number is None:
            self._number = self._store.draft()
        self._store.add_piece(self._number, self._places, self._rest[:PIECE])
        self._places += 1
        self._rest = self._rest[PIECE:]

    def value(self) -> Large:
        """What the entry is to have."""
        assert self._number is not None
        return self._store.drafted(self._number, self._size)

    def drop(self) -> None:
        """Let go of it: what no entry has taken is swept."""
        if self._number is not None:
            self._store.unpin(self._number)
            self._number = None
        self._rest = memoryview(b"")

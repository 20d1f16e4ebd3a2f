"""Who keeps the daemon waiting is dropped.

One timer for all connections, and none while nobody can be waiting: a connection comes here when it opens, when a
frame stays incomplete, or when it does not read what it asked for.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Protocol

TICK = 0.5  # seconds: how late a limit may be noticed
STALL_PATIENCE = 29.0  # seconds without progress: a network recovers in less, or not at all; with a tick under 30


class Suspect(Protocol):
    """Something that may stall."""

    def judge(self, now: float) -> bool:
        """Drop what has stalled by ``now`` (seconds of the loop); whether to look again later."""
        ...


class Progress:
    """Whether a count of bytes goes on growing."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since: float | None = None

    def stalled(self, now: float, count: int, least: int) -> bool:
        """Whether it has grown by less than ``least`` for longer than `STALL_PATIENCE`."""
        if self._since is None or count - self._count >= least or count < self._count:
            self._count, self._since = count, now
        return now - self._since > STALL_PATIENCE

    def reset(self) -> None:
        """Nothing is waited for."""
        self._since = None


class Patience:
    """Looks at every suspect twice a second, for as long as there is one."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._suspects: set[Suspect] = set()
        self._ticking = False

    def watch(self, suspect: Suspect) -> None:
        """Keep an eye on it."""
        self._suspects.add(suspect)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK, self._tick)

    def forget(self, suspect: Suspect) -> None:
        """It is gone."""
        self._suspects.discard(suspect)

    def _tick(self) -> None:
        now = self._loop.time()
        for suspect in tuple(self._suspects):
            if not suspect.judge(now):
                self._suspects.discard(suspect)
        self._ticking = bool(self._suspects)
        if self._ticking:
            self._loop.call_later(TICK, self._tick)

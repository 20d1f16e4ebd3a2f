"""Whoever was just answered may ask again at once: the loop looks for that a moment before it goes to sleep."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from time import perf_counter_ns

from stash_protocol.eager import Eager

MOMENT = 100_000  # nanoseconds: time for a client that is awake to ask again


class Linger:
    """Keeps one loop awake after an answer, within the bounds of `Eager`."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._eager = Eager()
        self._until = 0  # nanoseconds of the performance counter
        self._looking = False

    def answered(self) -> None:
        """An answer was sent."""
        if self._looking:  # so it was to a request that was found
            self._eager.found()
        elif self._eager.looks():
            self._looking = True
            self._loop.call_soon(self._look)
        else:
            return
        self._until = perf_counter_ns() + MOMENT

    def _look(self) -> None:
        if perf_counter_ns() < self._until:
            self._loop.call_soon(self._look)  # the loop polls its sockets, without waiting, before it comes back
        else:
            self._looking = False
            self._eager.in_vain()

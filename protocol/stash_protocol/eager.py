"""Whether to look for what comes next a moment longer, before going to sleep for it.

A process that sleeps takes 30 to 50 µs to wake, longer than a request takes. Whoever looks instead spends processor
time, so it is bounded twice: no look takes longer than a moment, and after each that was in vain, twice as many things
as before are waited for asleep. Who is asked now and then sleeps as if there were nothing else.
"""

from __future__ import annotations

MOST_NAPS = 64  # between two looks in vain, so that those cost each of them a microsecond or two


class Eager:
    """One who waits, over and over."""

    __slots__ = ("_naps", "_next")

    def __init__(self) -> None:
        self._naps = 0
        self._next = 1

    def looks(self) -> bool:
        """Whether to look this time; the answer is then followed by `found` or `in_vain`."""
        if self._naps:
            self._naps -= 1
            return False
        return True

    def found(self) -> None:
        """It came while it was looked for."""
        self._next = 1

    def in_vain(self) -> None:
        """It did not."""
        self._naps = self._next
        self._next = min(2 * self._next, MOST_NAPS)

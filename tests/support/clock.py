"""A clock that tests drive: nothing waits for time to pass."""

from __future__ import annotations


class ManualClock:
    """Stands still until it is told to move. Milliseconds since the epoch."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def advance(self, *, ms: int = 0, seconds: float = 0) -> None:
        self.time += ms + round(seconds * 1000)

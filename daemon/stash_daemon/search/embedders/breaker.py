"""A circuit breaker: after so many failures in a row nobody calls for a while; then one call finds out."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

JITTER = 0.25  # of a pause, more or less: many daemons must not come back to one server at once


def jittered(pause: float) -> float:
    """About so long."""
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)


class Breaker:
    """Closed: calls are made. Open: none is, until a pause is over. Half open: one is, and decides.

    Args:
        most: failures in a row that open it.
        first, longest: pauses, seconds; each is twice the one before.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, most: int, *, first: float = 1.0, longest: float = 60.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._first = first
        self._longest = longest
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0  # when the pause is over; 0: it is closed
        self._pause = first

    @property
    def closed(self) -> bool:
        """Whether calls are made as usual."""
        return not self._until

    @property
    def healthy(self) -> bool:
        """Whether the last call went well, or there was none."""
        return not self._failures

    @property
    def left(self) -> float:
        """Seconds until a call may be made; 0: now."""
        return max(0.0, self._until - self._now()) if self._until else 0.0

    def admits(self) -> bool:
        """Whether to call now; when half open, only the first who asks gets a yes."""
        with self._lock:
            if not self._until:
                return True
            if self._now() < self._until:
                return False
            self._until = self._now() + self._longest  # should whoever calls now never say how it went
            return True

    def failed(self, retry_after: float | None = None, *, at_once: bool = False) -> bool:
        """A call failed; whether that opened the breaker.

        Args:
            retry_after: seconds for which the server wants no call; that opens it, too.
            at_once: open it however few failures there were.
        """
        with self._lock:
            self._failures += 1
            was_closed = not self._until
            if was_closed and self._failures < self._most and retry_after is None and not at_once:
                return False
            pause = max(jittered(self._pause), retry_after or 0.0)
            self._until = self._now() + pause
            self._pause = min(self._pause * 2, self._longest)
            return was_closed

    def succeeded(self) -> bool:
        """A call was answered; whether that closed the breaker."""
        with self._lock:
            was_open = bool(self._until)
            self._failures, self._until, self._pause = 0, 0.0, self._first
            return was_open

"""The one clock. Nothing else in stash asks what time it is.

A wall clock jumps: a user sets it, NTP corrects it. Entries must not live longer or die sooner for that, so the wall
clock is read once, and from then on time is what the monotonic clock that also counts sleep has added to it. The
reading is kept in the database as an `Anchor`: a restart during the same boot goes on from it, exactly; after a
reboot the wall clock is believed, but never below the latest time that was seen.
"""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

_SLEEP_COUNTING_CLOCK: int = getattr(
    time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)
)  # Linux; macOS, whose RAW clock counts sleep; else the best there is


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch; never less than before."""
        ...


class Anchor(NamedTuple):
    """A moment as two clocks saw it.

    Attributes:
        boot: names the boot the monotonic clock belongs to; empty where the system cannot say.
        monotonic: milliseconds of the monotonic clock.
        now: milliseconds since the epoch at that moment.
    """

    boot: str
    monotonic: int
    now: int


class SystemClock:
    """The clock of a running daemon.

    Args:
        last: the anchor the previous run left, if any.
    """

    def __init__(self, last: Anchor | None = None) -> None:
        boot, monotonic, wall = _boot_id(), _monotonic(), time.time_ns() // 1_000_000
        if last is None:
            now = wall
        elif last.boot and last.boot == boot and monotonic >= last.monotonic:
            now = last.now + monotonic - last.monotonic
        else:
            now = max(wall, last.now)
        self._boot = boot
        self._offset = now - monotonic

    def now(self) -> int:
        return self._offset + time.clock_gettime_ns(_SLEEP_COUNTING_CLOCK) // 1_000_000

    def anchor(self) -> Anchor:
        """What the next run needs to go on from here."""
        monotonic = _monotonic()
        return Anchor(self._boot, monotonic, self._offset + monotonic)


def _monotonic() -> int:
    return time.clock_gettime_ns(_SLEEP_COUNTING_CLOCK) // 1_000_000


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # not Linux
        return ""

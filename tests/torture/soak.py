"""Soak: mixed load with churn for as long as one likes. Memory, descriptors and files must not grow with time."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from stash_daemon.store import LOG_PAGES
from stash_daemon.stores.schema import PAGE_SIZE
from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon
from tests.support.tenants import answer, framed, issue
from tests.torture.hostile import resident

WORKERS, NAMESPACES = 6, 2
CALLS_A_CONNECTION = 200  # then another is opened: connections churn as entries do
KEYS = 400  # of each worker
LARGEST = 40_000  # bytes
TTLS = (50, 500, 5000, 20_000)  # milliseconds
MOST_LOG = 16 * LOG_PAGES * PAGE_SIZE >> 10  # KiB: after a few passes beside writes, these wait until it is moved
SLACK = 0.15  # the share by which the last third may be above the middle one
GRAIN = {"rss_kib": 8 << 10, "descriptors": 8, "database_kib": 4 << 10}  # what a figure may grow by in any case


class Sample(NamedTuple):
    """One look at the daemon."""

    seconds: float
    rss_kib: int
    descriptors: int
    database_kib: int
    log_kib: int
    entries: int
    calls: int


class Load:
    """What all workers do, and how often they did."""

    def __init__(self, daemon: RunningDaemon, ttls: tuple[int, ...]) -> None:
        self.calls = 0
        self._ttls = ttls
        self._daemon = daemon
        self._stopped = threading.Event()
        self.api_keys = [issue(daemon, f"soak-{number % NAMESPACES}") for number in range(WORKERS)]

    def work(self, name: int) -> None:
        """Everything a caller does, in no order, until stopped."""
        chance = random.Random(name)
        while not self._stopped.is_set():
            with self._daemon.connect(api_key=self.api_keys[name]) as line:
                answer(line, op.Watch(prefix=f"{name}/7", id=1 << 40))
                for _ in range(CALLS_A_CONNECTION):
                    if self._stopped.is_set():
                        return
                    self._call(line, name, chance)

    def _call(self, line: Line, name: int, chance: random.Random) -> None:
        key = f"{name}/{chance.randrange(KEYS)}"
        value = bytes(chance.choice((10, 1000, 1000, LARGEST)))
        ttl = chance.choice(self._ttls)
        calls: list[tuple[op.Request, bytes]] = [
            (op.Set(key=key, ttl_ms=ttl, tags=["soak"] * (ttl < 100)), value), (op.Set(ttl_ms=ttl), value),
            (op.Get(key=key), b""), (op.Get(key=key, touch=True), b""), (op.Get(key=key, wait_ms=1), b""),
            (op.Update(key=key, type="bytes", extend_ms=ttl), value), (op.Extend(key=key, by_ms=ttl), b""),
            (op.Incr(key=f"n{key}", ttl_ms=ttl), b""), (op.Append(key=f"l{key}", max_len=50, ttl_ms=ttl), b'"item"'),
            (op.Batch(), framed((op.Set(key=key, ttl_ms=ttl), value), (op.Exists(key=key), b""))),
            (op.Forget(keys=[key]), b""), (op.List(prefix=f"{name}/", limit=100), b""), (op.Export(prefix=key), b""),
            (op.Clear(prefix=f"{name}/1"), b""), (op.Prune(keep_newest=1000), b""), (op.GetStats(), b""),
        ]  # fmt: skip
        request, payload = chance.choice(calls)
        number = line.send(request, payload)
        while True:
            envelope, _ = line.read()
            if envelope["id"] == number and "push" not in envelope:
                break
        assert envelope.get("error", {}).get("code") in (None, "not_found", "timeout"), envelope
        self.calls += 1

    def stop(self) -> None:
        self._stopped.set()


def run(
    seconds: float, every: float, told: Callable[[str], None] | None = None, ttls: tuple[int, ...] = TTLS
) -> list[Sample]:
    """Load a daemon of its own for so long, with a look every so many seconds; entries live for the TTLs.

    Raises:
        AssertionError: something grew with time, or a call failed.
    """
    samples: list[Sample] = []
    with RunningDaemon() as daemon, ThreadPoolExecutor(WORKERS) as pool:
        load = Load(daemon, ttls)
        jobs = [pool.submit(load.work, name) for name in range(WORKERS)]
        began = time.monotonic()
        try:
            while time.monotonic() - began < seconds and not any(job.done() for job in jobs):
                time.sleep(every)
                samples.append(look(daemon, load, time.monotonic() - began))
                if told is not None:
                    told(row(samples[-1]))
        finally:
            load.stop()
        for job in jobs:
            job.result()
    flat(samples)
    return samples


def look(daemon: RunningDaemon, load: Load, seconds: float) -> Sample:
    entries = 0
    for api_key in load.api_keys[:NAMESPACES]:
        with daemon.connect(api_key=api_key) as line:
            entries += answer(line, op.GetStatus())["entries"]
    descriptors = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    database, log = (_kib(daemon.home / name) for name in ("stash.db", "stash.db-wal"))
    return Sample(seconds, resident(daemon), descriptors, database, log, entries, load.calls)


def _kib(path: Path) -> int:
    return path.stat().st_size >> 10 if path.exists() else 0


def flat(samples: list[Sample]) -> None:
    """The last third is not above the middle one; the first is for warming up."""
    assert len(samples) >= 6, f"{len(samples)} samples show nothing"
    assert max(sample.log_kib for sample in samples) <= MOST_LOG
    third = len(samples) // 3
    for figure, grain in GRAIN.items():
        middle = max(getattr(sample, figure) for sample in samples[third : 2 * third])
        last = max(getattr(sample, figure) for sample in samples[2 * third :])
        assert last <= max(middle * (1 + SLACK), middle + grain), f"{figure} grew from {middle:,} to {last:,}"


HEADING = "| minutes | memory, MiB | descriptors | database, MiB | log, MiB | entries | calls |\n" + "|---" * 7 + "|"


def row(sample: Sample) -> str:
    """One line of the table."""
    return (
        f"| {sample.seconds / 60:.1f} | {sample.rss_kib / 1024:.1f} | {sample.descriptors} |"
        f" {sample.database_kib / 1024:.1f} | {sample.log_kib / 1024:.1f} | {sample.entries:,} | {sample.calls:,} |"
    )

"""Reads beside long work."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.background import DYING
from bench.contenders import PATIENCE, Daemon, environment, stop
from bench.measure import REPEATS, Figure, compare_latency, no_collections, timed
from bench.rows import row
from bench.setting import Bench, check, fill, some_keys
from stash_memory import Stash

STAYING = 1_000
CHUNK = 20  # gets between two looks whether a prune has ended


@row("beside", "get while a scan over 100,000 entries, an export or a prune runs")
def beside(bench: Bench) -> Iterator[Figure]:
    """The same gets, quiet and with another client that keeps the daemon busy, in turns."""
    count = bench.size(100_000, 10_000)
    bench.fewer("beside", 100_000, count, "entries")
    with bench.stash(STAYING) as (daemon, stash):
        fill(stash, range(count), prefix=DYING)
        keys = some_keys(bench.size(4_000, 800), STAYING)
        for work in ("list", "export"):
            with at_work(daemon, work) as other:
                quiet, busy = in_turns_with(stash, keys, other)
            yield from compare_latency(f"get beside {work}", busy, quiet, "quiet", p99=3.0)
        with at_work(daemon, "prune") as other:
            quiet, busy = [], []
            for _ in range(REPEATS):
                fill(stash, range(count), prefix=DYING)
                with no_collections():
                    quiet.append(timed(stash.get, keys))
                    busy.append(_until_pruned(stash, keys, other))
        yield from compare_latency("get beside prune", busy, quiet, "quiet", p99=3.0)


class _Other:
    """The client that keeps the daemon busy."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def say(self, word: str) -> None:
        self._in.write(word + "\n")
        self._in.flush()

    def answered(self, patience: float = 0.0) -> bool:
        return bool(select.select([self._out], [], [], patience)[0])

    def answer(self) -> str:
        if not self.answered(PATIENCE):
            raise SystemExit("the client in the background does not answer")
        return self._out.readline().strip()


@contextmanager
def at_work(daemon: Daemon, work: str) -> Iterator[_Other]:
    """A client that keeps the daemon busy when told to; see `bench.background`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.background", work, daemon.socket],
        env=environment(daemon.home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        other = _Other(process)
        check(other.answer(), "ready")
        yield other
    finally:
        stop(process)


def in_turns_with(stash: Stash, keys: list[str], other: _Other) -> tuple[list[list[int]], list[list[int]]]:
    """The same gets, quiet and beside the other client, in turns."""
    quiet, busy = [], []
    with no_collections():
        for _ in range(REPEATS):
            quiet.append(timed(stash.get, keys))
            other.say("go")
            busy.append(timed(stash.get, keys))
            other.say("pause")
            if int(other.answer()) < 1:
                raise SystemExit("nothing went on in the background: more gets are needed")
    return quiet, busy


def _until_pruned(stash: Stash, keys: list[str], other: _Other) -> list[int]:
    """The gets that fall into one prune."""
    spans: list[int] = []
    other.say("go")
    for start in range(0, 1_000 * len(keys), CHUNK):
        place = start % (len(keys) - CHUNK)
        spans += timed(stash.get, keys[place : place + CHUNK])
        if other.answered():
            break
    other.answer()
    return spans

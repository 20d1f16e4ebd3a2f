"""Expiry with real clocks: two thousand ends within three seconds, under load; and wall clocks that jump."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic_ns
from typing import Any, NamedTuple

import msgspec
import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon
from tests.support.tenants import answer, exported, packed

MILLISECOND = 1_000_000  # nanoseconds
ENTRIES, PAGE = 2000, 250
TTLS = (200, 3000)  # milliseconds
WRITERS = 4
MOST_LATE = 50 * MILLISECOND
GRAIN = 2 * MILLISECOND  # the daemon reckons in whole milliseconds
AT_ONCE = 50  # reads in one send

SWEEPERS = {"on": "", "off": "from stash_daemon.sweeper import Sweeper\nSweeper._wake = lambda sweeper: None\n"}


class Life(NamedTuple):
    """When an entry ends, at the earliest and at the latest, by the test's own clock."""

    earliest: int
    latest: int


class Watchman:
    """Looks at every entry, over and over, in one way; notes what was there late and what was gone early."""

    def __init__(self, look: Callable[[Line, list[str]], set[str]], lives: dict[str, Life]) -> None:
        self.look = look
        self.lives = lives
        self.wrong: list[str] = []
        self.looks = 0

    def watch(self, daemon: RunningDaemon) -> None:
        """Until the last has ended."""
        keys = list(self.lives)
        with daemon.connect() as line:
            while monotonic_ns() < max(life.latest for life in self.lives.values()) + MOST_LATE:
                for start in range(0, len(keys), AT_ONCE):
                    self._judge(line, keys[start : start + AT_ONCE])

    def _judge(self, line: Line, keys: list[str]) -> None:
        began = monotonic_ns()
        found = self.look(line, keys)
        ended = monotonic_ns()
        self.looks += len(keys)
        for key in keys:
            life = self.lives[key]
            if key in found and began > life.latest + MOST_LATE:
                self.wrong.append(f"{key} is there {(began - life.latest) / MILLISECOND:.1f} ms late")
            if key not in found and ended < life.earliest - GRAIN:
                self.wrong.append(f"{key} is gone {(life.earliest - ended) / MILLISECOND:.1f} ms early")


def by_get(line: Line, keys: list[str]) -> set[str]:
    numbers = {line.send(op.Get(key=key)): key for key in keys}
    return {numbers[envelope["id"]] for envelope, _ in (line.read() for _ in keys) if "reply" in envelope}


def by_exists(line: Line, keys: list[str]) -> set[str]:
    numbers = {line.send(op.Exists(key=key)): key for key in keys}
    return {numbers[envelope["id"]] for envelope, _ in (line.read() for _ in keys) if envelope["reply"]["exists"]}


def by_list(line: Line, keys: list[str]) -> set[str]:
    _, page = line.call(op.List(prefix="e/", cursor=f"{min(keys)[:-1]}", limit=1000))
    return {entry["key"] for entry in msgspec.msgpack.decode(page)} & set(keys)


def write_on(daemon: RunningDaemon, name: str, stopped: threading.Event) -> int:
    """Set and replace other entries, eight at a time; how many."""
    written = 0
    with daemon.connect() as line:
        while not stopped.is_set():
            for n in range(8):
                line.send(op.Set(key=f"{name}/{n}", ttl_ms=random.randint(1, 300)), b"x" * 1000)
            written += sum("reply" in line.read()[0] for _ in range(8))
    return written


def import_two_thousand(line: Line) -> dict[str, Life]:
    lives: dict[str, Life] = {}
    for start in range(0, ENTRIES, PAGE):
        ttls = {f"e/{start + n:04}": random.randint(*TTLS) for n in range(PAGE)}
        called = monotonic_ns()
        rows = [[key, "bytes", ttl, b"v", []] for key, ttl in ttls.items()]
        assert answer(line, op.Import(), packed(rows))["imported"] == PAGE
        returned = monotonic_ns()
        lives |= {key: Life(called + ttl * MILLISECOND, returned + ttl * MILLISECOND) for key, ttl in ttls.items()}
    return lives


@pytest.mark.parametrize("sweeper", SWEEPERS)
def test_of_two_thousand_entries_none_ends_early_and_none_is_there_late(sweeper: str) -> None:
    stopped = threading.Event()
    with RunningDaemon(before=SWEEPERS[sweeper]) as daemon, ThreadPoolExecutor(WRITERS + 3) as pool:
        with daemon.connect() as line:
            lives = import_two_thousand(line)
        watchmen = [Watchman(look, lives) for look in (by_get, by_exists, by_list)]
        try:
            writers = [pool.submit(write_on, daemon, f"w{n}", stopped) for n in range(WRITERS)]
            for job in [pool.submit(watchman.watch, daemon) for watchman in watchmen]:
                job.result()
        finally:
            stopped.set()
        assert all(job.result() for job in writers)
        for watchman in watchmen:
            assert watchman.wrong == []
            assert watchman.looks > ENTRIES, "not each of them was looked at"
        with daemon.connect() as line:
            assert not {entry["key"] for entry, *_ in exported(line)} & lives.keys()
            if sweeper == "off":
                assert answer(line, op.Prune(dry_run=True))["expired"] >= ENTRIES, "something swept all the same"


# ── clocks that jump ──

DAY = 86_400_000  # milliseconds
YEAR = 365 * DAY
HOUR = 3_600_000

JUMPING = """
import os, time
def shift(name):
    try:
        with open(os.environ["SHIFTS"] + "/" + name) as file:
            return int(file.read() or 0) * 1_000_000
    except FileNotFoundError:
        return 0
wall, steady = time.time_ns, time.clock_gettime_ns
time.time_ns = lambda: wall() + shift("wall")
time.time = lambda: time.time_ns() / 1e9
time.clock_gettime_ns = lambda clock: steady(clock) + (shift("asleep") if clock == time.CLOCK_BOOTTIME else 0)
"""
"""Run in the daemon before it starts: its wall clock is ``wall`` milliseconds off, and it slept for ``asleep``."""


class Shifted:
    """A daemon whose clocks the test moves."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.daemon = RunningDaemon(before=JUMPING, environ={"SHIFTS": str(directory)})

    def shift(self, name: str, milliseconds: int) -> None:
        scratch = self._directory / "scratch"
        scratch.write_text(str(milliseconds))
        scratch.rename(self._directory / name)

    def left(self, key: str) -> int | None:
        """Milliseconds; None when it is not there."""
        with self.daemon.connect() as line:
            reply: dict[str, Any] = line.call(op.Ttl(key=key))[0].get("reply", {})
            return reply.get("ttl_ms")


@pytest.fixture
def shifted(tmp_path: Path) -> Any:
    shifted = Shifted(tmp_path)
    with shifted.daemon as daemon, daemon.connect() as line:
        answer(line, op.Set(key="short", ttl_ms=HOUR), b"v")
        answer(line, op.Set(key="long", ttl_ms=2 * DAY), b"v")
        yield shifted


@pytest.mark.parametrize("jump", [YEAR, -DAY], ids=["a year ahead", "a day back"])
def test_a_jump_of_the_wall_clock_changes_no_life(shifted: Shifted, jump: int) -> None:
    shifted.shift("wall", jump)
    assert HOUR - 20_000 < (shifted.left("short") or 0) <= HOUR
    assert 2 * DAY - 20_000 < (shifted.left("long") or 0) <= 2 * DAY


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_with_a_wall_clock_a_day_back_gives_no_time_back(shifted: Shifted, end: str) -> None:
    before = shifted.left("short")
    assert before is not None
    getattr(shifted.daemon, end)()
    shifted.shift("wall", -DAY)
    shifted.daemon.restart()
    after = shifted.left("short")
    assert after is not None
    assert before - 20_000 < after <= before
    assert (shifted.left("long") or 0) <= 2 * DAY


def test_time_asleep_counts(shifted: Shifted) -> None:
    shifted.shift("asleep", 2 * HOUR)
    assert shifted.left("short") is None
    assert 2 * DAY - 2 * HOUR - 20_000 < (shifted.left("long") or 0) <= 2 * DAY - 2 * HOUR


def test_time_asleep_while_stopped_counts(shifted: Shifted) -> None:
    shifted.daemon.stop()
    shifted.shift("asleep", 2 * HOUR)
    shifted.shift("wall", 2 * HOUR)
    shifted.daemon.restart()
    assert shifted.left("short") is None
    assert 2 * DAY - 2 * HOUR - 20_000 < (shifted.left("long") or 0) <= 2 * DAY - 2 * HOUR

"""Crash: writers at work, ``kill -9`` at a random moment, restart, compare with all that was acknowledged.

A round that was killed before it was promised anything worth the name does not count.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import apsw

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.promised import Promises
from tests.support.tenants import exported, framed

WRITERS = 4
LEAST_ACKNOWLEDGED = 20  # in a round that counts
WINDOW = 8  # requests of each writer under way at once
KEYS = 60  # of each writer: they are written over and over, so that a state can be an old one
LARGEST = 12_000  # bytes: some values fill pages of their own
LATEST_KILL = 0.1  # seconds after the last writer has what makes the round count
READY_WITHIN = 3.0  # seconds from the start to the first request that is served
HOUR = 3_600_000  # milliseconds


class Writer:
    """Writes, forgets and writes pairs of keys at once, until the daemon dies."""

    def __init__(self, name: str, seed: int) -> None:
        self.promises = Promises()
        self._name = name
        self._random = random.Random(seed)
        self._serial = 0

    def run(self, daemon: RunningDaemon) -> None:
        """Until the connection breaks."""
        waiting: dict[int, list[tuple[str, int]]] = {}
        try:
            with daemon.connect() as line:
                while True:
                    number, asked = self._ask(line)
                    waiting[number] = asked
                    if len(waiting) >= WINDOW:
                        envelope, _ = line.read()
                        assert "reply" in envelope, envelope
                        self.promises.keep(*waiting.pop(envelope["id"]))
        except (EOFError, ConnectionError):
            pass

    def _ask(self, line: Line) -> tuple[int, list[tuple[str, int]]]:
        self._serial += 1
        key = f"{self._name}/{self._random.randrange(KEYS)}"
        kind = self._random.random()
        if kind < 0.1:
            asked = [self.promises.ask(key, None)]
            return line.send(op.Forget(keys=[key])), asked
        if kind < 0.3:
            value = self._value()
            pair = [f"{self._name}/left", f"{self._name}/right"]
            asked = [self.promises.ask(each, value) for each in pair]
            return line.send(op.Batch(), framed(*((op.Set(key=each), value) for each in pair))), asked
        value = self._value()
        asked = [self.promises.ask(key, value)]
        return line.send(op.Set(key=key, ttl_ms=HOUR), value), asked

    def _value(self) -> bytes:
        """One that no other write has, and no part of which is another."""
        size = self._random.choice((0, 100, 1000, LARGEST))
        return f"{self._serial}:".encode() + self._random.randbytes(self._random.randint(0, size))


class Crashes:
    """Rounds over one daemon and its data.

    Args:
        daemon: running, and again after each round.
        seed: of the writers and of the moments.
    """

    def __init__(self, daemon: RunningDaemon, seed: int) -> None:
        self.daemon = daemon
        self.promised = 0
        self._random = random.Random(seed)
        self._writers = [Writer(f"w{number}", seed * WRITERS + number) for number in range(WRITERS)]

    def round(self) -> bool:
        """Work, kill, restart, compare; whether the round counts."""
        with ThreadPoolExecutor(WRITERS) as pool:
            jobs = [pool.submit(writer.run, self.daemon) for writer in self._writers]
            try:
                eventually(lambda: self._acknowledged() >= LEAST_ACKNOWLEDGED or any(map(_failed, jobs)))
                time.sleep(self._random.uniform(0, LATEST_KILL))
            finally:
                self.daemon.kill()
            for job in jobs:
                job.result()
        acknowledged = self._acknowledged()
        self.promised += acknowledged
        self.compare()
        return acknowledged >= LEAST_ACKNOWLEDGED

    def compare(self) -> None:
        """Restart, and hold what is there against the promises."""
        whole(self.daemon)
        took = restarted(self.daemon)
        assert took <= READY_WITHIN, f"ready again only after {took:.1f} s"
        with self.daemon.connect() as line:
            held = {entry["key"]: bytes(value) for entry, value, *_ in exported(line)}
        for writer, name in zip(self._writers, (f"w{number}" for number in range(WRITERS)), strict=True):
            broken = list(writer.promises.broken(held))
            assert not broken, f"{len(broken)} of {writer.promises.acknowledged} promises broken: {broken[:3]}"
            assert held.get(f"{name}/left") == held.get(f"{name}/right"), "half a batch"
            writer.promises.settle(held)

    def _acknowledged(self) -> int:
        return sum(writer.promises.acknowledged for writer in self._writers)


def _failed(job: Future[None]) -> bool:
    return job.done() and job.exception() is not None


def restarted(daemon: RunningDaemon) -> float:
    """Start it again; how many seconds until a request was served."""
    began = time.monotonic()
    daemon.restart()
    with daemon.connect() as line:
        assert "reply" in line.call(op.Ready())[0]
    return time.monotonic() - began


def whole(daemon: RunningDaemon) -> None:
    """The files as the kill left them are a whole database: judged by a copy, so that the daemon recovers its own."""
    (path,) = daemon.home.rglob("stash.db")
    directory = Path(tempfile.mkdtemp(prefix="st"))
    try:
        for name in ("stash.db", "stash.db-wal"):
            if path.with_name(name).exists():
                shutil.copy(path.with_name(name), directory)
        connection = apsw.Connection(str(directory / "stash.db"))
        try:
            assert list(connection.execute("PRAGMA integrity_check")) == [("ok",)]
        finally:
            connection.close()
    finally:
        shutil.rmtree(directory)


def run(rounds: int, seed: int, *, durability: str = "normal", told: Callable[[int], None] | None = None) -> int:
    """So many rounds that count; how many writes were acknowledged in them.

    Raises:
        AssertionError: a promise was broken, or too many rounds did not count.
    """
    counted = tried = 0
    with RunningDaemon("--durability", durability) as daemon:
        crashes = Crashes(daemon, seed)
        while counted < rounds:
            tried += 1
            assert tried <= 2 * rounds + 5, (
                f"only {counted} of {tried} rounds had {LEAST_ACKNOWLEDGED} acknowledgements"
            )
            counted += crashes.round()
            if told is not None:
                told(counted)
        return crashes.promised


def killed_within(daemon: RunningDaemon, request: op.Request, delay: float) -> bool:
    """Ask for something long, kill the daemon so many seconds later; whether that was before the answer."""
    answered = threading.Event()
    sent = threading.Event()

    def ask() -> None:
        try:
            with daemon.connect() as line:
                number = line.send(request)
                sent.set()
                while line.read()[0]["id"] != number:
                    pass
                answered.set()
        except (EOFError, ConnectionError):
            pass

    asking = threading.Thread(target=ask)
    asking.start()
    assert sent.wait(10)
    time.sleep(delay)
    daemon.kill()
    asking.join()
    return not answered.is_set()

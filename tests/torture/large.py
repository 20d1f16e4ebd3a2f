"""One large value, stored and read while somebody else wants an answer all the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from stash_memory import Stash
from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon
from tests.support.tenants import answer

MIB = 1 << 20
CONFIG = """
max_memory = "2G"
[tiers.local]
max_value = "600M"
default_ttl = "1h"
max_ttl = "1d"
quota = "4G"
"""


@contextmanager
def roomy(home: Path) -> Iterator[RunningDaemon]:
    """A daemon whose tier lets large values in."""
    config = home / "config.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    with RunningDaemon(environ={"STASH_CONFIG_PATH": str(config)}) as running:
        yield running
        assert running.stop() == 0
        database = apsw.Connection(str(running.home / "stash.db"))
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()


def peak(pid: int) -> int:
    """The most memory a process has had so far, bytes."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class Pinger:
    """Somebody else, who wants an answer all the time."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.worst = 0.0  # seconds
        self._ended = threading.Event()
        self._line = daemon.connect()
        self._thread = threading.Thread(target=self._ping)
        self._thread.start()

    def _ping(self) -> None:
        while not self._ended.wait(0.002):
            began = time.perf_counter()
            answer(self._line, op.Ping())
            self.worst = max(self.worst, time.perf_counter() - began)

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        self._line.close()
        return self.worst


def whole(daemon: RunningDaemon, size: int) -> tuple[float, float]:
    """Store and read so many bytes: the peak of memory as a multiple of them, and the worst ping in seconds."""
    content = os.urandom(MIB) * (size // MIB) + b"end"
    before = peak(daemon.pid)
    pinger = Pinger(daemon)
    try:
        with Stash(socket=str(daemon.socket), timeout=120) as stash:
            stash.set("large", content)
            assert stash.get("large") == content
    finally:
        worst = pinger.stop()
    return (peak(daemon.pid) - before) / size, worst

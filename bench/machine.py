"""The machine, its cores, and the versions of what runs on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

LIBRARIES = ("apsw", "uvloop", "msgspec", "msgpack", "redis", "hiredis", "diskcache")


class Cores:
    """Which cores servers and clients run on: the same for every contender.

    Attributes:
        server, client: sets of cores; all of them on a machine with one core, or one that does not pin.
    """

    def __init__(self) -> None:
        self.pinned = False
        self.server = self.client = set(range(os.cpu_count() or 1))
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            if len(cores) > 1:
                self.pinned = True
                self.server, self.client = {cores[0]}, set(cores[1:2])
                os.sched_setaffinity(0, self.client)

    @contextmanager
    def for_server(self) -> Iterator[None]:
        """What is started meanwhile runs where servers run."""
        if not self.pinned:
            yield
            return
        os.sched_setaffinity(0, self.server)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.client)

    def __str__(self) -> str:
        if not self.pinned:
            return "not pinned"
        return f"servers on core {min(self.server)}, clients on core {min(self.client)}"


def describe() -> dict[str, str]:
    """The machine and the libraries, a line each."""
    import apsw

    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": apsw.sqlite_lib_version(),
        "libraries": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return f"{int(line.split()[1]) / (1 << 20):.0f} GiB"
    return "memory unknown"


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []

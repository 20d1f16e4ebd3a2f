"""A daemon that does nothing, and one that begins."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from bench.contenders import PATIENCE, Daemon, directory, environment
from bench.measure import MILLISECOND, REPEATS, Figure, compare
from bench.processes import READY_FD, Launcher, launcher, stash_program
from bench.rows import row
from bench.setting import KIB, VALUE, Bench, key
from stash_protocol.frames import HEADER, HEADER_SIZE, PROTOCOL_VERSION, pack
from stash_protocol.operations import Hello

CONNECTIONS = 1_000
MIB = KIB * KIB
DAEMON = (sys.executable, "-P", "-m", "stash_daemon", "--auto-started", "--ready-fd", READY_FD)


@row("idle", "idle daemon: memory")
def idle(bench: Bench) -> Iterator[Figure]:
    """What a daemon holds that has served a little, and what each connection adds that has said hello."""
    with bench.stash(1_000) as (daemon, stash):
        for number in range(1_000):
            stash.set(key(number), VALUE)
            stash.get(key(number))
        before = daemon.rss()
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                stack.enter_context(_connect(daemon))
            each = (daemon.rss() - before) / CONNECTIONS
    yield Figure(name="idle daemon, RSS", unit="MiB", ours=before / MIB, at_most=45.0)
    yield Figure(name="each idle connection", unit="KiB", ours=each / KIB, at_most=16.0)


def _connect(daemon: Daemon) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(daemon.socket)
    connection.sendall(pack(msgspec.msgpack.encode(Hello(version=PROTOCOL_VERSION, id=1)), b""))
    head = connection.recv(HEADER_SIZE, socket.MSG_WAITALL)
    connection.recv(sum(HEADER.unpack(head)), socket.MSG_WAITALL)
    return connection


@row("start", "idle daemon: start")
def start(bench: Bench) -> Iterator[Figure]:
    """Until the daemon is ready, and until the first command that has to start one returns."""
    rounds = bench.size(10, 3)
    imports = (sys.executable, "-P", "-c", f"import {', '.join(_libraries())}")
    with launcher() as starter:
        found: dict[str, list[float]] = {"bare": [], "ready": [], "first": []}
        for _ in range(REPEATS):
            spans: dict[str, list[int]] = {name: [] for name in found}
            for _ in range(rounds):
                with directory() as home:
                    spans["bare"].append(starter.run(home, imports).nanoseconds)
                    spans["ready"].append(_ready(starter, home))
                    spans["first"].append(_first(starter, home / "fresh"))
            for name, values in spans.items():
                found[name].append(median(values) / MILLISECOND)
    against = "importing the same"
    yield compare("ready", "ms", found["ready"], found["bare"], against, at_most=2.0)
    yield compare("first auto-started command", "ms", found["first"], found["bare"], against, at_most=4.0)


def _ready(starter: Launcher, home: Path) -> int:
    nanoseconds, pid = starter.start(home, DAEMON)
    starter.stop(pid)
    return nanoseconds


def _first(starter: Launcher, home: Path) -> int:
    """`stash set` where no daemon runs; the daemon it started is stopped again."""
    home.mkdir()
    run = starter.run(home, (stash_program(), "set", "first", "v"))
    pid = int((home / "daemon.lock").read_text().split()[0])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while (home / "stash.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return run.nanoseconds


def _libraries() -> list[str]:
    """The modules that are not stash's own and that a daemon has loaded by the time it is ready."""
    with directory() as home:
        reading, writing = os.pipe()
        with (home / "imports.txt").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-X", "importtime", *DAEMON[1:-1], str(writing)],
                env=environment(home), stdin=subprocess.DEVNULL, stderr=said, pass_fds=[writing],
            )  # fmt: skip
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        process.terminate()
        process.wait(PATIENCE)
        lines = (home / "imports.txt").read_text(encoding="utf-8")
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", lines, re.MULTILINE)
    return [name for name in names if not name.startswith("stash_") and _importable(name)]


def _importable(name: str) -> bool:
    """Whether a plain import finds it: some names are made by their parents only."""
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False

"""Whole processes, timed by the launcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.contenders import environment, stop

LAUNCHER = Path(__file__).with_name("launcher.py")
READY_FD = "9"  # as the launcher has it
BARE = (sys.executable, "-c", "pass")


class Run(NamedTuple):
    """A process that ended."""

    nanoseconds: int
    status: int
    peak: int  # bytes


class Launcher:
    """The launcher's other end; `launcher` opens one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, home: Path, argv: Sequence[str], *, stdin: str = os.devnull, stdout: str = os.devnull) -> Run:
        """Run a process to its end; one that fails stops the bench."""
        nanoseconds, status, peak = self._ask("run", home, stdin, stdout, argv)
        if status:
            raise SystemExit(f"{' '.join(argv)} ended with {status}")
        return Run(nanoseconds, status, peak * 1024)

    def start(self, home: Path, argv: Sequence[str]) -> tuple[int, int]:
        """Start a daemon; nanoseconds until it was ready, and its pid."""
        nanoseconds, pid, _ = self._ask("ready", home, os.devnull, os.devnull, argv)
        if pid < 0:
            raise SystemExit(f"{' '.join(argv)} did not become ready")
        return nanoseconds, pid

    def stop(self, pid: int) -> None:
        """Stop what `start` started."""
        self._answer(f"stop\t{pid}")

    def _ask(self, command: str, home: Path, stdin: str, stdout: str, argv: Sequence[str]) -> tuple[int, int, int]:
        return self._answer("\t".join((command, str(home), stdin, stdout, "\x1f".join(argv))))

    def _answer(self, line: str) -> tuple[int, int, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        first, second, third = map(int, self._process.stdout.readline().split())
        return first, second, third


@contextmanager
def launcher() -> Iterator[Launcher]:
    """A launcher on the clients' core."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER)],
        env=environment(""),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Launcher(process)
    finally:
        stop(process)


def stash_program() -> str:
    """The installed command: the one beside this interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("stash")
    found = str(beside) if beside.exists() else shutil.which("stash")
    if found is None:
        raise SystemExit("the command `stash` is not installed beside this Python")
    return found

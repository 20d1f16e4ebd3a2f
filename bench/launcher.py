"""Starts processes and times them, from a process that is small itself: ``python -I -S launcher.py``.

A child's peak memory, as the kernel reports it, is never less than what its parent held when it started the child.
Hence no imports beyond these. One command a line on stdin, fields between tabs, one answer a line on stdout:

    run   HOME STDIN STDOUT ARGV    until it ends: nanoseconds, exit status, peak KiB
    ready HOME STDIN STDOUT ARGV    until it writes to descriptor 9: nanoseconds, pid, 0
    stop  PID                       SIGTERM, until it ended: nanoseconds, exit status, peak KiB
"""

import os
import sys
import time

READY_FD = 9
SIGTERM = 15


def start(fields: tuple[str, ...], ready: int | None = None) -> int:
    """Start a process from a command's fields; its pid."""
    home, stdin, stdout, argv = fields
    words = argv.split("\x1f")
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    if ready is not None:
        actions.append((os.POSIX_SPAWN_DUP2, ready, READY_FD))
    return os.posix_spawn(words[0], words, {**os.environ, "STASH_HOME": home}, file_actions=actions)


def end(pid: int, started: int) -> tuple[int, int, int]:
    """Wait for a process."""
    _, status, usage = os.wait4(pid, 0)
    return time.perf_counter_ns() - started, os.waitstatus_to_exitcode(status), usage.ru_maxrss


def carry_out(command: str, *fields: str) -> tuple[int, int, int]:
    """One command's answer."""
    started = time.perf_counter_ns()
    if command == "run":
        return end(start(fields), started)
    if command == "stop":
        os.kill(int(fields[0]), SIGTERM)
        return end(int(fields[0]), started)
    reading, writing = os.pipe()
    pid = start(fields, writing)
    os.close(writing)
    said = os.read(reading, 1)
    taken = time.perf_counter_ns() - started
    os.close(reading)
    return taken, pid if said else -1, 0


for line in sys.stdin:
    print(*carry_out(*line.rstrip("\n").split("\t")), flush=True)

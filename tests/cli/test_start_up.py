"""What a hot verb costs: what it imports, its time beside a bare interpreter's, its memory."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

FORBIDDEN = {
    "apsw",
    "argparse",
    "asyncio",
    "dataclasses",
    "enum",
    "json",
    "logging",
    "msgspec",
    "pathlib",
    "pydantic",
    "re",
    "rich",
    "socket",
    "ssl",
    "stash_daemon",
    "structlog",
    "subprocess",
    "tomllib",
    "typer",
    "typing",
}
MOST_TIME = 2.0  # times `python -c pass`
MOST_MEMORY = 20 << 10  # KiB


@pytest.mark.parametrize(
    "words",
    [
        ["set", "cheap", "v"],
        ["get", "cheap"],
        ["get", "absent"],
        ["update", "cheap", "w"],
        ["extend", "cheap", "1m"],
        ["ttl", "cheap"],
        ["exists", "cheap"],
        ["list", "-l"],
        ["forget", "cheap"],
        ["-v", "--timeout", "9s", "get", "absent"],
    ],
    ids=" ".join,
)
def test_a_hot_verb_imports_nothing_heavy(stash, words) -> None:
    stash.ok("set", "cheap", "v")
    bare = _imported(subprocess.run([sys.executable, "-P", "-X", "importtime", "-c", "pass"], capture_output=True))
    line = stash.line(*words)
    done = subprocess.run([*line[:1], "-X", "importtime", *line[1:]], capture_output=True, env=stash.environment)
    imported = _imported(done) - bare
    assert "stash_cli.hot" in imported
    assert imported & FORBIDDEN == set()
    assert {name for name in imported if name.startswith("stash_daemon")} == set()


def _imported(done: subprocess.CompletedProcess[bytes]) -> set[str]:
    return {
        row.rpartition("|")[2].strip() for row in done.stderr.decode().splitlines() if row.startswith("import time:")
    }


def test_json_is_imported_only_by_those_who_ask_for_it(stash) -> None:
    line = stash.line("get", "absent", "--json")
    done = subprocess.run([*line[:1], "-X", "importtime", *line[1:]], capture_output=True, env=stash.environment)
    assert "json" in _imported(done)


def test_get_takes_at_most_twice_a_bare_interpreter(stash) -> None:
    stash.ok("set", "quick", "v")  # also compiles what is imported
    bare, get = [sys.executable, "-P", "-c", "pass"], stash.line("get", "quick")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(40):  # in turns, and the least of each: a busy machine slows both
        for line, taken in zip((bare, get), times, strict=True):
            started = time.perf_counter()
            subprocess.run(line, env=stash.environment, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - started)
    assert min(times[1]) / min(times[0]) <= MOST_TIME


MEASURE = """
import os, resource, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1), file=sys.stderr)
"""  # in a small process: Linux counts what the parent had, before exec, as the child's


def test_get_stays_small(stash) -> None:
    stash.ok("set", "small", "v")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *stash.line("get", "small")], capture_output=True, env=stash.environment
    )
    status, kib = map(int, done.stderr.split())
    assert (status, done.stdout) == (0, b"v")
    assert kib <= MOST_MEMORY

"""Whole processes: the command as a shell script uses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.contenders import Daemon
from bench.measure import MILLISECOND, REPEATS, SECOND, Figure, compare
from bench.processes import BARE, Launcher, Run, launcher, stash_program
from bench.rows import row
from bench.setting import KIB, VALUE, Bench, check, key

ENTRIES = 1_000
BARE_NAME = "python -c pass"
REDIS_CLI = "redis-cli"
MIB = KIB * KIB


@row("command", "stash get, stash set, whole process")
def command(bench: Bench) -> Iterator[Figure]:
    """From the start of the process to its end, a running daemon behind it."""
    value = VALUE.hex()[:KIB]
    with bench.stash(ENTRIES) as (daemon, stash), bench.redis() as redis, launcher() as starter:
        commands: dict[str, tuple[str, ...]] = {
            "stash get": (stash_program(), "get", key(0)),
            "stash set": (stash_program(), "set", key(1), value),
            BARE_NAME: BARE,
        }
        cli = shutil.which(REDIS_CLI)
        if redis and cli:
            redis.client.set(key(0), VALUE)
            commands[REDIS_CLI + " get"] = (cli, "-s", redis.socket, "get", key(0))
            commands[REDIS_CLI + " set"] = (cli, "-s", redis.socket, "set", key(1), value)
        runs = _in_turns(starter, daemon, commands, bench.size(20, 6))
        check(stash.get(key(1)), value)
    bare = _medians(runs[BARE_NAME])
    for verb in ("get", "set"):
        ours = _medians(runs[f"stash {verb}"])
        yield compare(f"stash {verb}", "ms", ours, bare, BARE_NAME, at_most=2.0)
        if f"{REDIS_CLI} {verb}" in runs:
            yield compare(f"stash {verb}", "ms", ours, _medians(runs[f"{REDIS_CLI} {verb}"]), REDIS_CLI)
        peak = max(run.peak for each in runs[f"stash {verb}"] for run in each)
        yield Figure(name=f"stash {verb}, peak memory", unit="MiB", ours=peak / MIB, at_most=20.0)


def _in_turns(
    starter: Launcher, daemon: Daemon, commands: dict[str, tuple[str, ...]], rounds: int
) -> dict[str, list[list[Run]]]:
    runs: dict[str, list[list[Run]]] = {name: [[] for _ in range(REPEATS)] for name in commands}
    for repeat in range(REPEATS):
        for _ in range(rounds):
            for name, argv in commands.items():
                runs[name][repeat].append(starter.run(daemon.home, argv))
    return runs


def _medians(runs: list[list[Run]]) -> list[float]:
    return [median(run.nanoseconds for run in each) / MILLISECOND for each in runs]


@row("batch", "10,000 commands through stash batch")
def batch(bench: Bench) -> Iterator[Figure]:
    """Commands a second, half sets and half gets, against a process for each."""
    count, separate = bench.size(10_000, 10_000), bench.size(20, 6)
    with bench.stash(ENTRIES) as (daemon, _), launcher() as starter:
        lines = daemon.home / "commands.jsonl"
        lines.write_text("".join(_lines(count)), encoding="utf-8")
        answers = daemon.home / "answers.jsonl"
        ours, theirs = [], []
        for _ in range(REPEATS):
            run = starter.run(daemon.home, (stash_program(), "batch"), stdin=str(lines), stdout=str(answers))
            ours.append(count * SECOND / run.nanoseconds)
            theirs.append(_separate(starter, daemon.home, separate))
        check(answers.read_bytes().count(b'"ok": true') + answers.read_bytes().count(b'"ok":true'), count)
        yield compare("commands through stash batch", "/s", ours, theirs, "separate calls", at_least=25.0)


def _lines(count: int) -> Iterator[str]:
    value = VALUE.hex()[:KIB]
    for number in range(count // 2):
        name = f"b:{number % ENTRIES}"
        yield json.dumps({"op": "set", "key": name, "value": value}) + "\n"
        yield json.dumps({"op": "get", "key": name}) + "\n"


def _separate(starter: Launcher, home: Path, count: int) -> float:
    value = VALUE.hex()[:KIB]
    spans = [
        starter.run(home, argv).nanoseconds
        for _ in range(count)
        for argv in ((stash_program(), "set", "b:0", value), (stash_program(), "get", "b:0"))
    ]
    return len(spans) * SECOND / sum(spans)

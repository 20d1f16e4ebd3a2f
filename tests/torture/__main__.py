"""The long runs, by name: ``python -m tests.torture crash --rounds 1000``; see docs/reliability.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.daemon import RunningDaemon
from tests.torture import clients, crash, crowd, hostile, large, order, soak, start


def told(line: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def crashes(arguments: argparse.Namespace) -> None:
    """Rounds of writing, killing, comparing, in batches over fresh data."""
    promised = 0
    for number in range(0, arguments.rounds, 50):
        rounds = min(50, arguments.rounds - number)
        promised += crash.run(rounds, arguments.seed + number, durability="full" if number % 200 == 150 else "normal")
        told(f"crash: {number + rounds:,} rounds, {promised:,} acknowledged writes, none lost, none torn")


def orders(arguments: argparse.Namespace) -> None:
    calls = 0
    with RunningDaemon() as daemon:
        for number in range(arguments.rounds):
            calls += order.run(daemon, arguments.seed + number)
    told(f"order: {arguments.rounds:,} rounds of eight clients, {calls:,} calls, all in order")


def starts(arguments: argparse.Namespace) -> None:
    start.run(arguments.rounds, arguments.seed)
    told(f"start: {arguments.rounds} races of {start.STARTS}, one winner each")


def fuzz(arguments: argparse.Namespace) -> None:
    """Seeded mutations for half of the time, a fuzzer for the other half."""
    deadline = time.monotonic() + arguments.minutes * 30
    number, answers = arguments.seed, hostile.mutations(0, 0)
    while time.monotonic() < deadline:
        answers += hostile.mutations(20_000, number)
        number += 20_000
    told(f"fuzz: {number - arguments.seed:,} mutations: {dict(answers)}")
    told(f"fuzz: made up: {dict(hostile.fuzz(arguments.minutes * 30, arguments.seed))}")


def larges(arguments: argparse.Namespace) -> None:
    """The largest value of any shipped tier."""
    with tempfile.TemporaryDirectory(prefix="st") as home, large.roomy(Path(home)) as daemon:
        for _ in range(arguments.rounds):
            multiple, worst = large.whole(daemon, 500 * large.MIB)
            assert multiple <= 2.5
            assert worst <= 0.25
            told(f"large: 500 MiB, {multiple:.2f} times the value at the peak, worst ping {worst * 1000:.0f} ms")


def crowds(_arguments: argparse.Namespace) -> None:
    crowd.run(told)


def disturbances(arguments: argparse.Namespace) -> None:
    with RunningDaemon() as daemon:
        for _ in range(arguments.rounds):
            tally = asyncio.run(clients.cancelled(f"unix://{daemon.socket}", 1000))
            assert not tally.foreign, tally.foreign
            tally = clients.bereaved(daemon, 10)
            assert not tally.foreign, tally.foreign
    told(f"clients: {arguments.rounds * 1000:,} calls disturbed, {arguments.rounds * 10} daemons ended; none foreign")


def soaked(arguments: argparse.Namespace) -> None:
    """Prints a table, and writes it to a file when one is named."""
    lines = [soak.HEADING]

    def note(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    print(soak.HEADING, flush=True)
    seconds = arguments.minutes * 60
    soak.run(seconds, max(0.5, seconds / 30), note)
    if arguments.into:
        Path(arguments.into).write_text("\n".join(lines) + "\n")


RUNS = {
    "crash": (crashes, {"rounds": 1000}),
    "order": (orders, {"rounds": 200}),
    "start": (starts, {"rounds": 20}),
    "large": (larges, {"rounds": 3}),
    "crowd": (crowds, {}),
    "clients": (disturbances, {"rounds": 10}),
    "fuzz": (fuzz, {"minutes": 60.0}),
    "soak": (soaked, {"minutes": 120.0, "into": ""}),
}


def main() -> int:
    """Run what is named; all but the soak, at full length, when nothing is."""
    os.environ["STASH_HOME"] = "/dev/null/nobody"  # whatever forgets to say where its data is finds no place for it
    os.environ["STASH_AUTOSTART"] = "0"
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything that is left to chance")
    verbs = parser.add_subparsers(dest="run")
    for name, (_, options) in RUNS.items():
        verb = verbs.add_parser(name)
        for option, default in options.items():
            verb.add_argument(f"--{option}", type=type(default), default=default)
    given = parser.parse_args()
    told(f"seed {given.seed}")
    for name, (run, options) in RUNS.items():
        if given.run == name or (given.run is None and name != "soak"):
            run(argparse.Namespace(**{"seed": given.seed, **options, **vars(given)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench [--quick] [--only ROW …] [--list]``: measures stash beside its contenders.

A run of all rows writes bench/RESULTS.md. The exit status is 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime

from rich.console import Console

from bench import machine, report
from bench.contenders import redis_version
from bench.measure import REPEATS, Figure
from bench.rows import Row, rows
from bench.setting import Bench


def main() -> None:
    """Measure what was asked for, print it, and write it down when it was everything."""
    known = rows()
    options = _options(known)
    console = Console(highlight=False)
    if options.list:
        for row in known.values():
            console.print(f"{row.name:10} {row.work}")
        return
    chosen = [known[name] for name in options.only] or list(known.values())
    os.environ["STASH_AUTOSTART"] = "0"  # a client here that finds no daemon is a defect, not a reason to start one
    bench = Bench(quick=options.quick, cores=machine.Cores())
    started = time.monotonic()
    found = _measure(bench, chosen, console)
    about = _about(bench, time.monotonic() - started)
    report.show(console, found)
    for line in (*(f"{name}: {text}" for name, text in about.items()), *bench.notes):
        console.print(line, style="dim", markup=False)
    if not options.only:
        report.write(report.RESULTS, found, about, bench.notes)


def _options(known: dict[str, Row]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="stash beside what it would replace")
    parser.add_argument("--quick", action="store_true", help="smaller counts: about three minutes")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=list(known), help="only these rows")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    return parser.parse_args()


def _measure(bench: Bench, chosen: list[Row], console: Console) -> list[tuple[Row, Figure]]:
    found = []
    for row in chosen:
        started = time.monotonic()
        found += [(row, figure) for figure in row.measure(bench)]
        console.print(f"{row.name}: {time.monotonic() - started:.1f} s", style="dim")
    return found


def _about(bench: Bench, seconds: float) -> dict[str, str]:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "command": f"`python -m bench{' --quick' if bench.quick else ''}`, {REPEATS} repeats, {seconds:.0f} s",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **machine.describe(),
        "Redis": redis_version(),
        "cores": f"{bench.cores}; load average at the end {load}",
    }


if __name__ == "__main__":
    main()

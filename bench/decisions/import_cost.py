"""What importing a module adds to the start of a process.

``.venv/bin/python -m bench.decisions.import_cost [MODULE…]``; prints milliseconds over a bare interpreter, the median
of interleaved runs.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter_ns

ROUNDS = 25
MODULES = (
    "msgpack",
    "typing",
    "json",
    "socket",
    "platformdirs",
    "tomllib",
    "tomlkit",
    "msgspec",
    "asyncio",
    "structlog",
)


def start(statement: str) -> float:
    """Milliseconds a process takes that runs one statement."""
    before = perf_counter_ns()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (perf_counter_ns() - before) / 1e6


def main() -> None:
    """Print the figures."""
    modules = tuple(sys.argv[1:]) or MODULES
    times: dict[str, list[float]] = {name: [] for name in ("", *modules)}
    for _ in range(ROUNDS):
        for name, taken in times.items():
            taken.append(start(f"import {name}" if name else "pass"))
    bare = median(times.pop(""))
    print(f"{'(bare)':14} {bare:6.1f} ms")
    for name, taken in times.items():
        print(f"{name:14} {median(taken) - bare:+6.1f} ms")


if __name__ == "__main__":
    main()

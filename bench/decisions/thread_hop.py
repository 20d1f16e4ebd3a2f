"""What one bounded statement costs inline on the loop, on a worker thread, and through aiosqlite.

``.venv/bin/python -m bench.decisions.thread_hop`` (needs the extra ``bench``); prints microseconds, p50 of each.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import aiosqlite
import apsw
import uvloop

ROWS = 1_000
CALLS = 5_000
VALUE_BYTES = 1024
QUERY = "SELECT value FROM entries WHERE key = ?"


def fill(path: Path) -> None:
    """Make a database with a thousand small values."""
    database = apsw.Connection(str(path))
    database.pragma("journal_mode", "wal")
    database.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB)")
    with database:
        rows = ((f"key {number}", os.urandom(VALUE_BYTES)) for number in range(ROWS))
        database.executemany("INSERT INTO entries VALUES (?, ?)", rows)
    database.close()


async def p50(call: Callable[[str], Awaitable[object]]) -> float:
    """The median of many calls, microseconds."""
    times = []
    for number in range(CALLS):
        key = f"key {number * 7 % ROWS}"
        before = perf_counter_ns()
        await call(key)
        times.append(perf_counter_ns() - before)
    return median(times) / 1000


async def measure(path: Path) -> dict[str, float]:
    """All three ways, over the same file."""
    database = apsw.Connection(str(path))
    loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)

    def read(key: str) -> object:
        return database.execute(QUERY, (key,)).get

    async def inline(key: str) -> object:
        return read(key)

    async with aiosqlite.connect(path) as connection:
        return {
            "inline on the loop": await p50(inline),
            "run_in_executor": await p50(lambda key: loop.run_in_executor(thread, read, key)),
            "aiosqlite": await p50(lambda key: connection.execute_fetchall(QUERY, (key,))),
        }


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "hop.db"
        fill(path)
        for name, figure in uvloop.run(measure(path)).items():
            print(f"{name:20} {figure:8.1f} µs")


if __name__ == "__main__":
    main()

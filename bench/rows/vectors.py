"""Databases of vectors that run in a process: the same work for each, in a process of its own, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.contenders import directory, environment
from bench.measure import Figure
from bench.rows import row
from bench.rows.search import corpus
from bench.setting import Bench

SCRIPT = Path(__file__).parents[1] / "vectors.py"
PYTHON = "BENCH_PYTHON"
OTHERS = {"chroma": "Chroma", "lancedb": "LanceDB"}
FIGURES = {
    "insert": "/s", "search": "ms", "recall": "", "delete": "/s", "memory": "MB", "disk": "MB",
}  # fmt: skip
TIMES = 3


@row("vectors", "beside Chroma and LanceDB, all in process: insert, search, delete, memory, disk")
def vectors(bench: Bench) -> Iterator[Figure]:
    """For information: what each does as it comes. They take turns, three times."""
    count = bench.size(10_000, 2_000)
    bench.fewer("vectors", 10_000, count, "vectors")
    found: dict[str, list[dict[str, Any]]] = {"stash": []} | {name: [] for name in OTHERS}
    with directory() as home:
        np.save(home / "vectors.npy", corpus(count).vectors)
        for _ in range(TIMES):
            for name, each in found.items():
                measured = _run(bench, name, home / "vectors.npy")
                if measured is not None:
                    each.append(measured)
    for figure, unit in FIGURES.items():
        ours = median(each[figure] for each in found["stash"])
        for name, title in OTHERS.items():
            if found[name]:
                theirs = median(each[figure] for each in found[name])
                against = f"{title} {found[name][0]['version']}"
                yield Figure(name=figure, unit=unit, ours=ours, against=against, theirs=theirs, ratio=ours / theirs)


def _run(bench: Bench, name: str, known: Path) -> dict[str, Any] | None:
    """What the script prints; None, and a note, where a contender does not run."""
    python = sys.executable if name == "stash" else os.environ.get(PYTHON, sys.executable)
    with directory() as home:
        command = [python, "-P", str(SCRIPT), name, str(known), str(home)]
        process = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    if process.returncode and name == "stash":
        raise SystemExit(process.stderr)
    if process.returncode:
        why = process.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        bench.note(f"{OTHERS[name]} is left out: {why[0]} (extra `bench-search`; {PYTHON} may name another Python)")
        return None
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found

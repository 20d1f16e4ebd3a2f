"""Beside: lists, exports and statistics run on threads of their own, and neither they nor the writes notice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon

ROUNDS = 25
SETS = 40


def write(daemon: RunningDaemon, name: str) -> Counter[str]:
    """Sets that expire at once, pipelined; how they were answered."""
    outcomes: Counter[str] = Counter()
    with daemon.connect() as line:
        for number in range(ROUNDS):
            for n in range(SETS):
                line.send(op.Set(key=f"{name}/{number}/{n}", ttl_ms=20), b"x" * 100)
            outcomes.update(line.read()[0].get("error", {}).get("code", "ok") for _ in range(SETS))
    return outcomes


def look(daemon: RunningDaemon, _name: str) -> Counter[str]:
    """Every scan there is, over and over; how they were answered."""
    outcomes: Counter[str] = Counter()
    with daemon.connect() as line:
        for _ in range(ROUNDS):
            for request in (op.GetStats(), op.List(), op.Export(), op.GetStats(prometheus=True), op.GetStatus()):
                outcomes[line.call(request)[0].get("error", {}).get("code", "ok")] += 1
    return outcomes


def test_scans_and_writes_never_disturb_each_other(daemon: RunningDaemon) -> None:
    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(do, daemon, str(n)) for n, do in enumerate((write, look, write, look, look))]
        outcomes = sum((job.result() for job in jobs), Counter[str]())
    assert outcomes == {"ok": 2 * ROUNDS * SETS + 3 * ROUNDS * 5}

"""Start: many daemons at once on the same data. One wins, the others name it, and nothing done to them hurts it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, eventually

STARTS = 20
KILLED = 3  # of those that come later and must lose
BUSY = 9  # exit status
PATIENCE = 60.0  # seconds for twenty interpreters on two cores

Process = subprocess.Popen[bytes]


def start(home: Path) -> Process:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STASH_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "stash_daemon"],
        env=environ | {"STASH_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def end(processes: list[Process]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def serves(home: Path, pid: int) -> None:
    """The daemon with the pid is the one that answers."""
    with Line(str(home / "stash.sock")) as line:
        line.hello()
        assert line.call(op.GetStatus())[0]["reply"]["pid"] == pid


def race(home: Path) -> Process:
    """So many at once; the winner. All others have ended, and said who it is."""
    processes = [start(home) for _ in range(STARTS)]
    try:
        eventually(lambda: sum(process.poll() is None for process in processes) == 1, PATIENCE)
        (winner,) = (process for process in processes if process.poll() is None)
        for process in processes:
            if process is not winner:
                said = process.communicate()[1].decode()
                assert process.returncode == BUSY, said
                assert f"pid {winner.pid}" in said, said
        eventually((home / "stash.sock").is_socket)
        serves(home, winner.pid)
    except BaseException:
        end(processes)
        raise
    return winner


def kill_losers(home: Path, winner: Process, chance: random.Random) -> None:
    """Some more, each killed at a random moment of its start."""
    losers = [start(home) for _ in range(KILLED)]
    try:
        for loser in losers:
            time.sleep(chance.uniform(0, 0.15))
            loser.kill()
    finally:
        end(losers)
    serves(home, winner.pid)


def run(rounds: int, seed: int = 0) -> None:
    """So many races on the same data; every other winner is killed, and leaves its socket to the next.

    Raises:
        AssertionError: none won, or more than one, or it was not named, or it was hurt.
    """
    chance = random.Random(seed)
    with RunningDaemon() as daemon, daemon.connect() as line:  # for its home and its data
        assert "reply" in line.call(op.Set(key="k"), b"v")[0]
        daemon.stop()
        for number in range(rounds):
            winner = race(daemon.home)
            try:
                kill_losers(daemon.home, winner, chance)
                with Line(str(daemon.socket)) as held:
                    held.hello()
                    assert held.call(op.Get(key="k"))[1] == b"v"
                winner.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
                winner.communicate(timeout=PATIENCE)
                assert daemon.socket.exists() == bool(number % 2)
            finally:
                end([winner])

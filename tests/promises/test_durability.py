"""Durability: a write that was acknowledged is there after ``kill -9``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import apsw
import pytest

from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon, eventually
from tests.support.tenants import exported

WRITERS, ROUNDS, ACKNOWLEDGED = 4, 10, 20
WINDOW = 8  # writes of each writer under way at once


def write_until_killed(daemon: RunningDaemon, name: str, acknowledged: dict[str, bytes]) -> None:
    """Set one key after the other; note what is acknowledged."""
    sent: dict[int, tuple[str, bytes]] = {}
    try:
        with daemon.connect() as line:
            for number in range(1_000_000):
                key, value = f"{name}/{number}", f"value of {number}".encode() * 20
                sent[line.send(op.Set(key=key), value)] = (key, value)
                if len(sent) >= WINDOW:
                    envelope, _ = line.read()
                    assert "reply" in envelope, envelope
                    key, value = sent.pop(envelope["id"])
                    acknowledged[key] = value
    except (EOFError, ConnectionError):
        pass


def kill_amid_writes(daemon: RunningDaemon, number: int) -> dict[str, bytes]:
    """What four writers had been promised when the daemon was killed."""
    promises: list[dict[str, bytes]] = [{} for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        jobs = [
            pool.submit(write_until_killed, daemon, f"{number}/{writer}", promised)
            for writer, promised in enumerate(promises)
        ]
        try:
            eventually(lambda: all(len(promised) >= ACKNOWLEDGED for promised in promises))
        finally:
            daemon.kill()
        for job in jobs:
            job.result()
    return {key: value for promised in promises for key, value in promised.items()}


def integrity(daemon: RunningDaemon) -> list[str]:
    (path,) = daemon.home.rglob("stash.db")
    connection = apsw.Connection(str(path))
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_nothing_that_was_acknowledged_is_lost_by_a_kill(durability: str) -> None:
    promised: dict[str, bytes] = {}
    with RunningDaemon("--durability", durability) as daemon:
        for number in range(ROUNDS if durability == "normal" else 2):
            promised |= kill_amid_writes(daemon, number)
            assert integrity(daemon) == ["ok"]
            daemon.restart()
            with daemon.connect() as line:
                held = {entry["key"]: value for entry, value, _ in exported(line)}
            lost = {key for key, value in promised.items() if held.get(key) != value}
            assert not lost, f"round {number}: {len(lost)} of {len(promised)}"


def test_a_counter_is_as_high_as_it_was_said_to_be() -> None:
    """An increment is neither lost nor done twice."""
    with RunningDaemon() as daemon:
        said = 0
        for _ in range(3):
            reached = threading.Event()
            seen: list[int] = []

            def count(seen: list[int] = seen, reached: threading.Event = reached) -> None:
                try:
                    with daemon.connect() as line:
                        for _ in range(1_000_000):
                            seen.append(line.call(op.Incr(key="n"))[0]["reply"]["number"])
                            if len(seen) >= ACKNOWLEDGED:
                                reached.set()
                except (EOFError, ConnectionError):
                    pass

            counter = threading.Thread(target=count)
            counter.start()
            assert reached.wait(20)
            daemon.kill()
            counter.join()
            daemon.restart()
            assert seen == list(range(said + 1, said + 1 + len(seen)))
            with daemon.connect() as line:
                said = int(line.call(op.Get(key="n"))[1])
            assert said - seen[-1] in (0, 1), "at most the one increment that nobody was told of"

"""Large values: bit for bit, in little memory, others served meanwhile; and nothing of them stays behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_daemon.store import LARGE, PIECE
from stash_memory import Stash
from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon, eventually
from tests.support.engine import Bench
from tests.support.tenants import answer, value
from tests.torture.large import MIB, roomy, whole

SIZE = 96 * MIB  # the torture takes the 500 MiB of the largest shipped tier


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    with roomy(tmp_path) as running:
        yield running


def test_a_large_value_comes_back_bit_for_bit_in_little_memory_with_others_served_meanwhile(
    daemon: RunningDaemon,
) -> None:
    multiple, worst = whole(daemon, SIZE)
    assert multiple <= 1.6  # promised: 2.5
    assert worst <= 0.25


@pytest.mark.parametrize("size", [LARGE, LARGE + 1, 3 * PIECE, 3 * PIECE + 1])
def test_values_around_the_size_of_a_piece_are_whole(daemon: RunningDaemon, size: int) -> None:
    content = os.urandom(size)
    with daemon.connect() as line:
        answer(line, op.Set(key="k"), content)
        assert value(line, "k") == content
        answer(line, op.Update(key="k", type="bytes"), b"small now")
        assert value(line, "k") == b"small now"
        answer(line, op.Update(key="k", type="bytes"), content)
        assert value(line, "k") == content


def test_what_is_asked_for_behind_a_large_value_comes_after_it(daemon: RunningDaemon) -> None:
    content = os.urandom(5 * PIECE)
    with Stash(socket=str(daemon.socket)) as stash:
        with stash.pipeline() as many:
            many.set("k", content).get("k").set("k", b"next").get("k").incr("n")
        assert many.results[1] == content
        assert many.results[3:] == [b"next", 1]


def test_an_entry_forgotten_while_it_is_being_read_is_read_to_its_end(daemon: RunningDaemon) -> None:
    content = os.urandom(12 * PIECE)
    with daemon.connect() as slow, daemon.connect() as other:
        answer(slow, op.Set(key="k"), content)
        slow.send(op.Get(key="k"))
        answer(other, op.Forget(keys=["k"]))
        eventually(lambda: answer(other, op.Exists(key="k")) == {"exists": False})
        assert slow.read()[1] == content
        eventually(lambda: held(daemon) < 2 * PIECE, patience=20)


def test_whoever_hangs_up_half_way_leaves_nothing_behind(daemon: RunningDaemon) -> None:
    with daemon.connect() as line, daemon.connect() as other:
        line.send(op.Set(key="k"), os.urandom(24 * PIECE))
        line.close()
        eventually(lambda: answer(other, op.GetStatus())["connections"] == 1)
        answer(other, op.Set(key="k"), os.urandom(3 * PIECE))
        reader = daemon.connect()
        reader.send(op.Get(key="k"))
        reader.close()
        answer(other, op.Forget(keys=["k"]))
        eventually(lambda: held(daemon) < 2 * PIECE, patience=20)


def test_a_daemon_killed_while_it_writes_one_has_all_of_it_or_nothing(tmp_path: Path) -> None:
    with roomy(tmp_path) as daemon:
        for _ in range(4):
            content = os.urandom(48 * PIECE)
            with daemon.connect() as line:
                line.send(op.Set(key="k"), content)
                eventually(lambda: held(daemon) > 8 * PIECE)
                daemon.kill()
            daemon.restart()
            with daemon.connect() as line:
                assert value(line, "k") in (None, content)
                answer(line, op.Forget(keys=["k"]))
                eventually(lambda: held(daemon) < 2 * PIECE, patience=20)


def held(daemon: RunningDaemon) -> int:
    """Bytes of the database and its log."""
    return sum(path.stat().st_size for path in daemon.home.glob("stash.db*"))


def test_an_expired_large_value_is_swept_piece_by_piece() -> None:
    bench = Bench()
    bench.set(
        "k", os.urandom(5 * PIECE), ttl_ms=1000, caller=bench.someone("default", max_value=8 * MIB, quota=64 * MIB)
    )
    bench.clock.advance(ms=1000)
    store = bench.engine.store
    rounds = 0
    while True:
        bench.engine.begin()
        more = bench.engine.sweep()
        bench.engine.commit()
        rounds += 1
        if not more:
            break
    assert rounds > 2
    assert not store.littered
    bench.engine.close()

"""The sweeper: deletes what is expired soon after its time, and does nothing while nothing is due."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stash_daemon.engine import Engine
from stash_daemon.engine.pruning import rest
from stash_daemon.store import LOG_PAGES
from stash_protocol.operations import Extend, Ping, Set, Watch
from tests.daemon.doors.inprocess import PATIENCE, Desk, open_door, until


def rows(engine: Engine) -> int:
    """Rows in the table, expired or not."""
    connection = engine.store._connection  # type: ignore[attr-defined]
    return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def asleep(desk: Desk) -> bool:
    """Whether nothing but the next expiry could wake the sweeper."""
    sweeper = desk.sweeper
    assert sweeper is not None
    return sweeper._look is None and sweeper._idle is None


def test_what_expires_is_deleted_and_watchers_are_told() -> None:
    async def scenario() -> None:
        async with open_door(sweeping=True) as desk:
            wire = await desk.connect()
            await wire.call(Watch(id=1))
            wire.send((Set(id=2, key="k", ttl_ms=30), b"v"))
            assert (await wire.read())[0]["push"]["event"] == "set"
            await wire.read()
            desk.clock.advance(ms=30)
            event, _ = await wire.read()
            assert (event["push"]["event"], event["push"]["key"]) == ("expire", "k")
            assert rows(desk.engine) == 0

    asyncio.run(scenario())


def test_many_that_expire_at_once_go_in_slices_with_others_served_between() -> None:
    async def scenario() -> None:
        async with open_door(sweeping=True) as desk:
            wire = await desk.connect()
            for _ in range(20):
                wire.send(*((Set(id=number, ttl_ms=20), b"v") for number in range(1, 101)))
                for _ in range(100):
                    await wire.read()
            desk.clock.advance(ms=1000)
            await until(lambda: rows(desk.engine) < 2000)
            served = 0
            while rows(desk.engine):
                await wire.call(Ping(id=1))
                served += 1
            assert served >= 5

    asyncio.run(scenario())


def test_an_earlier_expiry_wakes_it_earlier() -> None:
    async def scenario() -> None:
        async with open_door(sweeping=True) as desk:
            wire = await desk.connect()
            await wire.call(Set(id=1, key="long", ttl_ms=3_600_000), b"v")
            await wire.call(Set(id=2, key="short", ttl_ms=20), b"v")
            desk.clock.advance(ms=20)
            await until(lambda: rows(desk.engine) == 1)

    asyncio.run(scenario())


def test_what_was_extended_stays() -> None:
    async def scenario() -> None:
        async with open_door(sweeping=True) as desk:
            wire = await desk.connect()
            await wire.call(Set(id=1, key="k", ttl_ms=50), b"v")
            await wire.call(Extend(id=2, key="k", by_ms=60_000), b"")
            await wire.call(Set(id=3, key="other", ttl_ms=50), b"v")
            desk.clock.advance(ms=60)
            await until(lambda: rows(desk.engine) == 1)
            assert desk.engine.next_expiry() == desk.clock.now() + 59_990

    asyncio.run(scenario())


def test_it_does_nothing_while_nothing_is_due(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db"), sweeping=True) as desk:
            wire = await desk.connect()
            await wire.call(Set(id=1, key="k"), b"v")
            await until(lambda: asleep(desk))
            await until(lambda: not desk.engine.store.log_pages)
            assert asleep(desk)

    asyncio.run(scenario())


def test_the_log_is_emptied_once_there_is_a_pause(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db"), sweeping=True) as desk:
            wire = await desk.connect()
            await wire.call(Set(id=1, key="k"), b"secret" * 10_000)
            assert (tmp_path / "x.db-wal").stat().st_size > 60_000
            await until(lambda: (tmp_path / "x.db-wal").stat().st_size == 0)

    asyncio.run(scenario())


def test_the_log_begins_anew_under_load_and_the_loop_never_syncs_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db"), sweeping=True) as desk:
            store, lengths = desk.engine.store, [0]
            store.finish_checkpoint = lambda: pytest.fail("the loop moved the log")  # type: ignore[method-assign]
            wire = await desk.connect()
            async with asyncio.timeout(PATIENCE):
                while store.log_pages >= lengths[-1]:
                    lengths.append(store.log_pages)
                    await wire.call(Set(id=1, key="k"), b"v" * 500_000)
            assert max(lengths) > LOG_PAGES

    asyncio.run(scenario())


def test_after_a_slice_others_have_three_times_as_long_and_never_less_than_it_takes_to_serve_hundreds() -> None:
    assert [rest(took) for took in (0.0, 0.001, 0.010)] == [0.012, 0.012, 0.030]

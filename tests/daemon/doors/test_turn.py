"""Law 6: no reply before its commit, and one storage failure is everyone's who shared the turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import ANY

import msgspec

from stash_protocol.errors import StorageFull
from stash_protocol.frames import pack
from stash_protocol.operations import Clear, Exists, Get, Incr, Ping, Set, Watch
from tests.daemon.doors.inprocess import Desk, open_door


def fill_up(desk: Desk) -> None:
    """From here on the database may not grow: what a full disk does to it."""
    connection = desk.engine.store._connection  # type: ignore[attr-defined]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 10}")


def test_the_writes_of_one_read_share_one_commit() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            commits = 0

            def count() -> None:
                nonlocal commits
                commits += 1

            desk.turn.committed = count
            wire.send(*((Set(id=number, key=f"k{number}"), b"v") for number in range(1, 51)))
            answers = [(await wire.read())[0] for _ in range(50)]
            assert [answer["id"] for answer in answers] == list(range(1, 51))
            assert commits == 1

    asyncio.run(scenario())


def test_no_answer_leaves_while_the_turn_is_open_not_even_a_reads() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            desk.turn.begin()
            wire.connection.data_received(pack(msgspec.msgpack.encode(Ping(id=7))))
            assert not wire.connection._out
            desk.turn.commit()
            assert (await wire.read())[0]["id"] == 7

    asyncio.run(scenario())


def test_while_writes_wait_reads_are_answered_and_what_a_connection_asks_stays_in_order() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            one, other = await desk.connect(), await desk.connect()
            await one.call(Set(id=1, key="k"), b"old")
            commits: list[bool] = []
            desk.turn.committed = lambda: commits.append(True)
            desk.turn.pause()
            one.send((Get(id=2, key="k"), b""), (Set(id=3, key="k"), b"new"), (Get(id=4, key="k"), b""))
            assert await one.read() == (ANY, b"old")
            other.send((Get(id=5, key="k"), b""), (Clear(id=6, prefix="none"), b""))
            assert await other.read() == (ANY, b"old")
            assert not desk.turn.open
            assert not commits
            desk.turn.resume()
            assert [(await one.read())[0]["id"], await one.read()] == [3, (ANY, b"new")]
            assert (await other.read())[0]["id"] == 6
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_write_that_waits_runs_into_its_deadline_and_is_not_done_afterwards() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            desk.turn.pause()
            assert (await wire.call(Set(id=1, key="k", timeout_ms=5), b"v"))["error"]["code"] == "timeout"
            desk.turn.resume()
            assert not (await wire.call(Exists(id=2, key="k")))["reply"]["exists"]
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_full_disk_fails_every_request_of_the_turn_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db")) as desk:
            wire = await desk.connect()
            fill_up(desk)
            wire.send((Set(id=1, key="a"), b"small"), (Get(id=2, key="a"), b""), (Set(id=3, key="b"), b"x" * 100_000))
            codes = [(await wire.read())[0]["error"]["code"] for _ in range(3)]
            assert codes == ["storage_full"] * 3
            assert (await wire.call(Exists(id=4, key="a")))["reply"] == {"exists": False}
            assert "reply" in await wire.call(Set(id=5, key="c"), b"small")

    asyncio.run(scenario())


def test_a_watcher_hears_nothing_of_a_turn_that_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db")) as desk:
            watcher, wire = await desk.connect(), await desk.connect()
            await watcher.call(Watch(id=1))
            fill_up(desk)
            wire.send((Set(id=1, key="lost"), b"v"), (Set(id=2, key="b"), b"x" * 100_000))
            assert "error" in (await wire.read())[0]
            assert "error" in (await wire.read())[0]
            await wire.call(Set(id=3, key="kept"), b"v")
            assert (await watcher.read())[0]["push"]["key"] == "kept"

    asyncio.run(scenario())


def test_a_long_write_fails_with_the_turn_one_of_its_slices_was_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db")) as desk:
            wire = await desk.connect()
            for number in range(200):
                await wire.call(Set(id=1, key=f"k{number}"), b"v")
            fill_up(desk)
            wire.send((Clear(id=7, prefix="k"), b""))
            while not desk.turn.open:  # noqa: ASYNC110  (an open turn lasts one round of the loop)
                await asyncio.sleep(0)
            desk.turn.fail(StorageFull("full"))
            answer, _ = await wire.read()
            assert (answer["id"], answer["error"]["code"]) == (7, "storage_full")
            assert not wire.connection.errands

    asyncio.run(scenario())


def test_a_defect_is_answered_as_internal_and_the_turn_is_undone() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            desk.engine.store.floor = None  # type: ignore[method-assign,assignment]
            wire.send((Incr(id=1, key="n"), b""))
            assert (await wire.read())[0]["error"]["code"] == "internal"
            assert not desk.turn.open
            assert not desk.engine.store.writing
            assert "reply" in await wire.call(Ping(id=2))

    asyncio.run(scenario())


def test_answers_that_wait_for_the_turn_have_the_ceiling_of_all_others() -> None:
    async def scenario() -> None:
        async with open_door(max_memory=5 << 20) as desk:
            wires = [await desk.connect() for _ in range(4)]
            await wires[0].call(Set(id=1, key="big"), bytes(2 << 20))
            desk.turn.begin()
            for wire in wires:
                wire.connection.data_received(pack(msgspec.msgpack.encode(Get(id=2, key="big"))))
            assert desk.door.memory.held == 2 * (2 << 20)
            desk.turn.commit()
            answers = [(await wire.read())[0] for wire in wires]
            assert ["reply" in answer for answer in answers] == [True, True, False, False]
            assert {answer["error"]["code"] for answer in answers[2:]} == {"over_quota"}

    asyncio.run(scenario())

"""Large values on their way, and what becomes of them when something else goes wrong."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from pathlib import Path

import msgspec

from stash_daemon.store import PIECE
from stash_protocol.errors import StorageFull
from stash_protocol.frames import pack
from stash_protocol.operations import Forget, Get, Ping, Set
from tests.daemon.doors.inprocess import open_door, until


def test_a_connection_goes_on_after_a_large_value_that_its_turn_could_not_give_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "s.db")) as desk:
            wire, content = await desk.connect(), os.urandom(3 * PIECE)
            await wire.call(Set(id=1, key="k"), content)
            desk.turn.begin()
            wire.connection.data_received(pack(msgspec.msgpack.encode(Get(id=2, key="k"))))
            desk.turn.fail(StorageFull("full"))
            assert (await wire.read())[0]["error"]["code"] == "storage_full"
            wire.send((Get(id=3, key="k"), b""), (Set(id=4, key="k"), b""), (Ping(id=5), b""))
            assert (await wire.read())[1] == content
            assert [(await wire.read())[0]["id"] for _ in range(2)] == [4, 5]
            assert desk.engine.store.littered

    asyncio.run(scenario())


def test_a_read_that_may_wait_for_its_key_waits_after_a_pause_too() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            one, other = await desk.connect(), await desk.connect()
            desk.turn.pause()
            one.send((Get(id=1, key="k", touch=True, wait_ms=5000), b""))
            await until(lambda: one.connection.errands)
            desk.turn.resume()
            await other.call(Set(id=1, key="k"), b"v")
            assert (await one.read())[1] == b"v"
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_large_value_spends_nothing_of_the_room_for_deleting_nor_fails_those_who_delete() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire, store = await desk.connect(), desk.engine.store
            await wire.call(Set(id=1, key="k"), b"v")
            store.full, store.recover = True, lambda: False  # type: ignore[method-assign]
            wire.send((Forget(id=2, keys=["k"]), b""), (Set(id=3, key="large"), bytes(3 * PIECE)))
            answers = {answer["id"]: answer for answer, _ in [await wire.read(), await wire.read()]}
            assert answers[2]["reply"] == {"forgotten": 1}
            assert answers[3]["error"]["code"] == "storage_full"
            assert not store.littered
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_large_value_waits_no_longer_than_the_reader_who_kept_the_log_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "s.db"), sweeping=True) as desk:
            wire, other, number = await desk.connect(), await desk.connect(), count(1)
            await wire.call(Set(id=next(number), key="k"), b"v")
            with desk.engine.store.snapshot() as reads:
                assert reads.namespace("default")
                while not desk.engine.log_is_long:
                    await wire.call(Set(id=next(number), key="k"), bytes(PIECE))
                sweeper = desk.sweeper
                assert sweeper is not None
                await until(lambda: not (sweeper._look or sweeper._checkpointing))
            wire.send((Set(id=next(number), key="large"), bytes(3 * PIECE)))
            answer = asyncio.ensure_future(wire.read())
            async with asyncio.timeout(5):
                while not answer.done():  # few writes, but never a second without one
                    await other.call(Set(id=next(number), key="small"), b"v")
                    await asyncio.wait([answer], timeout=0.2)
            assert "reply" in answer.result()[0]

    asyncio.run(scenario())

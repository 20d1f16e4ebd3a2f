"""Whoever waits for a vector is answered when it is there, when it is not to come, or when time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from stash_daemon.search.embedders.hashed import Hashed
from stash_daemon.search.embedders.query import QueryEmbedder
from stash_protocol.memories import Memory
from stash_protocol.operations import Cancel, Embedded, Forget, Get, Set
from stash_protocol.vectors import check_vector
from tests.daemon.doors.inprocess import Desk, Wire, open_door, until

LONG = 60_000  # milliseconds


def run(scenario: Callable[[Desk, Wire], Coroutine[Any, Any, None]]) -> None:
    """With a memory ``k`` that waits for its vector, and no queue that would make it."""

    async def main() -> None:
        async with open_door() as desk:
            desk.engine.embedder = QueryEmbedder(Hashed(8), 1)
            wire = await desk.connect()
            await wire.call(Set(id=1, key="k", memory=Memory(text="a text")), b"v")
            await scenario(desk, wire)

    asyncio.run(main())


async def waits(desk: Desk, wire: Wire, **fields: Any) -> None:
    wire.send((Embedded(id=7, key="k", wait_ms=LONG, **fields), b""))
    await until(lambda: 7 in wire.connection.errands)


def finish(desk: Desk, *, again_at: int | None = None, vector: bool = False) -> None:
    """Do what the queue would."""

    def work() -> bool:
        store = desk.engine.store
        for row in store.pending(desk.clock.now(), 10, least=0):
            if vector:
                store.embedded(row, "hash:words@8", check_vector([1.0] * 8))
            else:
                store.embedding_failed(row, again_at=again_at)
        return True

    desk.turn.alone(work)


def test_it_is_answered_with_the_vector_and_others_are_served_meanwhile() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        await waits(desk, wire)
        assert (await wire.call(Get(id=8, key="k")))["id"] == 8
        finish(desk, again_at=desk.clock.now())
        assert (await wire.call(Get(id=9, key="k")))["id"] == 9, "one failure is not the end"
        finish(desk, vector=True)
        envelope, _ = await wire.read()
        assert (envelope["id"], envelope["reply"]["embedding_status"]) == (7, "completed")
        assert not wire.connection.errands

    run(scenario)


def test_it_is_answered_when_the_text_is_given_up() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        await waits(desk, wire)
        finish(desk)
        assert (await wire.read())[0]["reply"]["embedding_status"] == "failed"

    run(scenario)


def test_it_is_answered_when_the_memory_is_gone() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        await waits(desk, wire)
        other = await desk.connect()
        await other.call(Forget(id=1, keys=["k"]))
        assert (await wire.read())[0]["error"]["code"] == "not_found"

    run(scenario)


def test_it_ends_with_its_time() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        for fields in ({"wait_ms": 30}, {"wait_ms": LONG, "timeout_ms": 30}):
            envelope = await wire.call(Embedded(id=7, key="k", **fields))
            assert envelope["error"]["code"] == "timeout"
        assert not wire.connection.errands

    run(scenario)


def test_it_can_be_cancelled_and_ends_with_its_connection() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        await waits(desk, wire)
        wire.send((Cancel(id=8, target=7), b""))
        assert {(await wire.read())[0]["id"] for _ in range(2)} == {7, 8}
        await waits(desk, wire)
        errand = wire.connection.errands[7]
        wire.writer.close()
        await until(lambda: errand.done)

    run(scenario)


def test_what_nobody_will_make_is_not_waited_for() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        assert (await wire.call(Embedded(id=7, key="k")))["reply"]["embedding_status"] == "pending"
        desk.engine.embedder = None
        assert (await wire.call(Embedded(id=7, key="k", wait_ms=LONG)))["reply"]["embedding_status"] == "pending"
        await wire.call(Set(id=1, key="entry"), b"v")
        assert (await wire.call(Embedded(id=7, key="entry", wait_ms=LONG)))["reply"]["embedding_status"] == "skipped"

    run(scenario)


def test_an_api_key_that_is_revoked_meanwhile_is_told_nothing_more() -> None:
    async def scenario(desk: Desk, wire: Wire) -> None:
        await waits(desk, wire)
        assert wire.connection.caller is not None
        wire.connection.caller.revoked = True
        finish(desk, vector=True)
        assert (await wire.read())[0]["error"]["code"] == "unauthenticated"

    run(scenario)

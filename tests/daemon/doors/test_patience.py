"""Who keeps the daemon waiting is dropped; who only takes its time is not."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from stash_daemon.doors.connection import HELLO_PATIENCE, MIN_PROGRESS
from stash_daemon.doors.patience import STALL_PATIENCE, Progress
from stash_protocol.frames import HEADER
from stash_protocol.operations import Get, Ping, Set
from tests.daemon.doors.inprocess import Wire, open_door, until


def test_whoever_says_no_hello_is_told_and_dropped() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect(hello=False)
            now = desk.loop.time()
            assert wire.connection.judge(now + HELLO_PATIENCE - 1)
            wire.connection.judge(now + HELLO_PATIENCE + 1)
            assert (await wire.read())[0]["error"]["code"] == "timeout"
            assert await wire.ended()

    asyncio.run(scenario())


def test_half_a_frame_without_progress_is_dropped_and_its_memory_given_back() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            wire.send((Set(id=1, key="k"), b"x" * 100_000))
            await wire.read()
            wire.writer.write(_announced(Set(id=2, key="k"), 1_000_000) + b"x" * 10)
            await until(lambda: desk.door.memory.held)
            now = desk.loop.time()
            assert wire.connection.judge(now)
            assert wire.connection.judge(now + STALL_PATIENCE - 1)
            assert not wire.connection.judge(now + STALL_PATIENCE + 1)
            assert await wire.ended()
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_slow_frame_that_goes_on_is_waited_for() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect()
            wire.writer.write(_announced(Set(id=2, key="k"), 5 * MIN_PROGRESS))
            now = desk.loop.time()
            for step in range(4):
                wire.writer.write(b"x" * MIN_PROGRESS)
                await until(partial(_has_received, wire, (step + 1) * MIN_PROGRESS))
                assert wire.connection.judge(now + step * (STALL_PATIENCE - 1))
            wire.writer.write(b"x" * MIN_PROGRESS)
            assert "reply" in (await wire.read())[0]

    asyncio.run(scenario())


def test_a_peer_that_does_not_read_what_it_asked_for_is_dropped() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect(small=True)
            await wire.call(Set(id=1, key="k"), b"x" * 1_000_000)
            wire.send((Get(id=2, key="k"), b""), (Get(id=3, key="k"), b""), (Get(id=4, key="k"), b""))
            await until(lambda: wire.connection.backlogged)
            held = desk.door.memory.held
            assert 0 < held < 1_100_000  # one answer; the others wait for it to be read
            now = desk.loop.time()
            assert wire.connection.judge(now)
            assert not wire.connection.judge(now + STALL_PATIENCE + 1)
            await until(lambda: not desk.door.connections)
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_a_peer_that_reads_late_gets_everything() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            wire = await desk.connect(small=True)
            await wire.call(Set(id=1, key="k"), b"x" * 1_000_000)
            wire.send(*((Get(id=number, key="k"), b"") for number in range(2, 30)))
            await until(lambda: wire.connection.backlogged)
            for number in range(2, 30):
                answer, value = await wire.read()
                assert (answer["id"], len(value)) == (number, 1_000_000)
            assert "reply" in await wire.call(Ping(id=99))
            assert desk.door.memory.held == 0

    asyncio.run(scenario())


def test_progress_is_growth_within_the_patience() -> None:
    progress = Progress()
    assert not progress.stalled(0, 100, 10)
    assert not progress.stalled(STALL_PATIENCE - 1, 109, 10)
    assert progress.stalled(STALL_PATIENCE + 1, 109, 10)
    assert not progress.stalled(STALL_PATIENCE + 2, 110, 10)


def _has_received(wire: Wire, size: int) -> bool:
    return wire.connection._reader.buffered >= size


def _announced(request: Set, payload_length: int) -> bytes:
    envelope = msgspec.msgpack.encode(request)
    return HEADER.pack(len(envelope), payload_length) + envelope

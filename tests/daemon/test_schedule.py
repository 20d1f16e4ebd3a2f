"""The daemon's own runs of retention, on a real loop with a clock in the test's hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from stash_daemon.schedule import Schedule
from stash_protocol.errors import Busy
from stash_protocol.memories import Memory
from stash_protocol.operations import GetRetention, Ping, RetentionRun, Search, Set
from stash_protocol.retention import RetentionState
from tests.daemon.doors.inprocess import Desk, open_door, until
from tests.support.daemon import RunningDaemon, eventually

DAY = 86_400_000  # milliseconds
STORES = pytest.mark.parametrize("name", ["x.db", ""], ids=["file", "memory"])


def state(desk: Desk) -> RetentionState:
    body = desk.engine.execute(GetRetention(), b"", desk.engine.keys.local_caller()).body
    assert isinstance(body, RetentionState)
    return body


async def remember(desk: Desk, count: int) -> None:
    wire = await desk.connect()
    memory = Memory(text="short", role="tool", at=desk.clock.now() - 31 * DAY)
    for number in range(1, count + 1):
        wire.send((Set(id=number, key=f"k{number}", ttl_ms=200 * DAY, memory=memory), b"v"))
    for _ in range(count):
        await wire.read()


@STORES
def test_it_runs_when_it_is_due_and_again_a_day_later(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / name) if name else "") as desk:
            await remember(desk, 40)
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop(), first_look=0)
            try:
                await until(lambda: state(desk).last is not None)
                last = state(desk).last
                assert last is not None
                assert (last.archived, last.scheduled) == (40, True)
                await until(lambda: (state(desk).next_at or 0) == desk.clock.now() + DAY)
            finally:
                schedule.stop()
            desk.clock.advance(ms=30 * DAY + 1)
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop(), first_look=0)
            try:
                await until(lambda: desk.engine.observer.figures(None)["retention"]["deleted"] == 40)
            finally:
                schedule.stop()

    asyncio.run(scenario())


def test_others_are_served_between_its_slices(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / "x.db")) as desk:
            await remember(desk, 1000)
            wire = await desk.connect()
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop(), first_look=0)
            served = 0
            try:
                while state(desk).last is None:
                    await wire.call(Ping(id=1))
                    served += 1
            finally:
                schedule.stop()
            assert served >= 50

    asyncio.run(scenario())


def test_it_never_wakes_when_it_is_set_off() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            desk.engine.settings.retention_every = None
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop(), first_look=0)
            assert schedule._timer is None
            schedule.stop()

    asyncio.run(scenario())


def test_it_looks_at_the_figures_now_and_then_also_without_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            desk.engine.settings.retention_every = None
            looks: list[int] = []
            monkeypatch.setattr("stash_daemon.schedule.LOOK_EVERY", 0.001)
            monkeypatch.setattr(desk.engine.observer, "look", lambda: looks.append(1))
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop())
            try:
                await until(lambda: len(looks) >= 2)
            finally:
                schedule.stop()

    asyncio.run(scenario())


def test_trouble_is_told_and_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            await remember(desk, 1)
            told: list[str] = []
            monkeypatch.setattr("stash_daemon.schedule.RETRY_AFTER", 0.01)
            monkeypatch.setattr(desk.engine.observer, "log", lambda _level, event, **_: told.append(event))

            def refuse() -> None:
                if told.count("retention_held_up") < 2:
                    raise Busy("the audit cannot be written")

            monkeypatch.setattr(desk.engine.observer, "require_audit", refuse)
            schedule = Schedule(desk.engine, desk.turn, asyncio.get_running_loop(), first_look=0)
            try:
                await until(lambda: state(desk).last is not None)
            finally:
                schedule.stop()
            assert told == ["retention_held_up", "retention_held_up", "retention"]

    asyncio.run(scenario())


def test_a_daemon_runs_it_by_itself() -> None:
    at_once = "import stash_daemon.schedule as s; s.Schedule.__init__.__kwdefaults__['first_look'] = 0"
    with RunningDaemon(before=at_once) as daemon, daemon.connect() as line:
        eventually(lambda: line.call(GetRetention())[0]["reply"]["next_at"] > line.call(Ping())[0]["reply"]["now"])
        assert daemon.stop() == 0


@STORES
def test_a_client_can_ask_for_a_run_and_see_what_it_did(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_door(str(tmp_path / name) if name else "") as desk:
            await remember(desk, 20)
            wire = await desk.connect()
            wire.send((RetentionRun(id=1, report=True), b""))
            answer, payload = await wire.read()
            assert answer["reply"]["archived"] == 20
            assert len(msgspec.msgpack.decode(payload)) == 20
            wire.send((Search(id=2), b""))
            answer, _ = await wire.read()
            assert answer["reply"]["total"] == 0

    asyncio.run(scenario())

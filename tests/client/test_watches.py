"""Watches: nothing is lost, nothing piles up, and each ends for everyone who waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stash_memory import AsyncStash, Busy
from tests.client.ways import opened
from tests.support.daemon import RunningDaemon

both = pytest.mark.parametrize("mode", ["sync", "async"])


@pytest.mark.parametrize("steps", range(4))
def test_a_cancelled_wait_for_an_event_takes_none(daemon: RunningDaemon, api_key: str, steps: int) -> None:
    async def use() -> list[str]:
        async with AsyncStash(socket=daemon.socket, api_key=api_key) as stash, await stash.watch() as watch:
            heard = []
            for number in range(20):
                waiting = asyncio.create_task(watch.next())
                await asyncio.sleep(0)
                told = stash._transport._connection._watches  # type: ignore[attr-defined]
                (events,) = told.values()
                deliver, arrived = events.put_nowait, asyncio.Event()

                def put(event: Any, deliver: Any = deliver, arrived: asyncio.Event = arrived) -> None:
                    deliver(event)
                    arrived.set()

                events.put_nowait = put
                await stash.set(f"k{number}", "v")
                await arrived.wait()
                for _ in range(steps):
                    await asyncio.sleep(0)
                waiting.cancel()
                try:
                    event = await waiting
                except asyncio.CancelledError:
                    event = await watch.next(5)
                assert event is not None, f"event {number} was lost"
                heard.append(event.key)
            return heard

    assert asyncio.run(use()) == [f"k{number}" for number in range(20)]


@pytest.mark.parametrize("way", ["memory", "sqlite"])
@both
def test_a_watch_in_process_that_is_not_read_is_dropped_as_busy(
    mode: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in ("embedded", "embedded_async"):
        monkeypatch.setattr(f"stash_memory.{page}.MAX_EVENTS", 10)
    path = {"path": tmp_path / "x.db"} if way == "sqlite" else {}
    with opened(mode, backend=way, **path) as stash, stash.watch() as watch:
        for number in range(30):
            stash.set(f"k{number}", "v")
        assert [watch.next(5).key for _ in range(10)] == [f"k{number}" for number in range(10)]
        for _ in range(2):
            with pytest.raises(Busy, match="watch again"):
                watch.next(5)
        assert listeners(stash) == 0


def test_the_loop_goes_on_while_a_watch_in_process_is_closed() -> None:
    async def use() -> None:
        async with AsyncStash(backend="memory") as stash:
            watch = await stash.watch()
            with stash._transport._inner._lock:  # type: ignore[attr-defined]  # something long in another thread
                await asyncio.wait_for(watch.close(), 5)
                assert await watch.next(5) is None
            await stash.ping()
            assert listeners(stash) == 0

    asyncio.run(use())


@pytest.mark.parametrize("seconds", [0, 0.0002, 0.001])
def test_waits_in_process_that_are_cancelled_leave_no_listener(seconds: float) -> None:
    async def use() -> None:
        async with AsyncStash(backend="memory") as stash:
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await stash.get("nope", wait=5)
            await stash.ping()
            assert listeners(stash) == 0

    asyncio.run(use())


@pytest.mark.parametrize("way", ["memory", "daemon"])
def test_closing_a_watch_ends_it_for_everyone_who_waits(daemon: RunningDaemon, api_key: str, way: str) -> None:
    async def use() -> None:
        options: Any = {"backend": "memory"} if way == "memory" else {"socket": daemon.socket, "api_key": api_key}
        async with AsyncStash(**options) as stash:
            watch = await stash.watch()
            waiting = [asyncio.create_task(watch.next()) for _ in range(3)]
            await asyncio.sleep(0)
            await watch.close()
            async with asyncio.timeout(5):
                assert await asyncio.gather(*waiting) == [None] * 3

    asyncio.run(use())


def listeners(stash: Any) -> int:
    """How many the engine in this process would tell of a change."""
    transport = getattr(stash, "inner", stash)._transport
    events = getattr(transport, "_inner", transport)._engine.events
    return sum(map(len, events._subscribers.values()))

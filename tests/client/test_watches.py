"""Watches: nothing is lost, nothing piles up, and each ends for everyone who waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stash_memory import AsyncStash
from tests.support.daemon import RunningDaemon


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

"""The loop stays awake for a moment after an answer, and then sleeps."""

from __future__ import annotations

import asyncio

from stash_daemon.doors.linger import Linger
from stash_protocol.operations import Ping
from tests.daemon.doors.inprocess import open_door


class Counting(Linger):
    """Counts how often it looks."""

    looked = 0

    def _look(self) -> None:
        self.looked += 1
        super()._look()


async def rest(linger: Linger) -> None:
    """Until it does not look any more."""
    async with asyncio.timeout(10):
        while linger._looking:  # noqa: ASYNC110  (it is this loop that looks)
            await asyncio.sleep(0)


def test_after_an_answer_the_loop_looks_and_then_leaves_off() -> None:
    async def scenario() -> None:
        async with open_door() as desk:
            linger = desk.door.linger = Counting(asyncio.get_running_loop())
            wire = await desk.connect()
            await wire.call(Ping(id=1))
            await rest(linger)
            assert linger.looked > 0
            before = linger.looked
            for _ in range(100):
                await asyncio.sleep(0)
            assert linger.looked == before

    asyncio.run(scenario())


def test_a_loop_that_looked_in_vain_sleeps_after_the_next_answers() -> None:
    async def scenario() -> None:
        linger = Counting(asyncio.get_running_loop())
        looks = []
        for _ in range(12):
            before = linger.looked
            linger.answered()
            await rest(linger)
            looks.append(linger.looked > before)
        assert [number for number, looked in enumerate(looks) if looked] == [0, 2, 5, 10]

    asyncio.run(scenario())

"""Clients: a thousand calls disturbed under eight tasks; never a reply to another's call, never one that hangs."""

from __future__ import annotations

import asyncio

from stash_memory import AsyncStash
from stash_protocol import operations as op
from tests.support.daemon import RunningDaemon, eventually
from tests.support.tenants import answer
from tests.torture import clients

DISTURBED = 1000
KILLS = 4


def test_a_thousand_calls_that_are_cancelled_or_run_out_of_time_leave_each_other_alone() -> None:
    with RunningDaemon() as daemon:
        tally = asyncio.run(clients.cancelled(f"unix://{daemon.socket}", DISTURBED))
    assert tally.foreign == []
    assert tally.disturbed >= DISTURBED
    assert tally.outcomes["cancelled"] > 100
    assert tally.outcomes["timeout"] > 5
    assert tally.outcomes["served"] > 100


def test_calls_whose_daemon_dies_end_and_go_on_with_the_next() -> None:
    with RunningDaemon() as daemon:
        tally = clients.bereaved(daemon, KILLS)
    assert tally.foreign == []
    assert tally.outcomes["unreachable"] > 0


def test_a_connection_whose_caller_has_gone_serves_the_next_and_is_closed_with_the_stash() -> None:
    async def scenario(daemon: RunningDaemon) -> None:
        with daemon.connect() as line:

            def connections() -> int:
                return int(answer(line, op.GetStatus())["connections"]) - 1

            stash = AsyncStash(url=f"unix://{daemon.socket}")
            call = asyncio.ensure_future(stash.get("k"))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            connecting = stash._transport._connecting
            assert connecting is not None
            await asyncio.wait([connecting])
            await stash.set("k", "v")
            assert (call.cancelled(), connections()) == (True, 1)
            await stash.close()
            eventually(lambda: not connections())

    with RunningDaemon() as daemon:
        asyncio.run(scenario(daemon))

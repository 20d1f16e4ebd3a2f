"""Clients: calls that are cancelled, run out of time, or lose their daemon. No reply ever goes to another call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections import Counter
from typing import Any
from unittest.mock import patch

from stash_memory import AsyncStash, Stash, StashError
from tests.support.daemon import RunningDaemon, eventually

WORKERS = 8
FINE = ("timeout", "unreachable", "busy")  # what a call may end with when it is disturbed
LARGE = 200_000  # bytes: some replies come in many pieces
HANG = 50.0  # seconds for all of it
ALONE = patch.dict(os.environ, {"STASH_AUTOSTART": "0"})  # daemons are started by the test alone


class Tally:
    """What came of all calls together."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.foreign: list[str] = []

    @property
    def disturbed(self) -> int:
        """Calls that did not end by themselves."""
        return self.outcomes["cancelled"] + sum(self.outcomes[code] for code in FINE)

    def judge(self, key: str, value: Any) -> None:
        """Note what a get returned: the key's own value, or nothing."""
        self.outcomes["served"] += 1
        if value is not None and not (isinstance(value, str) and value.startswith(key + "=")):
            self.foreign.append(f"{key} got {str(value)[:60]}")

    def failed(self, error: StashError) -> None:
        self.outcomes[error.code] += 1
        assert error.code in FINE, error


def value_of(key: str, chance: random.Random) -> str:
    return f"{key}=" + "x" * chance.choice((1, 100, LARGE))


async def _call(stash: AsyncStash, key: str, chance: random.Random, tally: Tally) -> None:
    timeout = chance.choice((None, 0.0001, 0.0002, 0.001))
    if chance.random() < 0.4:
        await stash.set(key, value_of(key, chance), ttl=60, timeout=timeout)
        tally.outcomes["served"] += 1
    else:
        tally.judge(key, await stash.get(key, None, timeout=timeout))


async def _worker(stash: AsyncStash, name: int, tally: Tally, enough: int) -> None:
    chance = random.Random(name)
    while tally.disturbed < enough:
        call = asyncio.ensure_future(_call(stash, f"{name}/{chance.randrange(5)}", chance, tally))
        if chance.random() < 0.5:
            await asyncio.sleep(chance.choice((0, 0, 0.0003, 0.001)))
            call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            tally.outcomes["cancelled"] += 1
        except StashError as error:
            tally.failed(error)


async def cancelled(url: str, count: int) -> Tally:
    """Eight tasks over one connection, until so many of their calls were cancelled or ran out of time."""
    tally = Tally()
    with ALONE:
        stash = AsyncStash(url=url)
    async with asyncio.timeout(HANG), stash:
        await asyncio.gather(*(_worker(stash, name, tally, count) for name in range(WORKERS)))
        for name in range(WORKERS):
            for n in range(5):
                tally.judge(f"{name}/{n}", await stash.get(f"{name}/{n}", None))
    return tally


def _work(url: str, name: int, tally: Tally, stopped: threading.Event) -> None:
    """Calls of one thread, each with little time, while daemons come and go."""
    chance = random.Random(name)
    with Stash(url=url, timeout=5) as stash:
        while not stopped.is_set():
            key = f"{name}/{chance.randrange(5)}"
            try:
                if chance.random() < 0.4:
                    stash.set(key, value_of(key, chance), ttl=60, timeout=chance.choice((None, 0.001)))
                    tally.outcomes["served"] += 1
                else:
                    tally.judge(key, stash.get(key, None, timeout=chance.choice((None, 0.001))))
            except StashError as error:
                tally.failed(error)


def bereaved(daemon: RunningDaemon, kills: int) -> Tally:
    """Eight threads, whose daemon is killed and started anew so many times while they call it.

    Raises:
        AssertionError: one of them hung, or met an error that has nothing to do with it.
    """
    tally, stopped, failures = Tally(), threading.Event(), list[BaseException]()

    def work(name: int) -> None:
        try:
            _work(f"unix://{daemon.socket}", name, tally, stopped)
        except BaseException as failure:  # noqa: BLE001  # raised again where the test can see it
            failures.append(failure)

    threads = [threading.Thread(target=work, args=[name], daemon=True) for name in range(WORKERS)]
    with ALONE:
        for thread in threads:
            thread.start()
        _kill_and_restart(daemon, kills, tally, stopped)
    for thread in threads:
        thread.join(HANG)
        assert not thread.is_alive(), "a call hangs"
    if failures:
        raise failures[0]
    return tally


def _kill_and_restart(daemon: RunningDaemon, kills: int, tally: Tally, stopped: threading.Event) -> None:
    try:
        for number in range(kills):
            _wait_for_calls(tally, 50)
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, (signal.SIGKILL, signal.SIGTERM)[number % 2])
            daemon.wait()
            daemon.restart()
        _wait_for_calls(tally, 50)
    finally:
        stopped.set()


def _wait_for_calls(tally: Tally, count: int) -> None:
    enough = tally.outcomes["served"] + count
    eventually(lambda: tally.outcomes["served"] >= enough)

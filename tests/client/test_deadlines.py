"""No call takes longer than it was given, whatever the daemon, the connection or other calls do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest

from stash_memory import AsyncStash, Stash, Timeout
from stash_memory.flight import STEP
from stash_memory.wire import GRACE
from stash_protocol.frames import pack
from tests.client.ways import opened
from tests.support.daemon import RunningDaemon
from tests.support.peer import ENTRY, PATIENCE, Conversation, Gone, ScriptedPeer

SLACK = 0.35  # seconds that two cores shared by many tests may add
both = pytest.mark.parametrize("mode", ["sync", "async"])


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is inside takes no longer, but for the grace that a daemon's own answer has."""
    started = monotonic()
    yield
    assert monotonic() - started < seconds + GRACE + SLACK


def mute(client: Conversation) -> None:
    """A daemon that hangs: it accepts, and never says a word."""
    with contextlib.suppress(Gone):
        while True:
            client.request()


def breaking_after(seconds: float) -> Callable[[Conversation], None]:
    """A connection that breaks late."""

    def script(client: Conversation) -> None:
        client.welcome()
        client.sock.settimeout(0.05)
        ends = monotonic() + seconds
        while monotonic() < ends:
            try:
                client.sock.recv(65_536)
            except TimeoutError:
                continue

    return script


def test_a_call_that_cannot_be_sent_ends_in_time() -> None:
    async def use(daemon: RunningDaemon) -> None:
        async with AsyncStash(socket=daemon.socket) as stash:
            await stash.set("a", "b")
            os.kill(daemon.pid, signal.SIGSTOP)
            try:
                with pytest.raises(Timeout):
                    await stash.set("big", bytes(8 << 20), timeout=0.01)
                with at_most(0.2), pytest.raises(Timeout, match="nothing was sent"):
                    async with asyncio.timeout(5):
                        await stash.get("a", timeout=0.2)
            finally:
                os.kill(daemon.pid, signal.SIGCONT)
            assert await stash.get("a") == "b"

    with RunningDaemon() as daemon:
        asyncio.run(use(daemon))


@both
@pytest.mark.parametrize("call", ["one", "many", "watch"])
def test_a_second_try_has_what_the_first_left_of_the_time(mode: str, call: str) -> None:
    calls: dict[str, Callable[[Any], object]] = {
        "one": lambda stash: stash.get("a", timeout=1),
        "many": lambda stash: stash.pipeline().get("a").get("b").run(timeout=1),
        "watch": lambda stash: stash.watch(timeout=1),
    }
    with (
        ScriptedPeer(breaking_after(0.7), *([mute] if (mode, call) != ("sync", "watch") else [])) as peer,
        opened(mode, socket=peer.socket) as stash,
        at_most(1),
        pytest.raises(Exception, match=r"no answer within|went away"),
    ):
        calls[call](stash)


def test_replies_that_trickle_in_do_not_stretch_the_time_of_a_pipeline() -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        requests = [client.request() for _ in range(20)]
        try:
            for request in requests:
                client.value(request, b"v")
                if done.wait(0.2):
                    return
        except OSError:
            return

    done = threading.Event()
    with ScriptedPeer(script) as peer, Stash(socket=peer.socket) as stash:
        pipeline = stash.pipeline()
        for _ in range(20):
            pipeline.get("k")
        with at_most(0.3), pytest.raises(Timeout):
            pipeline.run(timeout=0.3)
        done.set()


@pytest.mark.parametrize("call", ["one", "many"])
@pytest.mark.parametrize("pace", [None, 0.02], ids=["not at all", "bit by bit"])
def test_a_daemon_that_hardly_reads_does_not_stretch_the_time_of_what_is_sent(call: str, pace: float | None) -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        with contextlib.suppress(Gone, ConnectionError):
            while not done.wait(pace):
                client.sock.recv(65_536)

    calls: dict[str, Callable[[Stash], object]] = {
        "one": lambda stash: stash.set("k", bytes(8 << 20), timeout=0.3),
        "many": lambda stash: stash.pipeline().set("k", bytes(8 << 20)).run(timeout=0.3),
    }
    done = threading.Event()
    with ScriptedPeer(script) as peer, Stash(socket=peer.socket) as stash:
        with at_most(0.3), pytest.raises(Timeout):
            calls[call](stash)
        done.set()


@pytest.mark.parametrize("then", ["reads no more", "ends in the middle of a head"])
def test_replies_that_come_late_leave_the_rest_of_a_pipeline_what_is_left_of_the_time(then: str) -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        client.value(client.request(), b"connected")
        numbers = [client.request()["id"] for _ in range(2 * STEP)]
        *replies, last = [pack(msgspec.msgpack.encode({"id": number, "reply": ENTRY})) for number in numbers]
        if not done.wait(0.6):
            client.sock.sendall(b"".join(replies) + (last if then == "reads no more" else last[:3]))
            done.wait(PATIENCE)

    done = threading.Event()
    with ScriptedPeer(script) as peer, opened("sync", socket=peer.socket) as stash:
        stash.get("k")
        stash._transport._idle[0]._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        pipeline = stash.pipeline()
        for size in [0] * (2 * STEP) + [2048] * STEP:
            pipeline.set("k", bytes(size))
        with at_most(0.3), pytest.raises(Timeout):
            pipeline.run(timeout=0.3)
        done.set()


@contextlib.contextmanager
def held(stash: Any) -> Iterator[None]:
    """The engine is busy with something long in another thread."""
    inner = getattr(stash._transport, "_inner", stash._transport)
    with inner._lock:
        yield


def fill(path: Path) -> None:
    with Stash(backend="sqlite", path=path) as stash, stash.pipeline() as pipeline:
        for number in range(20_000):
            pipeline.set(f"k{number}", "v" * 200)


def test_a_call_is_served_while_a_clear_goes_on_in_process(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncStash(backend="sqlite", path=tmp_path / "x.db") as stash:
            clearing = asyncio.create_task(stash.clear(prefix="k"))
            await asyncio.sleep(0)
            await stash.set("other", "v")
            assert not clearing.done()
            assert await clearing == 20_000

    fill(tmp_path / "x.db")
    asyncio.run(use())


def test_a_call_behind_others_in_process_ends_in_time(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncStash(backend="sqlite", path=tmp_path / "x.db") as stash:
            with held(stash):
                calls = [stash.get(f"k{number}", timeout=0.3) for number in range(4)]
                with at_most(0.3):
                    answers = await asyncio.gather(*calls, stash.watch(timeout=0.3), return_exceptions=True)
            assert [type(answer) for answer in answers] == [Timeout] * 5

    asyncio.run(use())


def test_a_pipeline_in_process_stops_when_its_time_is_over(tmp_path: Path) -> None:
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        pipeline = stash.pipeline()
        for number in range(5_000):
            pipeline.set(f"k{number}", "v")
        with pytest.raises(Timeout, match="stays done"):
            pipeline.run(timeout=0.01)
        assert 0 < len(list(stash.list())) < 5_000


@both
def test_waiting_for_an_event_ends_in_time_while_the_engine_is_busy(mode: str, tmp_path: Path) -> None:
    with opened(mode, backend="sqlite", path=tmp_path / "x.db") as stash, stash.watch() as watch:
        with held(getattr(stash, "inner", stash)), at_most(0.2):
            assert watch.next(0.2) is None
        stash.set("k", "v")
        assert watch.next(5).key == "k"

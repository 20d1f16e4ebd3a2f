"""What a client does when the daemon is slow, goes away or talks nonsense; over sockets and asyncio alike."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stash_memory import AsyncStash, Busy, Internal, Stash, Timeout, Unauthenticated, Unreachable
from stash_memory.link import Link
from stash_memory.target import find
from stash_protocol.operations import Set
from tests.client.ways import opened
from tests.support.peer import ENTRY, Conversation, ScriptedPeer

both = pytest.mark.parametrize("mode", ["sync", "async"])


def answering(*values: bytes) -> Callable[[Conversation], None]:
    """A connection on which so many gets are answered."""

    def script(client: Conversation) -> None:
        client.welcome()
        for value in values:
            client.value(client.request(), value)

    return script


def test_hello_and_the_first_request_leave_in_one_piece() -> None:
    def script(client: Conversation) -> None:
        data = client.sock.recv(65_536)
        assert b"hello" in data
        assert b"get" in data
        client.reply({"id": 0}, {"version": 1})
        client.value({"id": 1}, b"v")

    with ScriptedPeer(script) as peer, Stash(socket=peer.socket) as stash:
        assert stash.get("k") == "v"


@both
def test_the_deadline_is_told_to_the_daemon_and_the_api_key_is_shown(mode: str) -> None:
    def script(client: Conversation) -> None:
        hello = client.welcome()
        assert (hello["api_key"], hello["version"]) == ("sk_x", 1)
        request = client.request()
        assert request["timeout_ms"] == 1500
        client.value(request, b"v")

    with ScriptedPeer(script) as peer, opened(mode, socket=peer.socket, api_key="sk_x") as stash:
        assert stash.get("k", timeout=1.5) == "v"


@both
def test_a_refused_hello_is_the_error_of_the_call(mode: str) -> None:
    def script(client: Conversation) -> None:
        client.request()
        client.send({"id": 0, "error": {"code": "unauthenticated", "message": "no", "retry_after": 2.5}})

    with ScriptedPeer(script) as peer, opened(mode, socket=peer.socket) as stash:
        with pytest.raises(Unauthenticated) as caught:
            stash.get("k")
        assert (caught.value.code, caught.value.retry_after) == ("unauthenticated", 2.5)


@both
def test_a_refused_hello_is_heard_before_a_large_value_is_sent(mode: str) -> None:
    def script(client: Conversation) -> None:
        client.request()
        client.send({"id": 0, "error": {"code": "unauthenticated", "message": "no"}})

    with (
        ScriptedPeer(script) as peer,
        opened(mode, socket=peer.socket) as stash,
        pytest.raises(Unauthenticated),
    ):
        stash.set("k", bytes(4 << 20))


@pytest.mark.parametrize("call", ["one", "many"])
@pytest.mark.parametrize("size", [0, 1 << 20])
def test_a_refusal_that_comes_before_the_hello_has_left_is_heard(call: str, size: int) -> None:
    def script(client: Conversation) -> None:
        client.send({"id": 0, "error": {"code": "busy", "message": "full", "retry_after": 1.0}})
        client.sock.close()
        gone.set()

    calls: dict[str, Callable[[Link], object]] = {
        "one": lambda link: link.exchange(Set(key="k"), bytes(size), 10),
        "many": lambda link: link.exchange_many([(Set(), b""), (Set(key="k"), bytes(size))], 10),
    }
    gone = threading.Event()
    with ScriptedPeer(script) as peer:
        link = Link(find(None, peer.socket, None, None), 10)
        assert gone.wait(10)
        with pytest.raises(Busy, match="full"):
            calls[call](link)
        assert link.closed


def test_a_timeout_closes_the_socket_so_that_the_late_reply_reaches_nobody() -> None:
    def slow(client: Conversation) -> None:
        client.welcome()
        client.value(client.request(), b"connected")
        client.request()
        assert client.gone()

    with ScriptedPeer(slow, answering(b"second")) as peer, Stash(socket=peer.socket) as stash:
        stash.get("k")
        with pytest.raises(Timeout):
            stash.get("first", timeout=0.01)
        assert stash.get("second") == "second"


def test_after_a_timeout_a_late_reply_is_dropped_and_the_connection_goes_on() -> None:
    def slow(client: Conversation) -> None:
        client.welcome()
        client.value(client.request(), b"connected")
        first, second = client.request(), client.request()
        client.value(first, b"late")
        client.value(second, b"second")

    with ScriptedPeer(slow) as peer, opened("async", socket=peer.socket) as stash:
        stash.get("k")
        with pytest.raises(Timeout):
            stash.get("first", timeout=0.01)
        assert stash.get("second") == "second"
        assert stash.inner._transport._connection._pending == {}


def test_an_interrupt_in_mid_reply_closes_the_socket() -> None:
    class Interrupt(BaseException):
        pass

    def ring(*_: object) -> None:
        raise Interrupt

    def interrupted(client: Conversation) -> None:
        client.welcome()
        client.request()
        client.sock.sendall(b"\0\0\0")  # half a head
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert client.gone()

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with ScriptedPeer(interrupted, answering(b"again")) as peer, Stash(socket=peer.socket) as stash:
            with pytest.raises(Interrupt):
                stash.get("k")
            assert stash.get("k") == "again"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_cancelled_call_never_hands_its_reply_to_another() -> None:
    async def use(path: Any) -> None:
        async with AsyncStash(socket=path) as stash:
            first = asyncio.create_task(stash.get("first"))
            second = asyncio.create_task(stash.get("second"))
            assert await asyncio.to_thread(asked.wait, 10)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            go.set()
            assert await second == "second"
            assert await stash.get("third") == "third"

    asked, go = threading.Event(), threading.Event()

    def script(client: Conversation) -> None:
        client.welcome()
        requests = [client.request(), client.request()]
        asked.set()
        assert go.wait(10)
        for request in requests:
            client.value(request, request["key"].encode())
        client.value(client.request(), b"third")

    with ScriptedPeer(script) as peer:
        asyncio.run(use(peer.socket))


def test_a_cancelled_wait_is_cancelled_at_the_daemon_too() -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        waiting = client.request()
        asked.set()
        cancel = client.request()
        assert (cancel["op"], cancel["target"]) == ("cancel", waiting["id"])

    async def use(path: Any) -> None:
        async with AsyncStash(socket=path) as stash:
            waiting = asyncio.create_task(stash.get("k", wait=60))
            assert await asyncio.to_thread(asked.wait, 10)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asked = threading.Event()
    with ScriptedPeer(script) as peer:
        asyncio.run(use(peer.socket))


@both
def test_a_pipeline_never_sends_more_than_fits_while_values_are_on_their_way(mode: str) -> None:
    def slow(client: Conversation) -> None:
        """Reads nothing more until a value was taken, as a daemon does that bounds what it holds."""
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.welcome()
        for _ in range(64):
            request = client.request()
            if request["op"] == "get":
                client.value(request, bytes(2 << 20))
            else:
                client.reply(request, ENTRY)

    with ScriptedPeer(slow) as peer, opened(mode, socket=peer.socket) as stash:
        pipeline = stash.pipeline()
        for _ in range(4):
            pipeline.get("k")
        for number in range(60):
            pipeline.set(f"k{number}", bytes(4050))
        assert len(pipeline.run(timeout=5)) == 64


def test_replies_may_come_in_any_order() -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        requests = [client.request() for _ in range(3)]
        for request in reversed(requests):
            client.value(request, request["key"].encode())

    with ScriptedPeer(script, script) as peer:
        with Stash(socket=peer.socket) as stash:
            assert stash.pipeline().get("a").get("b").get("c").run() == ["a", "b", "c"]

        async def use() -> None:
            async with AsyncStash(socket=peer.socket) as other:
                assert list(await asyncio.gather(*map(other.get, "abc"))) == ["a", "b", "c"]

        asyncio.run(use())


@both
@pytest.mark.parametrize(
    "nonsense",
    [
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\0\0\0\0",
        b"\0\0\0\1\0\0\0\0\xc1",
        b"\0\0\0\1\0\0\0\0\x05",
    ],
)
def test_nonsense_is_an_error_and_ends_the_connection(mode: str, nonsense: bytes) -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        client.request()
        client.sock.sendall(nonsense)
        assert client.gone()

    with ScriptedPeer(script, answering(b"v")) as peer, opened(mode, socket=peer.socket) as stash:
        with pytest.raises(Internal):
            stash.get("k")
        assert stash.get("k") == "v"


def test_a_reply_to_something_else_is_never_taken_for_ours() -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        request = client.request()
        client.value({"id": request["id"] + 7}, b"not yours")
        assert client.gone()

    with ScriptedPeer(script) as peer, Stash(socket=peer.socket) as stash, pytest.raises(Internal, match="request 8"):
        stash.get("k")


@both
def test_the_rate_the_daemon_tells_is_kept(mode: str) -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        request = client.request()
        rate = {"limit": 60, "remaining": 59, "reset_ms": 1000}
        client.send({"id": request["id"], "reply": ENTRY, "rate": rate}, b"v")

    with ScriptedPeer(script) as peer, opened(mode, socket=peer.socket) as stash:
        rates = [stash.rate]
        stash.get("k")
        rates.append(stash.rate)
    assert [rate and (rate.limit, rate.remaining) for rate in rates] == [None, (60, 59)]


@both
def test_a_watch_that_breaks_says_so(mode: str) -> None:
    def script(client: Conversation) -> None:
        client.welcome()
        watch = client.request()
        client.reply(watch, {})
        client.send({"id": watch["id"], "push": {"event": "set", "key": "k", "at": 1}})

    with ScriptedPeer(script) as peer, opened(mode, socket=peer.socket) as stash:
        watch = stash.watch()
        assert watch.next(10).key == "k"
        with pytest.raises(Unreachable):
            watch.next(10)
        watch.close()


@both
def test_no_daemon_is_unreachable_and_says_where(mode: str, tmp_path: Any) -> None:
    with (
        opened(mode, url="tcp://127.0.0.1:1", api_key="sk_x") as stash,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1"),
    ):
        stash.ping()
    with opened(mode, socket=tmp_path / "none") as stash, pytest.raises(Unreachable, match="stash serve"):
        stash.ping()

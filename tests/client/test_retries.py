"""What is sent again when a connection breaks, and what never is; over sockets and asyncio alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stash_memory import AsyncStash, Stash, Unreachable
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


def closing_after(op: str) -> Callable[[Conversation], None]:
    """A connection that breaks as soon as the request is read."""

    def script(client: Conversation) -> None:
        client.welcome()
        assert client.request()["op"] == op

    return script


@both
def test_a_read_is_asked_again_when_the_connection_broke(mode: str) -> None:
    with (
        ScriptedPeer(closing_after("get"), answering(b"v")) as peer,
        opened(mode, socket=peer.socket) as stash,
    ):
        assert stash.get("k") == "v"


@both
def test_it_is_asked_again_only_once(mode: str) -> None:
    with (
        ScriptedPeer(closing_after("get"), closing_after("get")) as peer,
        opened(mode, socket=peer.socket) as stash,
        pytest.raises(Unreachable, match="went away"),
    ):
        stash.get("k")


@both
@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("incr", lambda stash: stash.incr("n")),
        ("append", lambda stash: stash.append("l", 1)),
        ("set", lambda stash: stash.set(value="v")),
        ("set", lambda stash: stash.set("k", "v", if_absent=True)),
        ("set", lambda stash: stash.set("k", "v", if_version=3)),
        ("update", lambda stash: stash.update("k", "v", extend=60)),
        ("extend", lambda stash: stash.extend("k", 60)),
        ("forget", lambda stash: stash.forget("k")),
        ("batch", lambda stash: stash.batch().incr("n").run()),
        ("incr", lambda stash: stash.pipeline().incr("n").run()),
    ],
)
def test_what_cannot_be_done_twice_is_never_asked_twice(mode: str, op: str, call: Callable[[Any], Any]) -> None:
    with (
        ScriptedPeer(closing_after(op)) as peer,
        opened(mode, socket=peer.socket) as stash,
        pytest.raises(Unreachable, match="not known"),
    ):
        call(stash)


@both
def test_a_set_that_means_the_same_twice_is_asked_again(mode: str) -> None:
    def second(client: Conversation) -> None:
        client.welcome()
        client.reply(client.request(), ENTRY)

    with (
        ScriptedPeer(closing_after("set"), second) as peer,
        opened(mode, socket=peer.socket) as stash,
    ):
        assert stash.set("k", "v").version == 1


def hanging_up(closed: threading.Event) -> Callable[[Conversation], None]:
    """A connection that is closed between two calls, as a daemon does that restarts."""

    def script(client: Conversation) -> None:
        client.welcome()
        client.value(client.request(), b"v")
        client.sock.close()
        closed.set()

    return script


def counting(client: Conversation) -> None:
    client.welcome()
    client.reply(client.request(), {"number": 1, "entry": ENTRY})


def test_a_write_that_never_left_is_sent_over_a_new_connection() -> None:
    closed = threading.Event()
    with ScriptedPeer(hanging_up(closed), counting) as peer, Stash(socket=peer.socket) as stash:
        stash.get("k")
        assert closed.wait(10)
        assert stash.incr("n") == 1


def test_a_connection_that_was_lost_meanwhile_is_replaced() -> None:
    async def use(path: Any) -> None:
        async with AsyncStash(socket=path) as stash:
            await stash.get("k")
            connection = stash._transport._connection  # type: ignore[attr-defined]
            async with asyncio.timeout(10):
                while not connection.closed:  # noqa: ASYNC110  # nothing else tells when the loop has seen it
                    await asyncio.sleep(0.001)
            assert await stash.incr("n") == 1

    with ScriptedPeer(hanging_up(threading.Event()), counting) as peer:
        asyncio.run(use(peer.socket))

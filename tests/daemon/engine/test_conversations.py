"""conversations: what the messages of a group come to; and what is said of it, which lives as long as they do."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stash_daemon.settings import Settings
from stash_protocol import operations as op
from stash_protocol.errors import NotFound
from stash_protocol.memories import Memory
from stash_protocol.operations import Request
from stash_protocol.searching import MAX_ABOUT, Conversation, Conversed
from tests.support.engine import Bench

HALF_LIFE = Settings().half_life
HOUR = 3_600_000  # milliseconds
VECTOR = array("f", [1, 0]).tobytes()

_rows = msgspec.msgpack.Decoder(list[Conversation]).decode


@pytest.fixture(params=["file", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Bench]:
    made = Bench(str(tmp_path / "s.db") if request.param == "file" else "")
    yield made
    made.engine.close()


def say(bench: Bench, group: str | None, text: str = "words", key: str | None = None, **fields: Any) -> str:
    sets = {"ttl_ms": HOUR} | {name: fields.pop(name) for name in ("ttl_ms", "caller") if name in fields}
    memory = Memory(**{"kind": "message", "text": text, "group": group, **fields})
    return bench.set(key, b"v", memory=memory, **sets).key  # type: ignore[arg-type]  # without a key, one is made


def page(bench: Bench, caller: Any = None, **fields: Any) -> tuple[Conversed, list[Conversation]]:
    reply = bench.ask(op.Conversations(**fields), caller=caller)
    assert isinstance(reply.body, Conversed)
    return reply.body, _rows(reply.payload)


def groups(bench: Bench, caller: Any = None, **fields: Any) -> list[str]:
    return [row.group for row in page(bench, caller, **fields)[1]]


# ── counted ──


def test_the_conversation_with_the_latest_message_comes_first(bench: Bench) -> None:
    for group, at in (("a", 10), ("b", 30), ("a", 20), ("c", 5), ("b", 1)):
        say(bench, group, at=at)
    assert groups(bench) == ["b", "a", "c"]
    say(bench, "c", at=40)
    assert groups(bench) == ["c", "b", "a"]


def test_a_conversation_is_counted_as_its_messages_are(bench: Bench) -> None:
    now = bench.clock.now()
    say(bench, "a", "x" * 5, role="user", at=now - HALF_LIFE, importance=0.25, vector=VECTOR)
    say(bench, "a", "x" * 4, role="user", at=now, importance=0.75, ttl_ms=2 * HOUR)
    say(bench, "a", "", role="tool", at=now - 7, importance=0.5)
    say(bench, "a", "", at=now - 8, importance=0.5)
    _, [row] = page(bench, tokens=True)
    assert row == Conversation(
        group="a", messages=4, first_at=now - HALF_LIFE, last_at=now, ttl_ms=2 * HOUR, importance=0.5,
        roles={"user": 2, "tool": 1}, embedded=1, tokens=3,
    )  # fmt: skip


def test_the_importance_of_a_conversation_is_the_mean_of_what_search_says(bench: Bench) -> None:
    for number in range(3):
        say(bench, "a", "some words " * number, role="assistant", at=bench.clock.now() - number * HOUR)
    hits = bench.find().hits
    assert page(bench)[1][0].importance == pytest.approx(math.fsum(hit.importance for hit in hits) / 3)


def test_only_messages_of_a_group_make_a_conversation(bench: Bench) -> None:
    say(bench, "a", kind="episode")
    say(bench, "a", kind="memory")
    say(bench, None)
    bench.set("plain")
    assert page(bench)[0] == Conversed(0, 0)


def test_conversations_come_in_pages_and_by_prefix(bench: Bench) -> None:
    for number in range(7):
        say(bench, f"c{number}", at=number)
    say(bench, "other", at=0)
    found, rows = page(bench, limit=3, offset=2, prefix="c")
    assert (found, [row.group for row in rows]) == (Conversed(3, 7), ["c4", "c3", "c2"])
    assert page(bench, offset=9) == (Conversed(0, 8), [])
    assert groups(bench, group="c5") == ["c5"]
    assert groups(bench, group="absent") == []
    assert groups(bench, group="c5", prefix="o") == []


def test_expired_forgotten_archived_and_foreign_messages_are_not_counted(bench: Bench) -> None:
    other = bench.someone("other")
    say(bench, "theirs", caller=other)
    say(bench, "ends", ttl_ms=10)
    gone = say(bench, "gone")
    say(bench, "kept", at=5, ttl_ms=10)
    say(bench, "kept", at=3)
    assert set(groups(bench)) == {"ends", "gone", "kept"}
    bench.ask(op.Forget(keys=[gone]))
    bench.clock.advance(ms=10)
    _, [row] = page(bench)
    assert (row.group, row.messages, row.last_at) == ("kept", 1, 3)
    assert groups(bench, other) == ["theirs"]
    bench.archive(bench.keys()[-1])
    assert groups(bench) == []
    assert groups(bench, archived=True) == ["kept"]


def test_a_message_that_moves_to_another_conversation_leaves_its_own(bench: Bench) -> None:
    key = say(bench, "a")
    assert groups(bench) == ["a"]
    bench.ask(op.Update(key=key, memory=Memory(group="b")))
    assert groups(bench) == ["b"]


# ── what is said of one ──


def test_what_is_said_of_a_conversation_comes_with_it_as_it_is(bench: Bench) -> None:
    for group in ("a", "ab", "long"):
        say(bench, group)
    bench.set("conversation/a", b"\xff{}")
    bench.set("conversation/ab/c", b"of another")
    bench.set("conversation/long", bytes(MAX_ABOUT + 1))
    assert {row.group: row.about for row in page(bench)[1]} == {"a": b"\xff{}", "ab": None, "long": None}


def test_what_is_said_of_a_conversation_is_gone_when_its_own_time_is(bench: Bench) -> None:
    say(bench, "a", ttl_ms=HOUR)
    bench.set("conversation/a", b"{}")
    bench.set("conversation/a", b"{}", ttl_ms=5)
    bench.clock.advance(ms=5)
    assert page(bench)[1][0].about is None


@pytest.mark.parametrize(
    "prolonging",
    [
        op.Set(key="m", ttl_ms=3 * HOUR, memory=Memory(kind="message", group="a", text="new")),
        op.Update(key="m", extend_ms=2 * HOUR),
        op.Update(key="m", type="text", extend_ms=2 * HOUR),
        op.Extend(key="m", by_ms=2 * HOUR),
    ],
    ids=["set", "update", "rewrite", "extend"],
)
def test_what_is_said_of_a_conversation_lives_as_long_as_its_messages(bench: Bench, prolonging: Request) -> None:
    say(bench, "a", key="m", ttl_ms=HOUR)
    before = bench.set("conversation/a", b"{}", ttl_ms=HOUR)
    payload = b"v" if isinstance(prolonging, op.Set) or getattr(prolonging, "type", None) else b""
    bench.ask(msgspec.structs.replace(prolonging), payload)
    bench.clock.advance(ms=3 * HOUR - 1)
    assert bench.get("conversation/a") == b"{}"
    assert page(bench)[1][0].about == b"{}"
    bench.ask(op.Update(key="conversation/a", extend_ms=1, if_version=before.version))
    bench.clock.advance(ms=2)
    with pytest.raises(NotFound):
        bench.get("conversation/a")


def test_a_message_that_is_touched_takes_what_is_said_of_its_conversation_along(bench: Bench) -> None:
    say(bench, "a", key="m", ttl_ms=2 * HOUR)
    bench.set("conversation/a", b"{}", ttl_ms=2 * HOUR)
    bench.clock.advance(ms=HOUR)
    bench.ask(op.Get(key="m", touch=True))
    bench.clock.advance(ms=2 * HOUR - 1)
    assert bench.get("conversation/a") == b"{}"


def test_a_message_shortens_and_revives_nothing(bench: Bench) -> None:
    bench.set("conversation/a", b"{}", ttl_ms=5)
    bench.set("conversation/b", b"{}", ttl_ms=2 * HOUR)
    bench.clock.advance(ms=5)
    say(bench, "a", ttl_ms=HOUR)
    say(bench, "b", ttl_ms=HOUR)
    with pytest.raises(NotFound):
        bench.get("conversation/a")
    bench.clock.advance(ms=HOUR + 1)
    assert bench.get("conversation/b") == b"{}"


def test_watchers_are_told_of_the_longer_time(bench: Bench) -> None:
    told: list[tuple[str, str, int]] = []
    bench.set("conversation/a", b"{}", ttl_ms=5)
    bench.engine.events.subscribe("default", "", lambda event: told.append((event.event, event.key, event.expires_at)))
    say(bench, "a", key="m", ttl_ms=HOUR)
    end = bench.clock.now() + HOUR
    assert told == [("set", "m", end), ("extend", "conversation/a", end)]


def test_what_is_no_message_of_the_conversation_prolongs_nothing(bench: Bench) -> None:
    bench.set("conversation/a", b"{}", ttl_ms=5)
    say(bench, "a", kind="episode", ttl_ms=HOUR)
    say(bench, "b", ttl_ms=HOUR)
    bench.clock.advance(ms=5)
    with pytest.raises(NotFound):
        bench.get("conversation/a")

"""Messages and conversations: the same behaviour, whichever way."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from stash_memory import BadRequest, Conflict, NotFound, Stash, TooLarge
from stash_memory import conversations as views
from stash_memory.calls import Call
from stash_protocol.memories import MAX_TEXT
from stash_protocol.operations import Conversations

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
MINUTE = dt.timedelta(minutes=1)
TEXT = 'héllo\n"quoted"\t𝄞\x00'  # what a line must carry to the letter


# ── messages ──


def say(stash: Any, *contents: str, conversation: str = "c", role: str = "user", **more: Any) -> list[str]:
    entries = stash.messages.add_many(
        {
            "conversation_id": conversation, "role": role, "content": content,
            "timestamp": NOW + number * dt.timedelta(seconds=1), **more,
        }
        for number, content in enumerate(contents)
    )  # fmt: skip
    return [entry.key for entry in entries]


def test_a_message_comes_back_as_it_was_stored(stash: Any) -> None:
    entry = stash.messages.add(
        conversation_id="c", role="assistant", content=TEXT, metadata={"a": 1}, importance_override=0.9,
        timestamp=NOW, tags=["t"], ttl=600,
    )  # fmt: skip
    assert entry.key.startswith("message/c/")
    assert entry.embedding_status == "skipped"  # there is no embedder here
    message = stash.messages.get(entry.key)
    assert (message.conversation_id, message.role, message.content) == ("c", "assistant", TEXT)
    assert (message.metadata, message.importance, message.created_at, message.tags) == ({"a": 1}, 0.9, NOW, ["t"])
    assert (message.kind, message.embedding_status) == ("message", "skipped")
    assert stash.get(entry.key) == TEXT


def test_a_long_message_comes_back_whole_and_is_found_by_how_it_begins(stash: Any) -> None:
    for size in (40_000, 3 << 20):  # in the row, and in pieces beside it
        content = "giraffe " + "é" * (size // 2) + " zebra"
        stash.messages.add(conversation_id="c", role="tool", content=content, key="long")
        assert stash.messages.get("long").content == content
        assert [message.content for message in stash.messages.list("c")] == [content]
        assert [message.content for message in stash.conversations.show("c")] == [content]
    assert stash.search("zebra").total == 0
    assert len(stash.search("giraffe")[0].content) == MAX_TEXT


def test_messages_too_long_to_come_together_are_refused_and_come_one_by_one(stash: Any) -> None:
    for number in range(3):
        stash.messages.add(conversation_id="c", role="tool", content="x" * (6 << 20), key=f"m{number}")
    with pytest.raises(TooLarge, match="ask for fewer"):
        stash.messages.list("c")
    assert len(stash.messages.list("c", limit=2)) == 2
    assert stash.conversations.forget("c") == 3


def test_a_message_needs_a_conversation_a_role_and_a_content(stash: Any) -> None:
    whole = {"conversation_id": "c", "role": "user", "content": "x"}
    for name in whole:
        with pytest.raises(BadRequest, match=name):
            stash.messages.add(**{key: value for key, value in whole.items() if key != name})
    for wrong in ({"role": "nobody"}, {"importance_override": 2}, {"content": b"x"}, {"nonsense": 1}):
        with pytest.raises(BadRequest):
            stash.messages.add(**{**whole, **wrong})


def test_many_messages_are_stored_changed_read_and_forgotten_at_once(stash: Any) -> None:
    keys = say(stash, "a", "b", "c")
    assert [message.content for message in stash.messages.get_many([*keys[::-1], "absent"])] == ["c", "b", "a"]
    stash.messages.update_many({keys[0]: {"content": "A"}, keys[2]: {"role": "tool", "metadata": {"x": 1}}})
    assert [(m.content, m.role) for m in stash.messages.list("c")] == [("A", "user"), ("b", "user"), ("c", "tool")]
    with pytest.raises(NotFound, match="operation 2 of 2"):
        stash.messages.update_many({keys[1]: {"content": "B"}, "absent": {"content": "?"}})
    assert stash.messages.get(keys[1]).content == "b"
    assert stash.messages.forget(keys[:2], "absent") == 2
    assert [message.key for message in stash.messages.list()] == keys[2:]
    assert [message.key for message in stash.messages.get_many([])] == []
    with pytest.raises(BadRequest):
        say(stash, *["x"] * 1001)


def test_more_messages_than_one_filter_names_are_read(stash: Any) -> None:
    keys = say(stash, *map(str, range(300)))
    assert [message.content for message in stash.messages.get_many(keys)] == [str(number) for number in range(300)]


def test_what_of_a_message_is_not_changed_stays(stash: Any) -> None:
    [key] = say(stash, "first", metadata={"a": 1}, ttl=600)
    version = stash.messages.update(key, content="second words").version
    message = stash.messages.get(key)
    assert (message.content, message.role, message.metadata, message.created_at) == (
        "second words",
        "user",
        {"a": 1},
        NOW,
    )
    assert [hit.key for hit in stash.search("second")] == [key]
    assert len(stash.search("first")) == 0
    assert stash.messages.update(key, importance_override=0.1, extend=60, if_version=version).ttl > 600
    assert stash.messages.get(key).importance == 0.1
    with pytest.raises(Conflict):
        stash.messages.update(key, content="x", if_version=version)
    with pytest.raises(BadRequest):
        stash.messages.update(key)
    with pytest.raises(NotFound):
        stash.messages.update("absent", content="x")


def test_only_a_message_is_read_as_one(stash: Any) -> None:
    stash.set("plain", "v")
    stash.episodes.add(task_id="t", key="episode")
    for key in ("plain", "episode", "absent"):
        with pytest.raises(NotFound):
            stash.messages.get(key)
    assert stash.messages.get_many(["plain", "episode"]) == []


def test_messages_are_listed_in_the_order_they_were_said_page_by_page(stash: Any) -> None:
    say(stash, "a", "b", "c", "d")
    say(stash, "x", conversation="other", role="tool")
    assert [message.content for message in stash.messages.list("c")] == ["a", "b", "c", "d"]
    assert [message.content for message in stash.messages.list("c", newest_first=True, limit=2)] == ["d", "c"]
    page = stash.messages.list("c", limit=2, offset=1)
    assert ([message.content for message in page], page.total) == (["b", "c"], 4)
    assert [message.content for message in stash.messages.list(roles=["tool"])] == ["x"]


# ── conversations ──


def test_conversations_are_listed_last_spoken_first(stash: Any) -> None:
    say(stash, "a", "b", conversation="one")
    say(stash, "x", conversation="two", timestamp=NOW + MINUTE)
    say(stash, "y", conversation="three", role="tool", timestamp=NOW - MINUTE)
    page = stash.conversations.list()
    assert [conversation.id for conversation in page] == ["two", "one", "three"]
    assert (page[1].messages, page[1].first_at, page[1].last_at) == (2, NOW, NOW + dt.timedelta(seconds=1))
    assert (page[2].roles, page[2].title, page[2].metadata, page[2].tokens) == ({"tool": 1}, None, {}, None)
    part = stash.conversations.list("t", limit=1, offset=1)
    assert ([conversation.id for conversation in part], part.total) == (["three"], 2)
    assert stash.conversations.list("absent").total == 0


def test_a_conversation_is_shown_and_counted(stash: Any) -> None:
    say(stash, "a" * 9, "b" * 4, importance_override=0.25)
    assert [message.content[0] for message in stash.conversations.show("c")] == ["a", "b"]
    assert [message.content[0] for message in stash.conversations.show("c", newest_first=True, limit=1)] == ["b"]
    assert list(stash.conversations.show("c", offset=9)) == []
    stats = stash.conversations.stats("c")
    assert (stats.messages, stats.roles, stats.tokens, stats.embedded) == (2, {"user": 2}, 4, 0)
    assert stats.importance == pytest.approx(0.25)
    for call in (stash.conversations.show, stash.conversations.stats):
        with pytest.raises(NotFound, match="no conversation 'absent'"):
            call("absent")


def test_what_is_said_of_a_conversation_is_kept_beside_it(stash: Any) -> None:
    [key] = say(stash, "a", ttl=600)
    stash.conversations.update("c", title="A leak")
    entry = stash.conversations.update("c", metadata={"state": "open"})
    assert (entry.key, round(entry.ttl)) == ("conversation/c", 600)
    [conversation] = stash.conversations.list()
    assert (conversation.title, conversation.metadata) == ("A leak", {"state": "open"})
    stash.extend(key, 600)
    assert stash.ttl("conversation/c") == pytest.approx(1200, abs=5)
    for wrong in ({}, {"title": "x" * 20_000}, {"metadata": {"x": {1}}}):
        with pytest.raises(BadRequest):
            stash.conversations.update("c", **wrong)
    with pytest.raises(NotFound):
        stash.conversations.update("absent", title="x")
    assert not stash.exists("conversation/absent")


def test_of_two_who_name_a_conversation_at_once_one_is_told(tmp_path: Path) -> None:
    with Stash(path=tmp_path / "own.db", backend="sqlite") as stash:

        def run(call: Call[Any], timeout: float | None) -> Any:
            found = stash._run(call, timeout)
            if isinstance(call.request, Conversations):  # what the one has read, the other changes
                stash.conversations.update("c", title="theirs")
            return found

        say(stash, "a")
        for _ in range(2):  # where there was nothing, and where there was something
            with pytest.raises(Conflict):
                views.Conversations(run).update("c", title="mine")
            assert stash.conversations.list()[0].title == "theirs"


def test_archived_messages_are_counted_and_listed_when_asked_for_and_always_forgotten(stash: Any) -> None:
    long_ago = NOW - dt.timedelta(days=60)
    entry = stash.messages.add(
        conversation_id="c", role="tool", content="x", importance_override=0.1, timestamp=long_ago, ttl=3000
    )
    assert stash.retention.run().archived == 1
    assert (len(stash.messages.list("c")), len(stash.messages.list("c", archived=True))) == (0, 1)
    assert (len(stash.conversations.list()), len(stash.conversations.list(archived=True))) == (0, 1)
    assert stash.messages.get(entry.key).archived_at is not None
    assert stash.conversations.stats("c").messages == 1
    stash.conversations.update("c", title="old")
    assert stash.conversations.forget("c") == 1
    assert list(stash.list()) == []


def test_an_entry_of_that_name_that_says_something_else_says_nothing(stash: Any) -> None:
    say(stash, "a")
    for value in (b"\xff", "text", [1], {"title": 5}):
        stash.set("conversation/c", value)
        assert stash.conversations.list()[0].title is None
    stash.conversations.update("c", title="mine")
    assert stash.conversations.list()[0].title == "mine"


def test_a_conversation_is_forgotten_with_all_its_messages_and_no_other(stash: Any) -> None:
    say(stash, *map(str, range(300)))
    say(stash, "stays", conversation="cc")
    stash.episodes.add(task_id="c", key="episode")
    stash.conversations.update("c", title="x")
    assert stash.conversations.forget("c") == 300
    assert stash.conversations.forget("c") == 0
    assert [conversation.id for conversation in stash.conversations.list()] == ["cc"]
    assert stash.exists("episode")
    assert not stash.exists("conversation/c")

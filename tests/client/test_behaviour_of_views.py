"""Episodes, messages and conversations: the same behaviour, whichever way."""

from __future__ import annotations

import datetime as dt
import json
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


# ── episodes ──


def add_episodes(stash: Any) -> None:
    stash.episodes.add_many(
        {
            "key": f"e{number}",
            "task_id": "maze/1" if number < 3 else "maze/2",
            "content": f"try number {number}",
            "state_embedding": [1.0, number / 10],
            "reward": number / 10,
            "metadata": {"number": number},
            "timestamp": NOW - number * MINUTE,
            "tags": ["even" if number % 2 == 0 else "odd", f"n{number}"],
        }
        for number in range(5)
    )


def test_an_episode_comes_back_as_it_was_stored(stash: Any) -> None:
    entry = stash.episodes.add(
        task_id="t", value={"path": [1, 2]}, content="went left", state_embedding=[0.6, 0.8], reward=0.5,
        metadata={"seed": 7}, timestamp=NOW, tags=["a"], ttl="30m",
    )  # fmt: skip
    assert entry.key.startswith("episode/t/")
    assert entry.embedding_status == "completed"
    assert 1790 < entry.ttl <= 1800
    [episode] = stash.episodes.query([0.6, 0.8])
    assert (episode.task_id, episode.content, episode.reward, episode.metadata) == ("t", "went left", 0.5, {"seed": 7})
    assert (episode.timestamp, episode.tags, episode.similarity) == (NOW, ["a"], pytest.approx(1))
    assert stash.get(episode.key) == {"path": [1, 2]}
    assert "went left" in repr(episode)


def test_an_episode_needs_a_task_and_may_have_nothing_else(stash: Any) -> None:
    stash.episodes.add(task_id="t", key="k", content="said")
    stash.episodes.add(task_id="t", key="n")
    assert [stash.get("k"), stash.get("n")] == ["said", None]
    assert stash.exists("n")
    for wrong in ({}, {"task_id": ""}, {"task_id": "t", "nonsense": 1}, {"task_id": "t", "reward": float("nan")}):
        with pytest.raises(BadRequest):
            stash.episodes.add(**wrong)


def test_many_episodes_are_stored_all_or_none(stash: Any) -> None:
    with pytest.raises(BadRequest, match="operation 2 of 2"):
        stash.episodes.add_many(
            [{"task_id": "t", "state_embedding": [1, 0]}, {"task_id": "t", "state_embedding": [1, 0, 0]}]
        )
    assert list(stash.list()) == []


def test_the_nearest_episodes_come_first_whatever_else_they_are(stash: Any) -> None:
    add_episodes(stash)
    found = stash.episodes.query([1.0, 0.21], top_k=3)
    assert [episode.key for episode in found] == ["e2", "e3", "e1"]
    assert (found.total, found.mode) == (5, "vector")
    assert [episode.key for episode in stash.episodes.query([1.0, 0.21], top_k=1, offset=1)] == ["e3"]
    assert [episode.key for episode in stash.episodes.query(query="number 4", top_k=1)] == ["e4"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["e0", "e1", "e2", "e3", "e4"]),
        ({"min_reward": 0.3}, ["e3", "e4"]),
        ({"tags_any": ["n0", "n4"]}, ["e0", "e4"]),
        ({"tags_all": ["even", "n4"]}, ["e4"]),
        ({"task_id": "maze/2"}, ["e3", "e4"]),
        ({"task_id_prefix": "maze/"}, ["e0", "e1", "e2", "e3", "e4"]),
        ({"task_id_prefix": "maze/2", "min_reward": 0.4}, ["e4"]),
        ({"time_after": NOW - MINUTE}, ["e0", "e1"]),
        ({"time_before": NOW - 3 * MINUTE}, ["e4"]),
        ({"where": "number>=2"}, ["e2", "e3", "e4"]),
        ({"order": "score", "top_k": 2}, ["e4", "e3"]),
    ],
)
def test_episodes_are_chosen_by_what_they_are_and_come_newest_first(
    stash: Any, filters: dict[str, Any], expected: list[str]
) -> None:
    add_episodes(stash)
    stash.messages.add(conversation_id="maze/1", role="user", content="no episode")
    stash.set("plain", "value")
    assert [episode.key for episode in stash.episodes.query(**filters)] == expected


def test_episodes_are_pruned_by_age_number_and_reward(stash: Any) -> None:
    add_episodes(stash)
    stash.messages.add(conversation_id="maze/1", role="user", content="stays", timestamp=NOW - 9 * MINUTE)
    age = dt.datetime.now(dt.UTC) - NOW + 3.5 * MINUTE
    assert stash.episodes.prune(older_than=age, dry_run=True).keys == ["e4"]
    pruned = stash.episodes.prune(older_than=age)
    assert (pruned.keys, pruned.pruned) == (["e4"], 1)
    assert stash.episodes.prune(keep_newest=1, task_id="maze/1", tags_any=["even"]).keys == ["e2"]
    assert stash.episodes.prune(keep_highest_reward=1).keys == ["e0", "e1"]
    assert [entry.key for entry in stash.list() if entry.key.startswith("e")] == ["e3"]
    assert len(stash.messages.list()) == 1
    with pytest.raises(BadRequest, match="policy"):
        stash.episodes.prune()


def test_pruning_by_score_is_for_all_memories(stash: Any) -> None:
    add_episodes(stash)
    stash.set("m", "v", score=0.05, text="low")
    assert stash.prune(keep_highest_score=4, report=True).keys == ["e0", "m"]
    assert stash.prune(keep_newest=0, among={"group": "maze/1"}, report=True).keys == ["e1", "e2"]


def test_episodes_are_saved_and_loaded_to_the_letter(stash: Any, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    values = {"text": TEXT, "bytes": b"\xff\x00", "json": {"n": [1.5, None, TEXT]}, "none": None}
    for key, value in values.items():
        stash.episodes.add(key=key, task_id="t", value=value, content=TEXT, state_embedding=[0.1, 0.2], reward=0.1,
                           metadata={"m": TEXT}, timestamp=NOW, tags=["a", "b"], ttl=900)  # fmt: skip
    stash.episodes.add(key="other", task_id="u")
    stash.messages.add(conversation_id="t", role="user", content="no episode")
    before = {episode.key: episode for episode in stash.episodes.query(task_id="t")}
    assert stash.episodes.save(file, task_id_prefix="t") == 4
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == sorted(values)
    assert file.stat().st_mode & 0o777 == 0o600
    stash.clear(prefix="")
    assert stash.episodes.load(file) == (4, 0, 0)
    assert stash.episodes.load(file) == (0, 4, 0)
    assert stash.episodes.load(file, replace=True) == (4, 0, 0)
    after = {episode.key: episode for episode in stash.episodes.query([0.1, 0.2])}
    assert after.keys() == before.keys()
    for key, value in values.items():
        assert stash.get(key) == value
        for name in ("content", "metadata", "reward", "task_id", "timestamp", "tags"):
            assert getattr(after[key], name) == getattr(before[key], name), name
        assert after[key].similarity == pytest.approx(1)
        assert 800 < stash.ttl(key) <= 900


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}",
        '{"key": "k", "ttl": 5}',
        '{"key": "k", "ttl": 5, "value": 1, "type": "text", "memory": {"kind": "episode"}}',
        '{"key": "k", "ttl": 5, "value_base64": "?", "memory": {"kind": "episode"}}',
        '{"key": "k", "ttl": 5, "value": 1, "type": "json"}',
        '{"key": "k", "ttl": 5, "value": 1, "type": "json", "memory": {"kind": "message"}}',
        '{"key": "k", "ttl": 5, "value": 1, "type": "json", "memory": {"kind": "episode", "score": "x"}}',
    ],
)
def test_what_is_no_episode_is_not_loaded(stash: Any, tmp_path: Path, line: str) -> None:
    file = tmp_path / "episodes.jsonl"
    file.write_text("\n" + line + "\n")
    with pytest.raises(BadRequest, match="line 2 of"):
        stash.episodes.load(file)
    assert list(stash.list()) == []


def test_a_save_that_fails_leaves_the_file_that_was_there(stash: Any, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    file.write_text("old")
    stash.close()
    with pytest.raises(BadRequest):
        stash.episodes.save(file)
    assert [path.read_text() for path in tmp_path.glob("episodes*")] == ["old"]


def test_a_checkpoint_returns_when_all_is_kept(stash: Any) -> None:
    stash.episodes.add(task_id="t", key="e")
    assert stash.episodes.checkpoint() is None
    assert stash.checkpoint() is None
    assert stash.exists("e")


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

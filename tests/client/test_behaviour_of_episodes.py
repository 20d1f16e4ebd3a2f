"""Episodes: the same behaviour, whichever way."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from stash_memory import BadRequest

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
MINUTE = dt.timedelta(minutes=1)
TEXT = 'héllo\n"quoted"\t𝄞\x00'  # what a line must carry to the letter


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

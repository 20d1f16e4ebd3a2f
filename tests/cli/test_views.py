"""`stash episode`, `stash message` and `stash conversation`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


@pytest.fixture
def vectors(tmp_path: Path) -> dict[str, str]:
    """Files with vectors, by name."""
    made = {"east": [1.0, 0.0], "north": [0.0, 1.0]}
    for name, numbers in made.items():
        (tmp_path / name).write_text(json.dumps(numbers))
    return {name: str(tmp_path / name) for name in made}


# ── episodes ──


def add_episodes(stash: Command, vectors: dict[str, str]) -> None:
    for number, (name, reward) in enumerate((("east", "0.9"), ("north", "0.1"), ("east", "0.5"))):
        state = ["--embedding", vectors[name], "--reward", reward, "--at", f"{3 - number}h"]
        more = ["--key", f"e{number}", "--tag", name, "--meta", f"n={number}"]
        stash.ok("episode", "add", f"maze/{number % 2}", f"went {name}", *state, *more)


def test_an_episode_is_stored_and_found(own: Command, vectors: dict[str, str]) -> None:
    key = own.ok("episode", "add", "maze/1", "-", "--content", "a maze", "--reward", "-0.5", "--ttl", "30m",
                 stdin=b"\x00\xff").decode().strip()  # fmt: skip
    assert key.startswith("episode/maze/1/")
    assert own.ok("get", key) == b"\x00\xff"
    [hit] = own.json("episode", "query", "maze")["hits"]
    assert (hit["key"], hit["reward"], hit["content"], hit["kind"]) == (key, -0.5, "a maze", "episode")
    assert 1790 < hit["ttl"] <= 1800
    shown = own.json("episode", "add", "t", "--content", "just words", "--embedding", vectors["east"])
    assert shown["embedding_status"] == "completed"
    assert own.ok("get", shown["key"]) == b"just words"
    own.ok("episode", "add", "t", '{"a": 1}', "--json-value")
    assert own.json("episode", "query", "--limit", "1")["hits"][0]["content"] == '{"a": 1}'


def test_episodes_are_queried_by_state_and_by_what_they_are(own: Command, vectors: dict[str, str]) -> None:
    add_episodes(own, vectors)

    def found(*words: str) -> list[str]:
        return [line.split("\t")[0] for line in lines(own.ok("episode", "query", *words))]

    assert found() == ["e2", "e1", "e0"]
    assert found("--embedding", vectors["north"], "-k", "1") == ["e1"]
    assert found("--min-reward", "0.5", "--order", "score") == ["e0", "e2"]
    assert found("--task", "maze/0") == ["e2", "e0"]
    assert found("--task-prefix", "maze/", "--tag", "north") == ["e1"]
    assert found("--after", "90m") == ["e2"]
    assert found("--where", "n<=1", "--offset", "1") == ["e0"]
    own.ok("set", "m", "no episode", "--text", "went east")
    assert set(found("went")) == {"e0", "e1", "e2"}


def test_episodes_are_pruned_and_what_went_is_printed(own: Command, vectors: dict[str, str]) -> None:
    add_episodes(own, vectors)
    own.ok("set", "m", "v", "--text", "t", "--score", "-9", "--at", "9h")
    assert lines(own.ok("episode", "prune", "--older-than", "150m", "--dry-run")) == ["e0"]
    assert lines(own.ok("episode", "prune", "--keep-highest-reward", "2")) == ["e1"]
    assert own.json("episode", "prune", "--keep-newest", "1", "--task", "maze/0")["keys"] == ["e0"]
    assert lines(own.ok("list")) == ["e2", "m"]
    code, error = own.error("episode", "prune", "--task", "maze/0")
    assert (code, "--keep-newest" in error["message"]) == (2, True)


def test_episodes_are_saved_and_loaded(own: Command, vectors: dict[str, str], tmp_path: Path) -> None:
    add_episodes(own, vectors)
    own.ok("set", "plain", "v")
    file = str(tmp_path / "saved.jsonl")
    assert own.json("episode", "save", file) == {"saved": 3, "file": file}
    assert len(lines(own.ok("episode", "save", "--task-prefix", "maze/1"))) == 1
    own.ok("forget", "--prefix", "", "--yes")
    assert own.json("episode", "load", file) == {"imported": 3, "skipped": 0, "clamped": 0}
    assert own.json("episode", "load", file)["skipped"] == 3
    assert own.json("episode", "load", file, "--replace")["imported"] == 3
    assert own.json("episode", "query", "--embedding", vectors["north"], "-k", "1")["hits"][0]["similarity"] == 1.0
    own.ok("export", file, "--prefix", "e")
    assert own.json("episode", "load", file)["skipped"] == 3, "what export wrote"
    code, error = own.error("episode", "load", "-", stdin=own.ok("set", "plain", "v") and own.ok("export"))
    assert (code, "line 4: it is no episode" in error["message"]) == (2, True)


def test_the_library_and_the_command_load_what_the_other_saved(own: Command, vectors: Any, tmp_path: Path) -> None:
    from stash_memory import Stash

    add_episodes(own, vectors)
    own.ok("episode", "add", "odd", "-", "--key", "bytes", stdin=b'\xff"\n')
    by_command, by_library = tmp_path / "command", tmp_path / "library"
    own.ok("episode", "save", str(by_command))
    with Stash(socket=f"{own.home}/stash.sock") as library:
        assert library.episodes.save(by_library) == 4

        def read(path: Path) -> list[Any]:
            return [{**json.loads(line), "ttl": 0} for line in path.read_text().splitlines()]

        assert read(by_library) == read(by_command)
        own.ok("forget", "--prefix", "", "--yes")
        assert library.episodes.load(by_command).imported == 4
    own.ok("episode", "load", str(by_library), "--replace")
    assert own.ok("get", "bytes") == b'\xff"\n'


# ── messages ──


def test_a_message_is_stored_read_changed_and_forgotten(own: Command) -> None:
    shown = own.json("message", "add", "chat/1", "user", "where is it?\nhere", "--meta", "n=1", "--ttl", "10m")
    key = shown["key"]
    assert (key.startswith("message/chat/1/"), shown["embedding_status"], shown["type"]) == (True, "skipped", "text")
    assert own.ok("message", "get", key) == b"where is it?\nhere\n"
    changed = own.json("message", "update", key, "--importance", "0.25", "--extend", "5m", "--role", "tool")
    assert changed["version"] == shown["version"] + 1
    own.ok("message", "update", key, "in the cellar")
    got = own.json("message", "get", key)
    assert (got["content"], got["role"], got["importance"], got["metadata"]) == (
        "in the cellar",
        "tool",
        0.25,
        {"n": 1},
    )
    assert 890 < got["ttl"] <= 900
    assert own.json("search", "cellar")["hits"][0]["key"] == key
    assert own.ok("message", "forget", key) == b"1\n"
    for words in (["get", key], ["forget", key], ["update", key, "x"]):
        assert own("message", *words).returncode == 3
    assert own("message", "update", key).returncode == 2


def test_many_messages_are_read_in_the_order_that_was_asked_for(own: Command) -> None:
    keys = [own.ok("message", "add", "c", "user", text).decode().strip() for text in ("a", "b", "c")]
    assert own.ok("message", "get", *keys[::-1]) == b"c\nb\na\n"
    assert [m["content"] for m in own.json("message", "get", *keys)["messages"]] == ["a", "b", "c"]
    done = own("message", "get", keys[0], "absent")
    assert (done.returncode, done.stdout, b"'absent'" in done.stderr) == (3, b"", True)


def test_a_long_message_is_printed_whole(own: Command) -> None:
    content = b"x" * 40_000 + b" zebra"
    key = own.ok("message", "add", "c", "user", stdin=content).decode().strip()
    assert own.ok("message", "get", key) == content + b"\n"
    assert own.json("message", "get", key)["content"].encode() == content
    assert own.ok("conversation", "show", "c") == b"user: " + content + b"\n"


def test_a_message_comes_from_stdin_and_must_be_text(own: Command) -> None:
    key = own.ok("message", "add", "c", "user", stdin="é𝄞".encode()).decode().strip()
    assert own.ok("message", "get", key).decode() == "é𝄞\n"
    assert own("message", "add", "c", "user", stdin=b"\xff").returncode == 2
    assert own("message", "add", "c", "nobody", "x").returncode == 2
    assert own.json("message", "add", "c", "user", "x", "--no-embed", "--key", "k")["key"] == "k"


def test_messages_are_listed_in_the_order_they_were_said(own: Command) -> None:
    for number, role in enumerate(("user", "assistant", "user")):
        own.ok("message", "add", "c", role, f"said {number}\nmore", "--key", f"m{number}", "--at", f"{9 - number}m")
    own.ok("message", "add", "other", "tool", "x", "--key", "x")
    assert lines(own.ok("message", "list", "c")) == ["m0\tuser\tsaid 0", "m1\tassistant\tsaid 1", "m2\tuser\tsaid 2"]
    assert lines(own.ok("message", "list", "c", "--newest", "--limit", "1", "--role", "user")) == ["m2\tuser\tsaid 2"]
    page = own.json("message", "list", "c", "--limit", "1", "--offset", "1")
    assert (page["total"], [message["key"] for message in page["messages"]]) == (3, ["m1"])
    assert len(lines(own.ok("message", "list"))) == 4


# ── conversations ──


def test_conversations_are_listed_shown_named_counted_and_forgotten(own: Command) -> None:
    own.ok("message", "add", "chat/1", "user", "a leak?", "--at", "2026-01-31T10:00:00")
    own.ok("message", "add", "chat/1", "assistant", "in the\nparser", "--at", "2026-01-31T10:00:01")
    own.ok("message", "add", "chat/2", "user", "x", "--at", "2026-01-31T09:00:00")
    own.ok("conversation", "update", "chat/1", "--title", "the leak", "--meta", "state=open", "--meta", "n=1")
    assert lines(own.ok("conversation", "list")) == [
        "chat/1\t2\t2026-01-31T10:00:01.000Z\tthe leak", "chat/2\t1\t2026-01-31T09:00:00.000Z\t",
    ]  # fmt: skip
    page = own.json("conversation", "list", "chat/", "--limit", "1")
    [row] = page["conversations"]
    assert (page["total"], row["id"], row["metadata"]) == (2, "chat/1", {"state": "open", "n": 1})
    assert own.ok("conversation", "show", "chat/1") == b"user: a leak?\nassistant: in the\nparser\n"
    assert own.json("conversation", "show", "chat/1", "--newest", "--limit", "1")["messages"][0]["role"] == "assistant"
    stats = own.json("conversation", "stats", "chat/1")
    assert (stats["messages"], stats["roles"], stats["tokens"]) == (2, {"user": 1, "assistant": 1}, 6)
    assert "messages    2 (1 user, 1 assistant)" in lines(own.ok("conversation", "stats", "chat/1"))
    assert own.json("conversation", "update", "chat/1", "--title", "x")["metadata"] == {"state": "open", "n": 1}
    assert own.ok("conversation", "forget", "chat/1") == b"2\n"
    assert lines(own.ok("list")) == [own.json("message", "list")["messages"][0]["key"]]


@pytest.mark.parametrize("verb", ["show", "stats", "forget", "update"])
def test_a_conversation_that_is_not_there_is_not_found(stash: Command, verb: str) -> None:
    more = ["--title", "x"] if verb == "update" else []
    code, error = stash.error("conversation", verb, "never said", *more)
    assert (code, error["code"]) == (3, "not_found")


def test_no_conversation_is_an_empty_list(own: Command) -> None:
    assert own.ok("conversation", "list") == b""
    assert own.json("conversation", "list") == {"total": 0, "conversations": []}
    assert own.json("message", "list") == {"total": 0, "messages": []}


# ── prune ──


def test_prune_keeps_the_highest_scores_among_what_a_filter_chooses(own: Command, tmp_path: Path) -> None:
    for key, group, score in (("a", "g", "0.1"), ("b", "g", "0.9"), ("c", "h", "0.0")):
        own.ok("set", key, "v", "--text", key, "--group", group, "--score", score)
    own.ok("set", "plain", "v")
    assert lines(own.ok("prune", "--keep-highest-score", "1", "--group", "g", "--dry-run")) == ["a"]
    assert own.json("prune", "--keep-highest-score", "1", "--group", "g")["pruned"] == 1
    archive = tmp_path / "old.jsonl"
    own.ok("prune", "--keep-newest", "0", "--kind", "memory", "--min-score", "0.5", "--archive", str(archive))
    assert [json.loads(line)["key"] for line in archive.read_text().splitlines()] == ["b"]
    assert lines(own.ok("list")) == ["c", "plain"]

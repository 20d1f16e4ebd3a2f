"""`stash search`, `stash context`, and what makes an entry a memory."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command, end

VECTOR = str(Path(__file__).with_name("vector.json"))
HIT = {
    *("key", "type", "ttl", "expires_at", "created_at", "updated_at", "version", "size"),
    *("score", "similarity", "importance", "content", "kind", "role", "group", "reward", "tags", "metadata"),
    "embedding_status",
}


@pytest.fixture(scope="module")
def some() -> Iterator[Command]:
    """A stash with four memories, and an entry that is none. Only read it."""
    home = tempfile.mkdtemp(prefix="st")
    stash = Command(home)
    stash.ok("set", "bug/1", "The parser leaks.\nIt never closes its file.", "--embed", "--tag", "bug", "--tag", "open")
    stash.ok("set", "bug/2", "v", "--text", "the parser is slow", "--tag", "bug", "--meta", "reward=0.25")
    stash.ok("set", "chat/1", "v", "--text", "who wrote the parser?", "--group", "c/1", "--role", "user", "--at", "3d")
    stash.ok("set", "run/1", "v", "--text", "retry helped", "--score", "0.75", "--kind", "episode", "--group", "t/1")
    stash.ok("set", "plain", "the parser of nobody")
    yield stash
    end(home)


def keys(stash: Command, *words: str) -> list[str]:
    return [hit["key"] for hit in stash.json("search", *words)["hits"]]


# ── what is printed ──


def test_a_line_is_key_score_and_first_line_and_stderr_says_how_it_was_searched(some: Command) -> None:
    done = some("search", "parser leaks")
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert lines[0][::2] == ["bug/1", "The parser leaks."]
    assert {line[0] for line in lines} == {"bug/1", "bug/2", "chat/1"}
    assert all(0 < float(line[1]) <= 1 for line in lines)
    assert done.stderr == b"stash: 3 of 3, keyword\n"


def test_json_has_the_entry_and_all_that_search_knows_of_it(some: Command) -> None:
    found = some.json("search", "retry")
    assert {name: found[name] for name in ("query", "mode", "total", "coverage")} == {
        "query": "retry",
        "mode": "keyword",
        "total": 1,
        "coverage": "0 of 4 embedded",
    }
    (hit,) = found["hits"]
    assert hit.keys() == HIT
    assert (hit["kind"], hit["group"], hit["reward"], hit["content"]) == ("episode", "t/1", 0.75, "retry helped")
    assert (hit["role"], hit["metadata"], hit["tags"], hit["embedding_status"]) == (None, {}, [], "skipped")


def test_created_at_is_when_it_happened(own: Command) -> None:
    own.ok("set", "old", "v", "--text", "landing", "--at", "1972-12-11T19:54:57.5Z")
    (hit,) = own.json("search", "landing")["hits"]
    assert hit["created_at"] == "1972-12-11T19:54:57.500Z"


def test_nothing_found_is_no_error(some: Command) -> None:
    done = some("search", "aardvark")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"stash: 0 of 0, keyword\n")
    assert some.json("search", "aardvark")["hits"] == []


def test_a_query_without_a_word_says_that_it_has_none(some: Command) -> None:
    done = some("search", "😀 !")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.endswith(b"stash: the query has neither a letter nor a digit, so no word to search for\n")
    assert "neither a letter" in some.json("search", "😀", "--mode", "keyword")["note"]
    assert "note" not in some.json("search", "лук")
    assert "note" not in some.json("search", "😀", "aardvark")


def test_nothing_like_what_is_not_there_is_one(some: Command) -> None:
    assert some("search", "--like", "absent").returncode == 3
    status, error = some.error("search", "--like", "bug/1")
    assert (status, error["code"]) == (3, "not_found"), "it has no vector"


def test_explain_says_what_a_score_is_made_of(some: Command) -> None:
    (hit,) = some.json("search", "retry", "--explain", "--importance-weight", "0.25")["hits"]
    parts = hit["parts"]
    importance = 0.4 * parts["recency"] + 0.4 * parts["role"] + 0.2 * parts["substance"]
    assert hit["importance"] == pytest.approx(importance)
    assert hit["score"] == pytest.approx(0.25 * importance + 0.75 * parts["keyword"])
    line = some.ok("search", "retry", "--explain").decode()
    assert line.split("\t")[3].startswith("recency=1.000 role=0.500 ")


def test_control_characters_in_keys_and_texts_cannot_break_a_line(own: Command) -> None:
    own.ok("set", "a\tb\nc", "v", "--text", "  \n\x1b[31mred\tapples\nmore")
    assert own.ok("search", "apples").decode().split("\t")[::2] == ["a\\tb\\nc", "\\x1b[31mred\\tapples\n"]


def test_on_a_terminal_it_is_a_table(some: Command) -> None:
    leader, follower = pty.openpty()
    environment = {**some.environment, "TERM": "xterm", "COLUMNS": "60"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        some.line("search", "leaks"), stdout=follower, stderr=subprocess.PIPE, env=environment
    ) as shown:
        os.close(follower)
        text = os.read(leader, 1 << 16).decode()  # it is written in one piece
        assert shown.wait(30) == 0
    os.close(leader)
    head, row, *_ = text.splitlines()
    assert head.split("TEXT")[0].find("SCORE") >= 0
    assert "bug/1" in row
    assert "The parser leaks." in row


# ── what is chosen ──


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "bug/1 bug/2 chat/1 run/1"),
        (["--tag", "open", "--tag", "nobody's"], "bug/1"),
        (["--all-tags", "bug"], "bug/1 bug/2"),
        (["--all-tags", "bug", "--all-tags", "open"], "bug/1"),
        (["--prefix", "bug/"], "bug/1 bug/2"),
        (["--prefix", "bu", "--segments"], ""),
        (["--prefix", "bug", "--segments"], "bug/1 bug/2"),
        (["--group", "c/1"], "chat/1"),
        (["--group-prefix", "t/"], "run/1"),
        (["--role", "user", "--role", "tool"], "chat/1"),
        (["--kind", "episode"], "run/1"),
        (["--after", "1h"], "bug/1 bug/2 run/1"),
        (["--before", "1h"], "chat/1"),
        (["--min-score", "0.7"], "run/1"),
        (["--where", "reward>=0.5"], "run/1"),
        (["--where", "reward>0", "--where", "reward<0.5"], "bug/2"),
        (["parser", "--tag", "open"], "bug/1"),
        (["--archived"], "bug/1 bug/2 chat/1 run/1"),
    ],
)
def test_filters_choose(some: Command, words: list[str], expected: str) -> None:
    assert sorted(keys(some, *words)) == expected.split()


def test_hits_are_ordered_counted_and_left_out_as_asked(some: Command) -> None:
    newest = keys(some, "--order", "newest")
    assert newest[-1] == "chat/1"
    assert keys(some, "--order", "oldest") == newest[::-1]
    assert keys(some, "--order", "newest", "-k", "2", "--offset", "1") == newest[1:3]
    assert keys(some, "--order", "score", "--limit", "1") == ["run/1"]
    assert keys(some, "--order", "importance")[0] == "chat/1"


def test_a_half_life_makes_what_is_old_less_important(some: Command) -> None:
    def importance(*words: str) -> float:
        found: float = some.json("search", "--role", "user", *words)["hits"][0]["importance"]
        return found

    assert importance("--half-life", "1h") < importance() < importance("--half-life", "365d")


# ── vectors ──


def test_a_vector_is_read_from_json_or_from_raw_floats(own: Command) -> None:
    as_json, raw = Path(own.home, "v.json"), Path(own.home, "v.f32")
    as_json.write_text("[1, 0.5, 0]")
    raw.write_bytes(array("f", [0, 0.5, 1]).tobytes())
    own.ok("set", "a", "v", "--embedding", str(as_json))
    own.ok("set", "b", "v", "--embedding", str(raw))
    found = own.json("search", "--embedding", str(raw), "--importance-weight", "0")
    assert (found["mode"], found["coverage"]) == ("vector", "2 of 2 embedded")
    assert [hit["key"] for hit in found["hits"]] == ["b", "a"]
    assert found["hits"][0]["similarity"] == pytest.approx(1)
    assert own("search", "--embedding", str(raw)).stderr == b"stash: 2 of 2, vector, 2 of 2 embedded\n"
    assert keys(own, "--like", "a") == ["b"]


def test_raw_floats_that_begin_like_json_are_raw_floats(own: Command) -> None:
    path = Path(own.home, "v")
    path.write_bytes(b"[\0\x80?")  # 1.0000108
    own.ok("set", "a", "v", "--embedding", str(path))
    path.write_text("[1]")
    assert keys(own, "--embedding", str(path)) == ["a"]


def test_vectors_of_different_models_are_never_compared(own: Command) -> None:
    path = Path(own.home, "v.json")
    path.write_text("[1, 0.5]")
    own.ok("set", "a", "v", "--embedding", str(path), "--model", "mine")
    own.ok("set", "b", "v", "--embedding", str(path))
    assert keys(own, "--embedding", str(path), "--model", "mine") == ["a"]
    assert keys(own, "--embedding", str(path)) == ["b"]
    done = own("search", "--embedding", str(path), "--model", "other")
    assert done.stderr.decode().endswith("none of these memories has a vector of model 'other'\n")


@pytest.mark.parametrize(
    "content", [b"[]", b"[0, 0]", b"[1, NaN]", b"[1, 'x']", b'["x"]', b"[1", b"[[1]]", b"abc", b""]
)
def test_what_is_no_vector_is_refused_before_anything_is_stored(stash: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v"
    path.write_bytes(content)
    status, error = stash.error("set", "no vector", "v", "--embedding", str(path))
    assert (status, error["code"]) == (2, "bad_request")
    assert error["message"].startswith("--embedding: ")
    assert stash("exists", "no vector").returncode == 3


# ── what makes an entry a memory ──


def test_set_says_how_far_the_embedder_is(own: Command) -> None:
    assert own.json("set", "a", "v", "--text", "apples")["embedding_status"] == "skipped"
    assert "embedding_status" not in own.json("set", "b", "v")


def test_metadata_is_json_where_it_can_be_and_text_where_not(own: Command) -> None:
    meta = ("--meta", "n=1.50", "--meta", 'deep={"a": [1]}', "--meta", "lang=en", "--meta", "n=2", "--meta", "e=")
    own.ok("set", "a", "v", "--text", "apples", *meta)
    (hit,) = own.json("search", "--where", "lang=en", "--where", "n=2")["hits"]
    assert hit["metadata"] == {"n": 2, "deep": {"a": [1]}, "lang": "en", "e": ""}


def test_update_changes_what_is_given_and_keeps_the_value(own: Command) -> None:
    own.ok("set", "a", "v", "--text", "apples", "--group", "g", "--meta", "x=1", "--score", "0.5")
    own.ok("update", "a", "--text", "pears", "--score", "0.75")
    (hit,) = own.json("search", "pears")["hits"]
    assert (hit["group"], hit["reward"], hit["metadata"]) == ("g", 0.75, {"x": 1})
    assert own.ok("get", "a") == b"v"
    assert keys(own, "apples") == []
    own.ok("update", "a", "plums", "--embed")
    assert keys(own, "plums") == ["a"]


def test_an_export_carries_memories(two: tuple[Command, Command]) -> None:
    one, other = two
    path = Path(one.home, "v.json")
    path.write_text("[1, 0.5]")
    one.ok("set", "a", "v", "--text", "apples", "--embedding", str(path), "--tag", "t", "--role", "tool", "--at", "2d")
    other.ok("import", "-", stdin=one.ok("export"))
    (before,), (after,) = (stash.json("search", "apples", "--all-tags", "t")["hits"] for stash in two)
    for name in ("content", "role", "tags", "created_at", "embedding_status"):
        assert after[name] == before[name]
    assert keys(other, "--embedding", str(path)) == ["a"]


def test_an_expired_memory_is_not_found(own: Command) -> None:
    own.ok("set", "a", "v", "--text", "apples", "--ttl", "50ms")
    own.ok("set", "b", "v", "--text", "apples too")
    assert own("get", "never", "--wait", "60ms").returncode == 124
    assert own.json("search", "apples")["total"] == 1
    assert keys(own, "apples") == ["b"]


# ── context ──


def test_a_context_is_the_best_texts_with_their_roles(some: Command) -> None:
    done = some("context", "chat/", "--query", "parser")
    assert done.stdout == b"user: who wrote the parser?\n"
    assert done.stderr == b"stash: 1 of 1, keyword, about 6 tokens\n"
    texts = some.ok("context", "bug/", "--query", "parser slow").decode()
    assert texts == "the parser is slow\n\nThe parser leaks.\nIt never closes its file.\n"


def test_a_context_keeps_to_its_budget_but_is_never_empty(some: Command) -> None:
    done = some("context", "bug/", "--query", "parser slow", "--budget", "1")
    assert done.stdout == b"the parser is slow\n"
    assert done.stderr == b"stash: 1 of 2, keyword, about 5 tokens, truncated\n"
    found = some.json("context", "--query", "parser slow", "--budget", "12", "--tag", "bug")
    assert (found["truncated"], found["tokens"], found["context"]) == (True, 5, "the parser is slow")
    assert [hit["key"] for hit in found["hits"]] == ["bug/2"]
    whole = some.json("context", "bug/")
    assert (whole["truncated"], len(whole["hits"]), whole["mode"]) == (False, 2, "filter")


def test_a_context_leaves_out_memories_without_a_text(own: Command) -> None:
    own.ok("set", "a", "v", "--embedding", VECTOR, "--role", "user")
    assert own("context").stdout == b""
    own.ok("set", "b", "v", "--text", "said", "--at", "1h")
    own.ok("set", "c", "v", "--text", "answered", "--role", "user", "--at", "2h")
    own.ok("set", "d", "v", "--score", "1")
    told = own.ok("context", "--order", "newest").decode()
    assert told == "said\n\nuser: answered\n"
    assert own.json("context", "--order", "newest")["context"] + "\n" == told


def test_words_need_no_quotes(some: Command) -> None:
    for verb in (["search"], ["episode", "query"]):
        quoted, bare = some(*verb, "retry helped", "-k", "1"), some(*verb, "retry", "-k", "1", "helped")
        assert (bare.returncode, bare.stdout, bare.stderr) == (0, quoted.stdout, quoted.stderr)
        assert quoted.stdout.startswith(b"run/1\t")


def test_a_context_of_nothing_is_empty(some: Command) -> None:
    done = some("context", "nobody/")
    assert (done.returncode, done.stdout) == (0, b"")
    assert some.json("context", "nobody/")["truncated"] is False


# ── in a batch ──


def test_a_batch_sets_and_searches(own: Command) -> None:
    lines = [
        {"op": "set", "key": "a", "value": "v", "text": "red apples", "metadata": {"n": {"x": 1.5}}, "score": 1 / 3},
        {"op": "set", "key": "b", "value": "green apples", "embed": True, "tags": ["t"], "at": 86_400.25},
        {"op": "set", "key": "c", "value": "v", "embedding": [1, 0.5], "role": "tool", "group": "g"},
        {"op": "update", "key": "c", "importance": 1},
        {"op": "search", "query": "apples", "k": 1, "where": ["n.x>1"]},
        {"op": "search", "tags_any": ["t"], "before": "1970-01-03"},
        {"op": "search", "embedding": [1, 0], "roles": ["tool"]},
        {"op": "get", "key": "a"},
    ]
    done = own("batch", stdin="\n".join(map(json.dumps, lines)).encode())
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply["ok"] for reply in replies] == [True] * 8
    first, second, third = (reply["hits"] for reply in replies[4:7])
    assert [(hit["key"], hit["reward"], hit["metadata"]) for hit in first] == [("a", 1 / 3, {"n": {"x": 1.5}})]
    assert [(hit["key"], hit["created_at"]) for hit in second] == [("b", "1970-01-02T00:00:00.250Z")]
    assert [(hit["key"], hit["importance"]) for hit in third] == [("c", 1.0)]
    assert replies[7]["value"] == "v"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"op": "set", "key": "a", "value": "v", "metadata": "x"}, "'metadata' must be a JSON object"),
        ({"op": "set", "key": "a", "value": "v", "embedding": [0]}, "'embedding': the vector is zero"),
        ({"op": "set", "key": "a", "value": "v", "embedding": "x"}, "'embedding': a vector is a list of numbers"),
        ({"op": "set", "key": "a", "value": "v", "score": "x"}, "score: 'x' is not a number"),
        ({"op": "set", "key": "a", "value": "v", "importance": 2}, "importance: must lie between 0 and 1"),
        ({"op": "set", "key": "a", "text": "x"}, "set needs 'value'"),
        ({"op": "update", "key": "a"}, "what it is to be remembered by"),
        ({"op": "search", "where": "n>1"}, "'where' must be a list"),
        ({"op": "search", "after": "soon"}, "after: 'soon' is not a point in time"),
        ({"op": "search", "limit": 3}, "search has no 'limit'; it has query, k"),
    ],
)
def test_a_line_of_a_batch_that_cannot_be_says_why(stash: Command, line: object, said: str) -> None:
    done = stash("batch", stdin=json.dumps(line).encode())
    reply = json.loads(done.stdout)
    assert said in reply["error"]["message"]
    assert done.returncode == 2


def test_a_line_with_more_words_than_a_request_holds_is_refused_alone(stash: Command) -> None:
    long = {"op": "set", "key": "too long", "value": "v", "text": "😀" * 32_768}
    fine = {"op": "exists", "key": "too long"}
    done = stash("batch", stdin="\n".join(map(json.dumps, (fine, long, fine))).encode())
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert "bytes; 131,072 are allowed" in second["error"]["message"]
    assert (first["exists"], third["exists"], done.returncode) == (False, False, 2)
    status, error = stash.error("batch", "--atomic", stdin=json.dumps(long).encode())
    assert (status, error["message"].startswith("line 1: the request")) == (2, True)

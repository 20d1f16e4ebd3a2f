"""The same behaviour for memories and searching, whichever way."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stash_memory import BadRequest, NotFound
from tests.support.daemon import eventually


def keys(hits: Any) -> list[str]:
    return [hit.key for hit in hits]


# ── what makes an entry a memory ──


def test_a_memory_is_found_with_all_it_was_stored_with(stash: Any) -> None:
    happened = datetime(2026, 1, 31, 14, 0, 0, 250_000, tzinfo=UTC)
    entry = stash.set(
        "a", {"x": 1}, text="red apples", group="g/1", role="user", score=0.75, importance=0.5,
        metadata={"n": {"deep": [1, "ü"]}}, at=happened, tags=["t", "s"],
    )  # fmt: skip
    (hit,) = stash.search("apples")
    assert (hit.key, hit.content, hit.group, hit.role, hit.kind) == ("a", "red apples", "g/1", "user", "memory")
    assert (hit.reward, hit.importance, hit.created_at, hit.tags) == (0.75, 0.5, happened, ["s", "t"])
    assert hit.metadata == {"n": {"deep": [1, "ü"]}}
    assert (hit.embedding_status, hit.archived_at, hit.parts) == ("skipped", None, None)
    assert (hit.entry.version, hit.entry.expires_at) == (entry.version, entry.expires_at)
    assert stash.get("a") == {"x": 1}


def test_the_value_is_the_text_when_it_is_embedded_also_after_an_update(stash: Any) -> None:
    stash.set("a", "red apples", embed=True)
    assert stash.search("apples").hits[0].content == "red apples"
    stash.update("a", "green pears")
    assert keys(stash.search("apples")) == []
    assert keys(stash.search("pears")) == ["a"]


def test_an_update_keeps_what_it_does_not_give(stash: Any) -> None:
    stash.set("a", "v", text="red apples", group="g", score=1, metadata={"x": 1})
    stash.update("a", score=0.5)
    (hit,) = stash.search("apples")
    assert (hit.reward, hit.group, hit.metadata, stash.get("a")) == (0.5, "g", {"x": 1}, "v")
    stash.set("a", "v")
    assert keys(stash.search()) == [], "a set replaces all, memory too"


def test_messages_and_episodes_are_given_keys_and_a_ttl_of_their_own(stash: Any) -> None:
    message = stash.set(value="hello", embed=True, kind="message", group="chat", role="user")
    assert message.key.startswith("message/chat/")
    assert message.ttl > 80 * 86_400 > stash.set(value="hello", embed=True).ttl
    assert keys(stash.search("hello", kind="message")) == [message.key]


def test_what_has_expired_or_was_forgotten_is_not_found(stash: Any) -> None:
    for key, ttl in (("stays", 60), ("expires", 0.05), ("goes", 60)):
        stash.set(key, "v", text="apples", embedding=[1, 0.5], ttl=ttl)
    stash.forget("goes")
    eventually(lambda: not stash.exists("expires"))
    for hits in (stash.search("apples"), stash.search(embedding=[1, 0]), stash.search()):
        assert (keys(hits), hits.total) == (["stays"], 1)


def test_a_batch_and_a_pipeline_make_memories_too(stash: Any) -> None:
    stash.batch().set("a", "v", text="red apples").update("a", group="g").run()
    stash.pipeline().set("b", "green apples", embed=True).run()
    assert sorted(keys(stash.search("apples"))) == ["a", "b"]
    assert keys(stash.search(group="g")) == ["a"]


def test_an_import_brings_memories_back(stash: Any) -> None:
    stash.set("a", "v", text="red apples", embedding=[1, 0.5], tags=["t"], role="tool")
    kept = list(stash.export())
    stash.forget("a")
    assert stash.import_(kept).imported == 1
    (hit,) = stash.search("apples", tags_any=["t"], roles=["tool"])
    assert hit.embedding_status == "completed"
    assert keys(stash.search(embedding=[1, 0.5])) == ["a"]


# ── by words ──


def test_words_are_ranked_by_rarity(stash: Any) -> None:
    for number in range(5):
        stash.set(f"common/{number}", "v", text=f"the parser, part {number}")
    stash.set("rare", "v", text="the parser and an aardvark")
    found = stash.search("parser aardvark", k=2)
    assert (found.mode, found.total, len(found), found[0].key) == ("keyword", 6, 2, "rare")
    assert found[0].similarity == 1
    assert found.coverage == "0 of 6 embedded"


@pytest.mark.parametrize("query", ['"', "a AND (", "NOT", "-x:*", "👍", "日本", "'; --", "a" * 30_000])
def test_no_query_is_too_strange(stash: Any, query: str) -> None:
    stash.set("a", "v", text="日本語 and 👍")
    assert len(stash.search(query)) <= 1


# ── by vectors ──


@pytest.mark.parametrize("make", [list, tuple, lambda numbers: array("f", numbers), lambda n: array("f", n).tobytes()])
def test_a_vector_is_numbers_or_their_bytes(stash: Any, make: Callable[[list[float]], Any]) -> None:
    for key, numbers in (("east", [1.0, 0.0]), ("north", [0.0, 1.0])):
        stash.set(key, "v", embedding=make(numbers))
    found = stash.search(embedding=make([1.0, 0.25]), importance_weight=0)
    assert (keys(found), found.mode, found.coverage) == (["east", "north"], "vector", "2 of 2 embedded")
    assert found[0].score == found[0].similarity == pytest.approx(0.97, abs=0.001)


def test_like_finds_neighbours_but_not_itself(stash: Any) -> None:
    for key, embedding in (("a", [1, 0]), ("b", [1, 0.25]), ("c", [-1, 0])):
        stash.set(key, "v", text="words", embedding=embedding)
    assert keys(stash.search(like="a")) == ["b", "c"]
    stash.set("none", "v", text="no vector")
    for key in ("none", "absent"):
        with pytest.raises(NotFound):
            stash.search(like=key)


def test_words_and_a_vector_together_are_hybrid(stash: Any) -> None:
    stash.set("both", "v", text="red apples", embedding=[1, 0.0])
    stash.set("near", "v", text="pears", embedding=[1, 0.25])
    stash.set("worded", "v", text="green apples")
    found = stash.search("apples", embedding=[1, 0])
    assert (found.mode, found[0].key, sorted(keys(found))) == ("hybrid", "both", ["both", "near", "worded"])
    assert found[0].similarity == pytest.approx(1)


@pytest.mark.parametrize("bad", [[], [0, 0], [float("nan")], [float("inf")], [1e39], b"abc", [0.1] * 8193, ["x"], "x"])
def test_what_is_no_vector_is_neither_stored_nor_searched_with(stash: Any, bad: Any) -> None:
    with pytest.raises(BadRequest):
        stash.set("a", "v", embedding=bad)
    with pytest.raises(BadRequest):
        stash.search(embedding=bad)
    assert not stash.exists("a")


def test_vectors_of_one_model_have_one_size(stash: Any) -> None:
    stash.set("a", "v", embedding=[1, 2])
    with pytest.raises(BadRequest):
        stash.set("b", "v", embedding=[1, 2, 3])
    with pytest.raises(BadRequest):
        stash.search(embedding=[1, 2, 3])
    stash.set("b", "v", embedding=[1, 2, 3], model="other")
    assert keys(stash.search(embedding=[1, 2, 3], model="other")) == ["b"]


# ── filters ──


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "a/1 a/2 ab c"),
        ({"prefix": "a"}, "a/1 a/2 ab"),
        ({"prefix": "a", "segments": True}, "a/1 a/2"),
        ({"keys": ["c", "ab", "absent"]}, "ab c"),
        ({"group": "g/1"}, "a/1"),
        ({"group_prefix": "g/"}, "a/1 a/2"),
        ({"roles": ["user", "tool"]}, "a/1 ab"),
        ({"kind": "episode"}, "c"),
        ({"tags_any": ["x", "y"]}, "a/1 a/2"),
        ({"tags_all": ["x", "y"]}, "a/2"),
        ({"min_score": 0.5}, "c"),
        ({"where": "n>=2"}, "a/2 ab"),
        ({"where": {"n": {"gt": 1, "lt": 3}}}, "a/2"),
        ({"where": [("lang", "in", ["en", "de"])]}, "a/1 a/2"),
        ({"where": ["lang!=en"]}, "a/2 ab c"),
        ({"where": "reward>0"}, "c"),
        ({"before": datetime(2026, 1, 1, tzinfo=UTC)}, "a/1"),
        ({"after": datetime(2026, 1, 1, tzinfo=UTC)}, "a/2 ab c"),
    ],
    ids=str,
)
def test_filters_choose(stash: Any, filters: dict[str, Any], expected: str) -> None:
    stash.set("a/1", "v", text="1", group="g/1", role="user", tags=["x"], metadata={"lang": "en", "n": 1}, at=1e9)
    stash.set("a/2", "v", text="2", group="g/2", tags=["x", "y"], metadata={"lang": "de", "n": 2})
    stash.set("ab", "v", text="3", role="tool", metadata={"n": 3})
    stash.set("c", "v", text="4", kind="episode", score=0.5)
    stash.set("none", "v", tags=["x"])
    found = stash.search(k=20, **filters)
    assert sorted(keys(found)) == expected.split()
    assert (found.mode, found.total) == ("filter", len(expected.split()))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda stash: stash.search(k=0), "k must be"),
        (lambda stash: stash.search(k=4097), "k must be"),
        (lambda stash: stash.search(k=-1), "k must be"),
        (lambda stash: stash.search(mode="vector"), "a search by vector needs"),
        (lambda stash: stash.search(mode="keyword"), "a search by keyword needs a query"),
        (lambda stash: stash.search(like="a", embedding=[1]), "not both"),
        (lambda stash: stash.search(tags_any="x"), r"tags_any is a list; write tags_any=\['x'\]"),
        (lambda stash: stash.search(where="no sign"), "is no condition"),
        (lambda stash: stash.search(where={"n": {"like": 1}}), "no operator"),
        (lambda stash: stash.search(after="soon"), "not a point in time"),
        (lambda stash: stash.search(colour="red"), "there is no filter colour"),
        (lambda stash: stash.set("a", 1, colour="red"), "there is no field colour"),
        (lambda stash: stash.set("a", 1, importance=2), "importance must"),
        (lambda stash: stash.set("a", 1, score=float("nan")), "score must be a finite number"),
        (lambda stash: stash.set("a", 1, text="x" * 32_769), "text must"),
        (lambda stash: stash.search(importance_weight=1.5), "importance_weight must"),
        (lambda stash: stash.search(budget=0), "budget must"),
    ],
)
def test_what_cannot_be_says_why(stash: Any, call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        call(stash)


# ── ranking ──


def test_orders_offsets_and_weights(stash: Any) -> None:
    now = datetime.now(UTC)
    for days, score in ((1, 0.5), (2, 0.75), (3, 0.25)):
        stash.set(f"d{days}", "v", text="apples", at=now - timedelta(days=days), score=score)
    assert keys(stash.search(order="newest")) == ["d1", "d2", "d3"]
    assert keys(stash.search(order="oldest", offset=1, k=1)) == ["d2"]
    assert keys(stash.search(order="score")) == ["d2", "d1", "d3"]
    assert keys(stash.search("apples")) == ["d1", "d2", "d3"], "of equals, the younger"
    day = stash.search("apples", half_life="1d", explain=True, importance_weight=0.5)
    assert day[0].parts["recency"] == pytest.approx(0.5, abs=0.001)
    assert day[0].score == pytest.approx(0.5 * day[0].importance + 0.5)


def test_a_budget_lets_in_as_many_texts_as_fit_and_at_least_one(stash: Any) -> None:
    for number, role in ((1, "user"), (2, None), (3, None)):
        stash.set(f"m{number}", "v", text=f"text {number} ".ljust(40, "x"), role=role, importance=1 - number / 10)
    found = stash.search(budget=20, order="importance")
    assert (keys(found), found.tokens, found.truncated) == (["m1", "m2"], 20, True)
    first, second = found.context.split("\n\n")
    assert first.startswith("user: text 1")
    assert second.startswith("text 2")
    least = stash.search(budget=1)
    assert (len(least), least.truncated, stash.search(budget=100).truncated) == (1, True, False)


def test_a_context_leaves_out_memories_without_a_text(stash: Any) -> None:
    stash.set("silent", "v", score=1, role="user")
    stash.set("spoken", "v", text="said")
    assert stash.search().context == "said"


def test_mode_vector_without_an_embedder_says_what_was_done_instead(stash: Any) -> None:
    stash.set("a", "v", text="red apples")
    for mode in ("vector", "hybrid"):
        found = stash.search("apples", mode=mode)
        assert (found.mode, keys(found)) == ("keyword", ["a"])
        assert found.note == "there is no embedder, so this is a search by keyword"
    assert stash.search("apples").note is None

"""How what a search finds is ranked, ordered and cut; and what is asked for by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stash_protocol import operations as op
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.memories import Condition, Filter, Memory
from tests.daemon.engine.test_search import remember, vec
from tests.support.engine import Bench

DAY = 86_400_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.engine.close()


def test_importance_comes_from_age_role_and_substance_and_can_be_overridden(bench: Bench) -> None:
    remember(bench, "user", "some words here", role="user", ttl_ms=20 * DAY // 20)
    remember(bench, "tool", "some words here", role="tool")
    remember(bench, "fixed", "some words here", role="tool", importance=1.0)
    importances = {hit.entry.key: hit.importance for hit in bench.find(explain=True).hits}
    assert importances["fixed"] == 1.0
    assert importances["user"] > importances["tool"]
    hit = bench.find(filter=Filter(keys=["user"]), explain=True).hits[0]
    assert hit.parts is not None
    recency, role, substance = (hit.parts[name] for name in ("recency", "role", "substance"))
    assert hit.importance == pytest.approx(0.4 * recency + 0.4 * role + 0.2 * substance)


def test_the_score_weighs_similarity_and_importance(bench: Bench) -> None:
    remember(bench, "near", vector=vec(1, 0.3), importance=0.0)
    remember(bench, "important", vector=vec(1, 0.5), importance=1.0)
    assert bench.find(vector=vec(1, 0)).keys == ["important", "near"]
    assert bench.find(vector=vec(1, 0), importance_weight=0.0).keys == ["near", "important"]
    hit = bench.find(vector=vec(1, 0)).hits[0]
    assert hit.similarity is not None
    assert hit.score == pytest.approx(0.7 * hit.similarity + 0.3 * hit.importance)


@pytest.mark.parametrize(
    ("order", "expected"), [("newest", ["c", "b", "a"]), ("oldest", ["a", "b", "c"]), ("score", ["b", "c", "a"])]
)
def test_what_is_not_ranked_can_be_ordered(bench: Bench, order: Any, expected: list[str]) -> None:
    for key, at, score in (("a", 1, 0.1), ("b", 2, 0.9), ("c", 3, 0.5)):
        remember(bench, key, "t", at=at, score=score)
    assert bench.find(order=order).keys == expected
    assert bench.find(order=order, offset=1, k=1).keys == expected[1:2]


def test_a_budget_keeps_at_least_one_hit_and_says_what_it_cut(bench: Bench) -> None:
    for number in range(3):
        remember(bench, f"k{number}", "x" * 400)
    found = bench.find(budget=1)
    assert (found.found.count, found.found.truncated, found.found.tokens) == (1, True, 100)
    assert bench.find(budget=200).found.count == 2
    assert not bench.find(budget=1000).found.truncated


def test_a_memory_without_a_vector_yet_is_found_before_what_only_lies_near(bench: Bench) -> None:
    for number in range(4):
        remember(bench, f"noise{number}", "something else", vector=vec(1, number), role="user")
    remember(bench, "fresh", "zebra corridor")
    found = bench.find("zebra corridor", vector=vec(0, 1))
    assert found.found.mode == "hybrid"
    assert found.keys[0] == "fresh"


def test_words_that_nothing_has_leave_a_search_to_the_vector(bench: Bench) -> None:
    remember(bench, "a", "cats", vector=vec(1, 0))
    found = bench.find("unheard of", vector=vec(1, 0), importance_weight=0.0)
    assert found.found.mode == "vector"
    assert found.hits[0].similarity == pytest.approx(1.0)


@pytest.mark.parametrize("query", ["", " \n"])
def test_an_empty_query_is_no_wish_for_everything(bench: Bench, query: str) -> None:
    with pytest.raises(BadRequest, match="empty"):
        bench.find(query)


def test_a_name_with_a_dot_in_it_comes_before_a_path(bench: Bench) -> None:
    remember(bench, "flat", "t", metadata='{"run.steps": 12}')
    remember(bench, "deep", "t", metadata='{"run": {"steps": 13}}')
    assert set(bench.find(filter=Filter(where=[Condition("run.steps", "lt", 20)])).keys) == {"flat", "deep"}
    assert bench.find(filter=Filter(where=[Condition("run.steps", "eq", 12)])).keys == ["flat"]


def test_what_is_of_another_kind_is_neither_changed_nor_deleted_as_a_message(bench: Bench) -> None:
    bench.set("plain")
    remember(bench, "note", "text")
    assert bench.ask(op.Forget(keys=["plain", "note"], kind="message")).body.forgotten == 0
    for key in ("plain", "note"):
        with pytest.raises(NotFound):
            bench.ask(op.Update(key=key, type="text", kind="message"), b"overwritten")
    assert bench.get("plain") == b"v"
    remember(bench, "said", "hello", kind="message")
    assert bench.ask(op.Forget(keys=["said"], kind="message")).body.forgotten == 1


def test_what_is_archived_stays_so_through_export_and_import(bench: Bench) -> None:
    remember(bench, "a", "old news")
    bench.archive("a")
    [[entry, value, tags, memory]] = msgspec.msgpack.decode(bench.ask(op.Export()).payload)
    other = bench.someone("other")
    bench.ask(
        op.Import(), msgspec.msgpack.encode([[entry["key"], "text", entry["ttl_ms"], value, tags, memory]]), other
    )
    assert bench.find("news", caller=other).keys == []
    assert bench.find("news", caller=other, filter=Filter(archived=True)).hits[0].archived_at == bench.clock.now()


def test_what_happened_in_one_millisecond_stays_in_the_order_it_was_stored_also_when_it_is_changed(
    bench: Bench,
) -> None:
    for key in ("a", "b", "c"):
        remember(bench, key, "t", at=1)
    bench.find()
    bench.ask(op.Update(key="a", memory=Memory(text="changed")))
    assert bench.find(order="oldest").keys == ["a", "b", "c"]
    assert bench.find(order="newest").keys == ["c", "b", "a"]

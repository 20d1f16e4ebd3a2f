"""prune: what its policies choose among, and what they leave."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon.engine.pruning import MEMORY, SLICE
from stash_protocol import operations as op
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Condition, Filter, Kind, Memory, Role
from stash_protocol.replies import Pruned
from tests.support.engine import Bench

VECTOR = array("f", [1, 0]).tobytes()


@pytest.fixture(params=["file", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Bench]:
    made = Bench(str(tmp_path / "s.db") if request.param == "file" else "")
    yield made
    made.engine.close()


def remember(bench: Bench, key: str, tags: list[str] | None = None, **fields: Any) -> None:
    bench.set(key, b"v", tags=tags or [], memory=Memory(**{"kind": "episode", "text": key, **fields}))


def prune(bench: Bench, **fields: Any) -> list[str]:
    """What it deletes; as a dry run says before."""
    dry = bench.ask(op.Prune(**fields, dry_run=True, report=True))
    before = bench.keys()
    reply = bench.ask(op.Prune(**fields, report=True))
    keys: list[str] = msgspec.msgpack.decode(reply.payload)
    assert isinstance(reply.body, Pruned)
    assert reply.body.pruned == len(keys)
    assert bytes(dry.payload) == bytes(reply.payload)
    assert sorted(bench.keys() + keys) == sorted(before)
    return keys


# ── by score ──


def test_the_highest_scores_are_kept_and_what_has_none_stays(bench: Bench) -> None:
    for key, score in (("a", 0.1), ("b", 0.9), ("c", -3.0), ("d", 0.5), ("e", None)):
        remember(bench, key, score=score)
    bench.set("plain")
    assert prune(bench, keep_highest_score=2) == ["a", "c"]
    assert prune(bench, keep_highest_score=2) == []
    assert prune(bench, keep_highest_score=0) == ["b", "d"]
    assert bench.keys() == ["e", "plain"]


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), max_size=20), st.integers(0, 22))
def test_exactly_so_many_are_kept_and_none_that_went_scored_more(scores: list[float], keep: int) -> None:
    bench = Bench()
    for number, score in enumerate(scores):
        remember(bench, f"k{number:02}", score=score)
    gone = {int(key[1:]) for key in prune(bench, keep_highest_score=keep)}
    assert len(scores) - len(gone) == min(keep, len(scores))
    left = [score for number, score in enumerate(scores) if number not in gone]
    assert not gone or not left or max(scores[number] for number in gone) <= min(left)
    bench.engine.close()


def test_a_policy_chooses_among_the_prefix_and_the_tag_only(bench: Bench) -> None:
    for key, tags in (("a/1", ["t"]), ("a/2", ["t"]), ("a/3", []), ("b/1", ["t"])):
        remember(bench, key, tags, score=0.5)
    assert prune(bench, keep_highest_score=1, prefix="a/", tag="t") == ["a/1"]


def test_each_policy_chooses_for_itself(bench: Bench) -> None:
    remember(bench, "old but good", score=1.0)
    bench.clock.advance(ms=60_000)
    remember(bench, "new but bad", score=0.0)
    remember(bench, "new and good", score=2.0)
    assert prune(bench, older_than_ms=30_000, keep_highest_score=2) == ["new but bad", "old but good"]


# ── by filter ──


def test_with_a_filter_the_policies_choose_among_these_memories_by_when_they_happened(bench: Bench) -> None:
    now = bench.clock.now()
    remember(bench, "a", group="g", at=now - 50)
    remember(bench, "b", group="g", at=now - 10)
    remember(bench, "c", group="h", at=now - 90)
    bench.set("plain")
    assert prune(bench, older_than_ms=30, filter=Filter(group="g")) == ["a"]
    remember(bench, "a", group="g", at=now - 50)
    assert prune(bench, keep_newest=1, filter=Filter(group="g")) == ["a"]
    assert bench.keys() == ["b", "c", "plain"]


def test_a_filter_alone_deletes_nothing_that_lives(bench: Bench) -> None:
    remember(bench, "a")
    assert prune(bench, filter=Filter(kind="episode")) == []


def test_what_is_archived_is_chosen_only_where_that_is_asked_for(bench: Bench) -> None:
    for key in ("a", "b"):
        remember(bench, key, score=0.5)
    bench.archive("a")
    assert prune(bench, keep_newest=0, filter=Filter(kind="episode")) == ["b"]
    assert prune(bench, keep_highest_score=0, filter=Filter(kind="episode", archived=True)) == ["a"]


@pytest.mark.parametrize(("remembered", "weight"), [(False, 1), (True, MEMORY)])
def test_many_are_deleted_in_slices_and_none_twice(bench: Bench, remembered: bool, weight: int) -> None:
    count = 4 * SLICE // weight
    for number in range(count):
        memory = Memory(score=float(number), text="words") if remembered else None
        bench.set(f"k{number:03}", tags=["odd"] if number % 2 else [], memory=memory)
    assert slices(bench, op.Prune(keep_newest=0, tag="odd")) >= 2
    assert bench.keys() == [f"k{number:03}" for number in range(0, count, 2)]
    assert slices(bench, op.Clear(prefix="k")) >= 2
    assert bench.keys() == []


@pytest.mark.parametrize(("remembered", "weight"), [(False, 1), (True, MEMORY)])
def test_what_is_expired_is_swept_in_slices(bench: Bench, remembered: bool, weight: int) -> None:
    count = 4 * SLICE // weight
    for number in range(count):
        bench.set(f"k{number}", ttl_ms=1000, memory=Memory(text="words") if remembered else None)
    bench.clock.advance(seconds=2)
    swept = 1
    bench.engine.begin()
    while bench.engine.sweep():
        swept += 1
    bench.engine.commit()
    assert swept >= 4
    assert bench.engine.next_expiry() is None


def slices(bench: Bench, request: op.Request) -> int:
    """How many turns a long operation takes that delete something."""
    deleting, left = 0, len(bench.keys())
    steps = bench.engine.steps(request, b"", bench.caller)
    step = None
    while step is None:
        bench.engine.begin()
        step = next(steps)
        bench.engine.commit()
        deleting, left = deleting + (len(bench.keys()) < left), len(bench.keys())
    return deleting


def test_a_condition_that_makes_no_sense_is_refused(bench: Bench) -> None:
    remember(bench, "a")
    with pytest.raises(BadRequest):
        bench.ask(op.Prune(keep_newest=0, filter=Filter(where=[Condition("a..b", "eq", 1)])))


# ── search and prune mean the same by a filter ──

NAMES = ["a", "a/b", "ab", "é", "\U0010ffff"]
KINDS: list[Kind] = ["memory", "message", "episode"]
ROLES: list[Role] = ["system", "user", "assistant", "tool"]

names = st.sampled_from(NAMES)
optional_names = st.none() | names
tag_lists = st.lists(st.sampled_from(["t", "u", "v"]), max_size=2, unique=True)
numbers = st.sampled_from([-1.0, 0.0, 1.0])

remembered = st.builds(
    Memory, kind=st.sampled_from(KINDS), text=st.just("x"), group=optional_names,
    role=st.none() | st.sampled_from(ROLES), score=st.none() | numbers, at=st.integers(0, 3),
    metadata=st.sampled_from([None, "{}", '{"n": 1}', '{"n": "1"}']),
)  # fmt: skip
conditions = st.builds(
    Condition, st.sampled_from(["n", "score", "role", "group"]), st.sampled_from(["eq", "ne"]),
    st.sampled_from([1, "1", "user", "a", None, 0.0]),
)  # fmt: skip
filters = st.builds(
    Filter, kind=st.none() | st.sampled_from(KINDS), keys=st.none() | st.lists(names, max_size=3),
    prefix=st.just("") | names, segments=st.booleans(), group=optional_names, group_prefix=st.just("") | names,
    roles=st.lists(st.sampled_from(ROLES), max_size=2), tags_any=tag_lists, tags_all=tag_lists,
    after=st.none() | st.integers(0, 3), before=st.none() | st.integers(0, 3), min_score=st.none() | numbers,
    where=st.lists(conditions, max_size=1), archived=st.booleans(),
)  # fmt: skip


@given(st.dictionaries(names, st.tuples(remembered, tag_lists), min_size=1), st.lists(filters, min_size=1, max_size=5))
def test_prune_chooses_among_what_search_finds(
    memories: dict[str, tuple[Memory, list[str]]], asked: list[Filter]
) -> None:
    bench = Bench()
    for key, (memory, tags) in memories.items():
        bench.set(key, b"v", memory=memory, tags=tags)
    for wanted in asked:
        found = bench.find(filter=wanted, k=100).keys
        reply = bench.ask(op.Prune(keep_newest=0, filter=wanted, dry_run=True, report=True))
        assert sorted(msgspec.msgpack.decode(reply.payload)) == sorted(found)
    bench.engine.close()

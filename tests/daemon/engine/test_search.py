"""search: memories by words, by a vector, like another one, by filter; never expired ones, never another's."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from stash_protocol import operations as op
from stash_protocol.errors import BadRequest, NotFound, OverQuota
from stash_protocol.memories import Condition, Filter, Memory
from stash_protocol.replies import Entry
from tests.support.engine import Bench

DAY = 86_400_000


@pytest.fixture(params=["file", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Bench]:
    made = Bench(str(tmp_path / "s.db") if request.param == "file" else "")
    yield made
    made.engine.close()


def vec(*numbers: float) -> bytes:
    return array("f", numbers).tobytes()


def remember(bench: Bench, key: str, text: str | None = None, value: bytes = b"v", **fields: Any) -> Entry:
    sets = {name: fields.pop(name) for name in ("tags", "ttl_ms", "caller") if name in fields}
    return bench.set(key, value, memory=Memory(text=text, **fields), **sets)


# ── by words ──


def test_words_find_what_has_them_the_rarer_the_better(bench: Bench) -> None:
    remember(bench, "a", "the cat sat on the mat")
    remember(bench, "b", "the dog sat on the log")
    remember(bench, "c", "the aardvark sat")
    assert bench.find("cat").keys == ["a"]
    assert bench.find("aardvark sat", importance_weight=0.0).keys[0] == "c"
    assert set(bench.find("sat").keys) == {"a", "b", "c"}


def test_words_are_found_in_other_forms_without_accents_and_in_any_case(bench: Bench) -> None:
    remember(bench, "a", "Running through the Café")
    assert bench.find("run").keys == ["a"]
    assert bench.find("CAFE").keys == ["a"]


@pytest.mark.parametrize("query", ['"', "a AND", "x OR NOT (", "-foo:bar*", "👍", "^", "NEAR(", "'", "{}", "日本", ""])
def test_no_query_breaks_the_keyword_index(bench: Bench, query: str) -> None:
    remember(bench, "a", "日本語のテキスト and more 👍 text")
    assert bench.find(query or None).found.count in (0, 1)


def test_scripts_without_spaces_are_found_by_parts(bench: Bench) -> None:
    remember(bench, "a", "今日は東京に行きました")
    remember(bench, "b", "昨日は大阪でした")
    assert bench.find("東京").keys == ["a"]


def test_the_value_itself_can_be_the_text_also_after_it_changes(bench: Bench) -> None:
    remember(bench, "a", text_is_value=True, value=b"red apples")
    assert bench.find("apples").hits[0].content == "red apples"
    bench.ask(op.Update(key="a", type="text"), b"green pears")
    assert bench.find("apples").keys == []
    assert bench.find("pears").hits[0].content == "green pears"


def test_a_list_that_is_its_own_text_is_found_by_what_was_appended(bench: Bench) -> None:
    remember(bench, "a", text_is_value=True, value=b'["one"]')
    bench.ask(op.Append(key="a"), b'"two"')
    assert bench.find("two").keys == ["a"]


def test_an_entry_that_was_set_anew_without_a_memory_is_none_any_more(bench: Bench) -> None:
    remember(bench, "a", "something")
    bench.set("a", b"v")
    assert bench.find("something").keys == []
    assert bench.find().found.candidates == 0


# ── by vectors ──


def test_a_vector_finds_its_neighbours_nearest_first(bench: Bench) -> None:
    for key, angle in (("east", 0.0), ("northeast", 0.7), ("north", 1.5), ("west", 3.1)):
        remember(bench, key, vector=vec(math.cos(angle), math.sin(angle)))
    found = bench.find(vector=vec(1, 0.1), importance_weight=0.0, k=3)
    assert found.keys == ["east", "northeast", "north"]
    assert found.found.mode == "vector"
    assert found.hits[0].similarity == pytest.approx(math.cos(math.atan(0.1)), abs=1e-6)


def test_neighbours_are_the_exact_ones(bench: Bench) -> None:
    chance = random.Random(5)
    vectors = {f"k{number}": [chance.gauss(0, 1) for _ in range(48)] for number in range(400)}
    for key, numbers in vectors.items():
        remember(bench, key, vector=vec(*numbers))
    for _ in range(5):
        query = [chance.gauss(0, 1) for _ in range(48)]

        def cosine(key: str, query: list[float] = query) -> float:
            numbers = vectors[key]
            dot = math.fsum(a * b for a, b in zip(query, numbers, strict=True))
            return dot / math.hypot(*numbers) / math.hypot(*query)

        expected = sorted(vectors, key=cosine, reverse=True)[:10]
        assert bench.find(vector=vec(*query), importance_weight=0.0).keys == expected


def test_a_memory_can_be_searched_like_and_is_not_among_its_own_hits(bench: Bench) -> None:
    remember(bench, "a", vector=vec(1, 0))
    remember(bench, "b", vector=vec(1, 0.1))
    assert bench.find(like="a").keys == ["b"]
    with pytest.raises(NotFound):
        bench.find(like="nothing")


@pytest.mark.parametrize("wrong", [vec(math.nan, 1), vec(math.inf, 1), vec(0, 0), vec(1, 2, 3), b"abc"])
def test_vectors_that_are_none_are_refused_before_they_are_kept_or_searched_with(bench: Bench, wrong: bytes) -> None:
    remember(bench, "a", vector=vec(1, 0))
    with pytest.raises(BadRequest):
        remember(bench, "b", vector=wrong)
    with pytest.raises(BadRequest):
        bench.find(vector=wrong)
    assert bench.keys() == ["a"]


def test_words_and_vector_together_are_a_hybrid_search(bench: Bench) -> None:
    remember(bench, "both", "cats and dogs", vector=vec(1, 0))
    remember(bench, "near", "fish", vector=vec(1, 0.2))
    remember(bench, "worded", "cats", vector=vec(-1, 0))
    found = bench.find("cats", vector=vec(1, 0), importance_weight=0.0)
    assert found.found.mode == "hybrid"
    assert found.keys[0] == "both"
    assert found.hits[0].similarity is not None
    assert found.hits[0].similarity <= 1


def test_a_search_by_meaning_without_an_embedder_is_one_by_keyword_and_says_so(bench: Bench) -> None:
    remember(bench, "a", "cats")
    found = bench.find("cats", mode="hybrid").found
    assert found.mode == "keyword"
    assert found.note is not None
    assert "embedder" in found.note


# ── expiry and namespaces ──


def test_expired_memories_never_take_a_place_however_many_they_are(bench: Bench) -> None:
    for number in range(100):
        remember(bench, f"old{number}", "word", vector=vec(1, number / 1e6), ttl_ms=1000)
    for number in range(10):
        remember(bench, f"new{number}", "word", vector=vec(0, 1 + number), ttl_ms=DAY)
    bench.clock.advance(ms=1000)
    assert len(bench.find(vector=vec(1, 0)).keys) == 10
    found = bench.find("word")
    assert len(found.keys) == 10
    assert found.found.total == found.found.candidates == 10


def test_another_namespaces_memories_change_nothing_at_all(bench: Bench) -> None:
    remember(bench, "mine", "cat food", vector=vec(1, 0))
    before = [bench.find("cat"), bench.find(vector=vec(1, 0)), bench.find(filter=Filter(tags_any=["t"]))]
    other = bench.someone("other")
    for number in range(20):
        remember(bench, f"k{number}", "cat cat fish", vector=vec(1, 0), tags=["t"], caller=other)
    assert [bench.find("cat"), bench.find(vector=vec(1, 0)), bench.find(filter=Filter(tags_any=["t"]))] == before
    with pytest.raises(NotFound):
        bench.find(like="k1")


def test_an_index_that_is_in_use_follows_every_change(bench: Bench) -> None:
    remember(bench, "a", "one", vector=vec(1, 0))
    assert bench.find().keys == ["a"]
    remember(bench, "b", "two", vector=vec(1, 0))
    remember(bench, "a", "three", vector=vec(0, 1))
    assert set(bench.find().keys) == {"a", "b"}
    assert bench.find("one").keys == []
    assert bench.find("three").keys == ["a"]
    bench.ask(op.Extend(key="a", by_ms=DAY // 2))
    bench.ask(op.Forget(keys=["b"]))
    bench.clock.advance(ms=DAY // 2)
    assert bench.find().keys == ["a"]


def test_a_turn_that_was_rolled_back_is_not_found(bench: Bench) -> None:
    remember(bench, "a", "one")
    bench.find()
    bench.engine.begin()
    bench.engine.execute(op.Set(key="b", memory=Memory(text="two")), b"", bench.caller)
    bench.engine.rollback()
    assert bench.find().keys == ["a"]


def test_memories_count_against_the_quota(bench: Bench) -> None:
    small = bench.someone("small", quota=10_000)
    remember(bench, "a", "x " * 3_000, caller=small)
    with pytest.raises(OverQuota):
        remember(bench, "b", "x " * 3_000, caller=small)
    bench.ask(op.Forget(keys=["a"]), caller=small)
    remember(bench, "b", "x " * 3_000, caller=small)


# ── filters ──


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(group="g1"), "a b"),
        (Filter(group_prefix="g"), "a b c/1"),
        (Filter(roles=["user", "tool"]), "a"),
        (Filter(tags_any=["x", "y"]), "a b c/1"),
        (Filter(tags_all=["x", "y"]), "b"),
        (Filter(after=2000), "b c/1 cd"),
        (Filter(after=2000, before=3000), "b"),
        (Filter(min_score=0.5), "b c/1"),
        (Filter(prefix="c"), "c/1 cd"),
        (Filter(prefix="c", segments=True), "c/1"),
        (Filter(keys=["a", "cd", "nothing"]), "a cd"),
        (Filter(kind="episode"), "cd"),
        (Filter(where=[Condition("n", "gt", 1)]), "b"),
        (Filter(where=[Condition("n", "lte", 1), Condition("deep.er", "eq", "x")]), "a"),
        (Filter(where=[Condition("flag", "eq", True)]), "b"),
        (Filter(where=[Condition("flag", "eq", 1)]), ""),
        (Filter(where=[Condition("n", "ne", 1)]), "b c/1 cd"),
        (Filter(where=[Condition("n", "in", [1, 2])]), "a b"),
        (Filter(where=[Condition("n", "eq", None)]), "c/1 cd"),
        (Filter(where=[Condition("reward", "gte", 0.5)]), "b c/1"),
        (Filter(where=[Condition("role", "eq", "user")]), "a"),
    ],
    ids=repr,
)
def test_a_filter_lets_through_what_it_says(bench: Bench, wanted: Filter, expected: str) -> None:
    remember(
        bench,
        "a",
        "t",
        group="g1",
        role="user",
        tags=["x"],
        at=1000,
        score=0.1,
        metadata='{"n": 1, "deep": {"er": "x"}}',
    )
    remember(bench, "b", "t", group="g1", tags=["x", "y"], at=2000, score=0.5, metadata='{"n": 2, "flag": true}')
    remember(bench, "c/1", "t", group="g2", role="assistant", tags=["y"], at=3000, score=0.9)
    remember(bench, "cd", "t", kind="episode", at=4000)
    assert set(bench.find(filter=wanted).keys) == set(expected.split())
    assert set(bench.find("t", filter=wanted).keys) == set(expected.split())


@pytest.mark.parametrize(
    "condition",
    [Condition("n", "in", 1), Condition("n", "eq", [1]), Condition('a"b', "eq", 1), Condition("n", "gt", None),
     Condition("a..b", "eq", 1), Condition("n", "lt", True)],
    ids=repr,
)  # fmt: skip
def test_a_condition_that_makes_no_sense_is_refused(bench: Bench, condition: Condition) -> None:
    with pytest.raises(BadRequest):
        bench.find(filter=Filter(where=[condition]))


# ── kinds ──


def test_messages_and_episodes_live_as_long_as_their_own_setting_says_and_have_keys_that_tell(bench: Bench) -> None:
    free = bench.someone("default", max_ttl=365 * DAY)
    reply = bench.ask(op.Set(memory=Memory(kind="message", group="talk", text="hello")), b"hello", free)
    entry = reply.body
    assert isinstance(entry, Entry)
    assert entry.ttl_ms == 90 * DAY
    assert entry.key.startswith("message/talk/")


def test_an_update_changes_what_it_gives_and_keeps_the_rest(bench: Bench) -> None:
    remember(bench, "a", "one two", vector=vec(1, 0), group="g", score=0.5, metadata='{"n": 1}')
    bench.ask(op.Update(key="a", memory=Memory(metadata='{"n": 2}')))
    hit = bench.find(vector=vec(1, 0)).hits[0]
    assert (hit.content, hit.group, hit.reward, hit.metadata) == ("one two", "g", 0.5, '{"n": 2}')
    bench.ask(op.Update(key="a", memory=Memory(text="three")))
    assert bench.find("one").keys == []
    assert bench.find("three").keys == ["a"]
    assert bench.find(vector=vec(1, 0)).found.embedded == 0  # the vector was that of another text


@pytest.mark.parametrize("wrong", [Memory(metadata="[1]"), Memory(metadata="{"), Memory(score=math.nan)])
def test_what_cannot_be_remembered_is_refused_and_nothing_is_written(bench: Bench, wrong: Memory) -> None:
    with pytest.raises(BadRequest):
        bench.set("a", b"v", memory=wrong)
    assert bench.keys() == []


def test_memories_survive_export_and_import(bench: Bench) -> None:
    remember(
        bench, "a", "some text", vector=vec(1, 0), group="g", role="user", score=0.5, tags=["t"], metadata='{"n":1}'
    )
    rows = bench.ask(op.Export()).payload
    import msgspec

    other = bench.someone("other")
    [[entry, value, tags, memory]] = msgspec.msgpack.decode(rows)
    row = [entry["key"], entry["type"], entry["ttl_ms"], value, tags, memory]
    bench.ask(op.Import(), msgspec.msgpack.encode([row]), other)
    mine, theirs = bench.find(vector=vec(1, 0)).hits[0], bench.find(vector=vec(1, 0), caller=other).hits[0]
    assert (mine.content, mine.group, mine.role, mine.reward, mine.tags, mine.metadata, mine.similarity) == (
        theirs.content, theirs.group, theirs.role, theirs.reward, theirs.tags, theirs.metadata, theirs.similarity,
    )  # fmt: skip

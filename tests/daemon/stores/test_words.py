"""The keyword index, and the few memories that are not in it yet."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from stash_daemon.stores import schema, words
from stash_daemon.stores.sqlite import SqliteStore
from stash_protocol import operations as op
from stash_protocol.memories import Memory
from tests.support.engine import Bench

COLOURS = ["red", "green", "blue", "grey", "pink"]
MANY = 2 * words.MAX_UNREAD + 7


def remember(bench: Bench, key: str, text: str, **fields: object) -> None:
    bench.set(key, text.encode(), memory=Memory(text_is_value=True), **fields)


def unread(bench: Bench) -> int:
    store = bench.engine.store
    assert isinstance(store, SqliteStore)
    return sum(1 for _ in store._unread(store._worded()))


@pytest.mark.parametrize("count", [1, words.MAX_UNREAD - 1, words.MAX_UNREAD, words.MAX_UNREAD + 1, MANY])
def test_each_memory_is_found_by_its_words_whether_they_are_in_the_index_or_not(count: int) -> None:
    bench = Bench()
    for number in range(count):
        remember(bench, f"k{number}", f"shared word{number} word{number}")
    assert bench.find("shared", k=1000).found.total == count
    for number in (0, count // 2, count - 1):
        assert bench.find(f"word{number}").keys == [f"k{number}"]


def test_few_memories_are_outside_the_index_and_long_texts_count_as_several() -> None:
    bench = Bench(max_value=1 << 20)
    seen = set()
    for number in range(MANY):
        remember(bench, f"k{number}", "short")
        seen.add(unread(bench))
    assert max(seen) < words.MAX_UNREAD
    assert len(seen) > words.MAX_UNREAD // 2
    for number in range(8):
        remember(bench, f"long{number}", "x " * (words.BYTES_OF_ONE * words.MAX_UNREAD // 8))
    assert unread(bench) < 8


def test_a_memory_outside_the_index_is_ranked_as_if_it_were_in_it() -> None:
    texts = [" ".join(random.Random(seed).choices(COLOURS, k=9)) for seed in range(40)]
    outside, inside = Bench(), Bench()
    for number, text in enumerate(texts):
        remember(outside, f"k{number}", text)
        remember(inside, f"k{number}", text)
    for number in range(MANY):
        inside.set(f"filler{number}", memory=Memory(text="unlike"), ttl_ms=1)
    inside.clock.advance(ms=1)
    assert unread(outside) > 0
    for query in ("red", "blue grey", "pink red red green"):
        found = [bench.find(query, k=40, importance_weight=0.0) for bench in (outside, inside)]
        assert [(hit.entry.key, hit.score) for hit in found[0].hits] == [
            (hit.entry.key, hit.score) for hit in found[1].hits
        ]


def test_what_changes_or_goes_before_it_is_in_the_index_leaves_no_words() -> None:
    bench = Bench()
    for key in ("changed", "gone", "plain"):
        remember(bench, key, f"apples {key}")
    bench.ask(op.Update(key="changed", type="text"), b"pears")
    bench.ask(op.Forget(keys=["gone"]))
    bench.set("plain")
    for number in range(2 * MANY):
        assert bench.find("apples").keys == []
        assert bench.find("pears").keys == ["changed"]
        remember(bench, f"k{number}", "something else")
    assert bench.find("changed").keys == []


def test_what_changes_once_it_is_in_the_index_has_its_new_words_only() -> None:
    bench = Bench()
    for number in range(MANY):
        remember(bench, f"k{number}", "apples")
    for number in range(MANY):
        bench.ask(op.Update(key=f"k{number}", type="text"), b"pears")
    assert bench.find("apples").keys == []
    assert bench.find("pears", k=1000).found.total == MANY


def test_an_entry_that_takes_the_place_of_a_deleted_one_is_found_by_its_own_words() -> None:
    bench = Bench()
    for number in range(MANY):
        remember(bench, f"k{number}", "apples")
    bench.ask(op.Forget(keys=[f"k{number}" for number in range(MANY)]))
    for number in range(MANY):
        remember(bench, f"n{number}", "pears")
    assert bench.find("apples").keys == []
    assert bench.find("pears", k=1000).found.total == MANY


def test_a_batch_that_was_undone_leaves_the_index_as_it_was() -> None:
    bench = Bench()
    for number in range(words.MAX_UNREAD - 1):
        remember(bench, f"k{number}", "apples")
    bench.engine.begin()
    for number in range(MANY):
        bench.engine.execute(op.Set(key=f"undone{number}", memory=Memory(text_is_value=True)), b"apples", bench.caller)
    bench.engine.store.rollback()
    assert bench.find("apples", k=1000).found.total == words.MAX_UNREAD - 1
    for number in range(MANY):
        remember(bench, f"n{number}", "apples")
    assert bench.find("apples", k=1000).found.total == words.MAX_UNREAD - 1 + MANY


def test_another_namespaces_words_outside_the_index_are_not_seen() -> None:
    bench = Bench()
    other = bench.someone("other")
    remember(bench, "mine", "apples")
    remember(bench, "theirs", "apples", caller=other)
    assert bench.find("apples").keys == ["mine"]
    assert bench.find("apples", caller=other).keys == ["theirs"]


def test_a_restart_finds_what_was_outside_the_index_and_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    for round_ in range(5):
        bench = Bench(path)
        for number in range(words.MAX_UNREAD // 3):
            remember(bench, f"k{round_}.{number}", "apples")
        assert bench.find("apples", k=1000).found.total == (round_ + 1) * (words.MAX_UNREAD // 3)
        assert unread(bench) < words.MAX_UNREAD
        bench.engine.close()


def test_a_file_from_before_has_all_its_words_in_the_index(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    bench = Bench(path)
    remember(bench, "k", "apples")  # the first of a run goes into the index at once
    assert unread(bench) == 0
    bench.engine.close()
    connection = apsw.Connection(path)
    connection.execute("DELETE FROM meta WHERE name = 'worded'")
    place = next(place for place, sql in enumerate(schema.MIGRATIONS) if "'worded'" in sql)
    connection.execute(f"PRAGMA user_version = {place}")
    connection.close()
    bench = Bench(path)
    assert unread(bench) == 0
    assert bench.find("apples").keys == ["k"]
    bench.engine.close()

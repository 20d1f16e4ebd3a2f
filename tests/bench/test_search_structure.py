"""What makes search fast and can be counted."""

from __future__ import annotations

import os
import random
from array import array

import pytest

from stash_daemon.__main__ import main
from stash_daemon.search import index as index_module
from stash_daemon.stores import memories
from stash_daemon.stores.sqlite import SqliteStore
from stash_protocol.memories import Filter, Memory
from tests.support.engine import Bench


def scattered(bench: Bench, count: int, dimensions: int = 16) -> bytes:
    """So many memories, every twentieth with a tag; a query."""
    chance = random.Random(3)
    for number in range(count):
        vector = array("f", [chance.gauss(0, 1) for _ in range(dimensions)]).tobytes()
        bench.set(f"k{number}", memory=Memory(vector=vector), tags=["rare"] if number % 20 == 0 else [])
    return array("f", [chance.gauss(0, 1) for _ in range(dimensions)]).tobytes()


def test_all_memories_of_a_namespace_are_read_by_their_numbers_and_nothing_is_sorted() -> None:
    store = SqliteStore("")
    for sql, bindings in ((memories.OF_NAMESPACE, (1,)), (f"SELECT {memories.COLUMNS}", ("[1]", 1))):
        plan = " ".join(row[3] for row in store._rows("EXPLAIN QUERY PLAN " + sql, bindings))
        assert "TEMP B-TREE" not in plan
        assert "SCAN m" not in plan
        assert "SCAN v" not in plan
    store.close()


def test_of_few_that_a_filter_lets_through_only_those_are_compared_and_they_rank_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    query = scattered(bench, 400)
    compared: list[int] = []
    similarities = index_module.Block.similarities

    def noting(block: index_module.Block, *given: object) -> object:
        found = similarities(block, *given)  # type: ignore[arg-type]
        compared.append(len(found[0]))
        return found

    monkeypatch.setattr(index_module.Block, "similarities", noting)
    rare = Filter(tags_any=["rare"])
    few = bench.find(vector=query, filter=rare, k=20)
    monkeypatch.setattr(index_module, "FEW", 0)
    every = bench.find(vector=query, filter=rare, k=20)
    assert compared == [20, 400]
    assert few.keys == every.keys
    assert [hit.score for hit in few.hits] == pytest.approx([hit.score for hit in every.hits])
    assert few.found.embedded == every.found.embedded == 20


def test_where_importance_counts_nothing_pages_follow_each_other_and_its_value_is_still_said() -> None:
    bench = Bench()
    query = scattered(bench, 60)
    whole = bench.find(vector=query, importance_weight=0.0, k=30)
    pages = [bench.find(vector=query, importance_weight=0.0, k=10, offset=start) for start in (0, 10, 20)]
    assert whole.keys == [key for page in pages for key in page.keys]
    assert {page.found.total for page in pages} == {60}
    assert [hit.importance for hit in whole.hits] == [hit.importance for page in pages for hit in page.hits]
    assert all(hit.importance > 0 for hit in whole.hits)


def test_a_daemon_multiplies_on_one_thread_and_a_program_that_embeds_stash_as_it_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")  # so that it is put back
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    bench = Bench()
    bench.find(vector=scattered(bench, 1))
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert main(["nonsense"]) == 2  # it is set before anything else, for numpy reads it once
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"

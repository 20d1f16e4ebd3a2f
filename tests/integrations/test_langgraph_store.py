"""LangGraph's store: held against its own `InMemoryStore`, and what only stash promises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from stash_memory import BadRequest, Stash
from stash_memory.integrations.langgraph_store import StashStore

ITEMS: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
    (("users", "ann"), "1", {"n": 1, "lang": "en", "deep": {"x": 1.5}, "text": "likes tea"}),
    (("users", "ann"), "2", {"n": 2, "lang": "de", "deep": {"x": None}, "text": "lives in Kiel"}),
    (("users", "ann", "pets"), "1", {"n": 3, "lang": "en", "text": "a cat"}),
    (("users", "anna"), "ü/1", {"n": 4, "flag": True, "text": "plays chess"}),
    (("docs",), "a", {"n": 5, "long": "x" * 5000, "list": [1, {"y": None}]}),
]
FILTERS: list[dict[str, Any]] = [
    {}, {"lang": "en"}, {"n": {"$gt": 1}}, {"n": {"$gte": 2, "$lt": 4}}, {"n": {"$lte": 2}}, {"lang": {"$ne": "en"}},
    {"lang": {"$eq": "de"}, "n": 2}, {"deep": {"x": 1.5}}, {"flag": True}, {"lang": "fr"},
]  # fmt: skip


def filled(store: BaseStore) -> BaseStore:
    for namespace, key, value in ITEMS:
        store.put(namespace, key, value)
    return store


@pytest.fixture
def both(stash: Stash) -> tuple[BaseStore, BaseStore]:
    return filled(StashStore(stash)), filled(InMemoryStore())


def shown(items: list[Any]) -> list[Any]:
    return sorted(((item.namespace, item.key, item.value) for item in items), key=str)


@pytest.mark.parametrize("namespace", [(), ("users",), ("users", "ann"), ("user",), ("users", "ann", "1")])
def test_a_search_finds_what_their_own_store_finds(both: tuple[BaseStore, BaseStore], namespace: Any) -> None:
    ours, theirs = both
    for wanted in FILTERS:
        found = [shown(store.search(namespace, filter=wanted, limit=50)) for store in both]
        assert found[0] == found[1], wanted
    assert len(ours.search(namespace, limit=2, offset=1)) == len(theirs.search(namespace, limit=2, offset=1))
    assert ours.search(namespace, limit=0) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"prefix": ("users",)}, {"prefix": ("users", "*")}, {"suffix": ("ann",)}, {"suffix": ("*", "pets")},
        {"prefix": ("users",), "suffix": ("pets",)}, {"max_depth": 1}, {"max_depth": 2, "limit": 1, "offset": 1},
        {"prefix": ("user",)},
    ],
    ids=str,
)  # fmt: skip
def test_namespaces_are_listed_as_their_own_store_lists_them(both: tuple[BaseStore, BaseStore], wanted: Any) -> None:
    assert both[0].list_namespaces(**wanted) == both[1].list_namespaces(**wanted)


def test_items_come_back_whole_and_are_deleted(both: tuple[BaseStore, BaseStore]) -> None:
    for store in both:
        for namespace, key, value in ITEMS:
            item = store.get(namespace, key)
            assert item is not None
            assert (item.namespace, item.key, item.value) == (namespace, key, value)
            assert item.created_at <= item.updated_at
        store.delete(("users", "ann"), "1")
        store.delete(("users", "ann"), "1")
        assert store.get(("users", "ann"), "1") is None
        assert len(store.search(("users", "ann"))) == 2


def test_within_a_batch_reads_come_before_writes_and_the_last_write_counts(stash: Stash) -> None:
    ops = [
        PutOp(("a",), "k", {"v": 1}), ListNamespacesOp(), GetOp(("a",), "k"), SearchOp(("a",)),
        PutOp(("a",), "k", {"v": 2}), PutOp(("a",), "gone", {"v": 3}), PutOp(("a",), "gone", None),
    ]  # fmt: skip
    for store in (StashStore(stash), InMemoryStore()):
        assert store.batch(ops) == [None, [], None, [], None, None, None]
        [kept, gone] = asyncio.run(store.abatch([GetOp(("a",), "k"), GetOp(("a",), "gone")]))
        assert kept.value == {"v": 2}  # type: ignore[union-attr]
        assert gone is None


def test_writes_of_a_batch_are_done_all_or_none(stash: Stash) -> None:
    store = StashStore(stash)
    with pytest.raises(BadRequest):
        store.batch([PutOp(("a",), "k", {"v": 1}), PutOp(("a",), "k" * 3000, {"v": 2})])
    assert list(stash.list()) == []
    store.batch([PutOp(("a",), str(number), {"v": number}) for number in range(1001)])
    assert len(store.search(("a",), limit=2000)) == 1001


def test_labels_that_would_not_be_told_apart_are_refused(stash: Stash) -> None:
    for op in (GetOp(("a.b",), "k"), PutOp(("",), "k", {}), SearchOp(("a.b",))):
        with pytest.raises(InvalidNamespaceError):
            StashStore(stash).batch([op])
    store = StashStore(stash)
    store.put(("a/b",), "c", {"v": 1})
    store.put(("a",), "b/c", {"v": 2})
    assert [item.value for item in store.search(("a",))] == [{"v": 2}]


def test_a_ttl_is_minutes_and_a_read_gives_it_again_where_that_is_wanted(stash: Stash) -> None:
    store = StashStore(stash, ttl={"default_ttl": 2, "refresh_on_read": False})
    store.put(("a",), "short", {"v": 1})
    store.put(("a",), "long", {"v": 2}, ttl=60)
    left = {entry.key.rpartition("/")[2]: entry.ttl for entry in stash.list()}
    assert 110 < left["short"] <= 120
    assert 3500 < left["long"] <= 3600

    def ends() -> Any:
        return stash.entry("langgraph/store/a/short").expires_at

    before = ends()
    for _ in range(20):
        store.get(("a",), "short")
        store.search(("a",))
    assert ends() == before
    for read in (lambda: store.get(("a",), "short", refresh_ttl=True), lambda: store.search(("a",), refresh_ttl=True)):
        before = ends()
        for _ in range(1000):
            read()
            if ends() > before:
                break
        assert ends() > before


def test_words_find_what_was_indexed_and_nothing_else(stash: Stash) -> None:
    store = StashStore(stash, index={"dims": 6, "embed": None, "fields": ["text"]})  # type: ignore[typeddict-item]
    filled(store)
    store.put(("users", "ann"), "3", {"text": "likes tea too"}, index=False)
    store.put(("users", "ann"), "4", {"text": "nothing", "notes": [{"t": "tea"}]}, index=["notes[*].t"])
    found = store.search(("users",), query="tea")
    assert {item.key for item in found} == {"1", "4"}
    assert all(item.score is not None and item.score > 0 for item in found)
    assert store.search(("docs",), query="tea") == []
    assert [item.key for item in store.search(("users",), query="tea", filter={"n": 1})] == ["1"]


def test_an_embedder_of_ones_own_ranks_as_their_own_store_ranks(stash: Stash) -> None:
    index: Any = {"dims": 6, "embed": DeterministicFakeEmbedding(size=6), "fields": ["text"]}
    ranked = []
    for store in (StashStore(stash, index=index), InMemoryStore(index=index)):
        filled(store)
        found = store.search(("users",), query="lives in Kiel", limit=4)
        ranked.append([(item.namespace, item.key, pytest.approx(item.score, abs=1e-3)) for item in found])
    assert ranked[0] == ranked[1]
    assert ranked[0][0][:2] == (("users", "ann"), "2")


def test_two_stashes_see_the_same_items_in_one_namespace_of_stash_and_none_in_two(stash: Stash) -> None:
    filled(StashStore(stash))
    with Stash(backend="memory") as other:
        assert StashStore(other).search(()) == []
    assert len(StashStore(stash).search(())) == len(ITEMS)


def test_a_namespace_or_key_that_is_no_utf8_is_refused(stash: Stash) -> None:
    store = StashStore(stash)
    for namespace, key in ((("\udcff",), "k"), (("n",), "\udcff")):
        with pytest.raises(BadRequest, match="UTF-8"):
            store.put(namespace, key, {"n": 1})
        with pytest.raises(BadRequest, match="UTF-8"):
            store.get(namespace, key)

"""LangChain's key-value store and cache: its own conformance suites, and what only stash promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.stores import BaseStore
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from stash_memory import BadRequest, Stash
from stash_memory.integrations.langchain import StashCache, StashStore

Values = tuple[Any, Any, Any]


class OfAStore:
    """What a store is held against."""

    @pytest.fixture
    def kv_store(self, stash: Stash) -> BaseStore[str, Any]:
        return StashStore(stash)

    @pytest.fixture
    def three_values(self) -> Values:
        return b"\x00\xff", "ü", {"a": [1.5, None]}


class OfACache:
    """What a cache is held against."""

    @pytest.fixture
    def cache(self, stash: Stash) -> BaseCache:
        return StashCache(stash)


class TestStore(OfAStore, BaseStoreSyncTests[Any]):
    pass


class TestStoreAwaited(OfAStore, BaseStoreAsyncTests[Any]):
    pass


class TestCache(OfACache, SyncCacheTestSuite):
    pass


class TestCacheAwaited(OfACache, AsyncCacheTestSuite):
    pass


def test_keys_of_a_store_are_its_own_whatever_is_in_them(stash: Stash) -> None:
    ours, others = StashStore(stash, prefix="a/"), StashStore(stash, prefix="a/b/")
    ours.mset([("x/é\n", 1), ("y", 2)])
    others.mset([("x", 3)])
    assert sorted(ours.yield_keys()) == ["b/x", "x/é\n", "y"], "a prefix that ends in / is a whole segment"
    assert list(others.yield_keys()) == ["x"]


def test_values_live_for_the_ttl(stash: Stash) -> None:
    StashStore(stash, ttl="2m").mset([("k", 1)])
    StashCache(stash, ttl="2m").update("prompt", "model", [Generation(text="answer")])
    left = [entry.ttl for entry in stash.list()]
    assert len(left) == 2
    assert all(110 < seconds <= 120 for seconds in left)


def test_an_error_of_one_of_many_is_raised(stash: Stash) -> None:
    store = StashStore(stash)
    with pytest.raises(BadRequest):
        store.mset([("k", 1), ("", 2), ("x" * 3000, 3)])
    assert store.mget(["k"]) == [1]


def test_a_chat_model_is_asked_once(stash: Stash) -> None:
    answers = iter([AIMessage("first", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]), AIMessage("second")])
    model = GenericFakeChatModel(messages=answers, cache=StashCache(stash))
    asked = model.invoke("question")
    again = model.invoke("question")
    assert (again.content, again.tool_calls) == (asked.content, asked.tool_calls)
    assert model.invoke("another question").content == "second"


def test_answers_come_back_as_what_they_were(stash: Stash) -> None:
    cache = StashCache(stash)
    message = AIMessage("hi", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    given = [ChatGeneration(message=message), Generation(text="é", generation_info={"logprobs": [0.5]})]
    cache.update("p" * 100_000, "model", given)
    assert cache.lookup("p" * 100_000, "model") == given
    assert cache.lookup("p" * 100_000, "another model") is None


def test_nothing_but_an_answer_comes_to_life_out_of_a_cache(stash: Stash) -> None:
    cache = StashCache(stash)
    cache.update("prompt", "model", [Generation(text="answer")])
    [entry] = stash.list()
    evil = {"lc": 1, "type": "constructor", "id": ["langchain", "prompts", "prompt", "PromptTemplate"],
            "kwargs": {"template": "x", "input_variables": []}}  # fmt: skip
    stash.set(entry.key, json.dumps([json.dumps(evil)]))
    with pytest.raises(ValueError, match="not allowed"):
        cache.lookup("prompt", "model")


def test_a_prompt_or_key_that_is_no_utf8_is_refused(stash: Stash) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        StashCache(stash).lookup("\udcff", "model")
    with pytest.raises(BadRequest, match="UTF-8"):
        StashStore(stash).mget(["\udcff"])

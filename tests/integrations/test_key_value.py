"""`AsyncKeyValue` of py-key-value-aio: all eight methods, whatever the names and the sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from key_value.aio.errors import DeserializationError, InvalidTTLError, SerializationError
from key_value.aio.protocols import AsyncKeyValue
from key_value.aio.protocols.key_value import AsyncKeyValueProtocol
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

from stash_memory import AsyncStash, BadRequest, TooLarge
from stash_memory.integrations.key_value import StashKeyValue
from tests.support.daemon import RunningDaemon
from tests.support.tenants import issue


@pytest.fixture
def store(async_stash: AsyncStash) -> StashKeyValue:
    return StashKeyValue(async_stash)


async def test_it_is_what_the_protocol_asks_for(store: StashKeyValue) -> None:
    typed: AsyncKeyValue = store
    assert isinstance(typed, AsyncKeyValueProtocol)


async def test_a_key_that_is_no_utf8_is_refused(store: StashKeyValue) -> None:
    for key in ("\udcff", "\udcff" * 3000):
        with pytest.raises(BadRequest, match="UTF-8"):
            await store.get(key)


async def test_what_was_put_is_got_and_deleted_once(store: StashKeyValue) -> None:
    value = {"name": "ü", "list": [1, None, {"deep": 1.5}], "": True}
    await store.put("k", value)
    assert await store.get("k") == value
    assert await store.delete("k")
    assert not await store.delete("k")
    assert await store.get("k") is None
    assert await store.ttl("k") == (None, None)


async def test_many_are_put_got_and_deleted_in_one_go(store: StashKeyValue) -> None:
    keys = [f"k{number}" for number in range(300)]
    await store.put_many(keys, [{"n": number} for number in range(300)], ttl=60)
    assert await store.get_many(["k7", "absent", "k7"]) == [{"n": 7}, None, {"n": 7}]
    [(value, left), nothing] = await store.ttl_many(["k9", "absent"])
    assert (value, nothing) == ({"n": 9}, (None, None))
    assert left is not None
    assert 50 < left <= 60
    assert await store.delete_many([*keys, "absent"]) == 300
    assert await store.get_many([]) == []
    await store.put_many([], [])
    with pytest.raises(ValueError, match="1 keys and 2 values"):
        await store.put_many(["a"], [{}, {}])


async def test_a_ttl_is_seconds_of_any_kind_of_number(async_stash: AsyncStash) -> None:
    store = StashKeyValue(async_stash, ttl="2h")
    for given, expected in ((None, 7200), (0.5, 0.5), (60, 60), (float("30"), 30)):
        await store.put("k", {}, ttl=given)
        _, left = await store.ttl("k")
        assert left is not None
        assert expected - 5 < left <= expected
    wrong: list[Any] = [0, -1, math.nan, True, "soon"]
    for ttl in wrong:
        with pytest.raises(InvalidTTLError):
            await store.put("k", {"new": True}, ttl=ttl)
    with pytest.raises(BadRequest, match="more than"):
        await store.put("k", {"new": True}, ttl=4e7)


async def test_collections_are_told_apart_whatever_their_names(store: StashKeyValue) -> None:
    places = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("", "c"), ("a", ""), ("é", "\x00\n"), ("a", "b%2Fc")]
    for number, (collection, key) in enumerate(places):
        await store.put(key, {"n": number}, collection=collection)
    for number, (collection, key) in enumerate(places):
        assert await store.get(key, collection=collection) == {"n": number}
    assert await store.get("c") == {"n": 3}, "no collection is the default one"


@pytest.mark.parametrize("length", [800, 2_000, 2_048, 5_000])
async def test_keys_and_collections_may_be_longer_than_a_key_of_stash(store: StashKeyValue, length: int) -> None:
    for collection, key in (("c", "k" * length), ("c" * length, "k"), ("c" * length, "é" * length)):
        await store.put(key, {"length": length}, collection=collection)
        await store.put(key + "x", {"other": True}, collection=collection)
        assert await store.get(key, collection=collection) == {"length": length}
        assert await store.delete(key, collection=collection)
        assert await store.get(key + "x", collection=collection) == {"other": True}


async def test_a_value_that_json_cannot_say_is_refused_and_nothing_changes(store: StashKeyValue) -> None:
    await store.put("k", {"old": True})
    wrong: list[Any] = [{"x": object()}, {"x": b"bytes"}, {"x": math.inf}, {1: "number"}]
    for value in wrong:
        with pytest.raises(SerializationError):
            await store.put("k", value)
    assert await store.get("k") == {"old": True}


async def test_a_value_beyond_the_tier_is_an_error_of_many_too(daemon: RunningDaemon) -> None:
    async with AsyncStash(socket=daemon.socket, api_key=issue(daemon, tier="free")) as stash:
        store = StashKeyValue(stash)
        with pytest.raises(TooLarge):
            await store.put_many(["small", "bulky"], [{"x": 1}, {"x": "x" * (2 << 20)}])
        assert await store.get("small") == {"x": 1}


async def test_an_entry_that_somebody_else_wrote_there_is_an_error(store: StashKeyValue) -> None:
    await store._stash.set("key-value/default_collection/k", "text")
    with pytest.raises(DeserializationError):
        await store.get("k")


async def test_their_own_wrappers_go_around_it(store: StashKeyValue) -> None:
    wrapped = PrefixKeysWrapper(key_value=store, prefix="session")
    await wrapped.put("k", {"n": 1}, collection="c", ttl=60)
    assert await wrapped.get("k", collection="c") == {"n": 1}
    assert await store.get("k", collection="c") is None

"""A stash as an `AsyncKeyValue`, the interface that FastMCP and others keep sessions and caches behind.

It needs the extra ``key-value``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, SupportsFloat

from key_value.aio.errors import DeserializationError, InvalidTTLError, SerializationError

from stash_memory.aio import AsyncStash
from stash_memory.collect import AsyncCollector
from stash_memory.results import StoredEntry
from stash_memory.values import Duration, pack_json, seconds, utf8
from stash_protocol.errors import BadRequest, NotFound, StashError
from stash_protocol.types import MAX_KEY_BYTES

DEFAULT_COLLECTION = "default_collection"  # the name py-key-value's own stores give it


class StashKeyValue:
    """The eight methods of `AsyncKeyValue` over a stash.

    Args:
        stash: where to keep the values; None: the user's own daemon.
        ttl: how long what is put without a TTL lives, for everything in a stash has one; None: the tier's default.
        prefix: what the keys of all entries begin with.
    """

    def __init__(
        self, stash: AsyncStash | None = None, *, ttl: Duration | None = None, prefix: str = "key-value/"
    ) -> None:
        self._stash = stash or AsyncStash()
        self._ttl = None if ttl is None else seconds(ttl)
        self._prefix = prefix

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        [value] = await self.get_many([key], collection=collection)
        return value

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[dict[str, Any] | None, float | None]:
        [pair] = await self.ttl_many([key], collection=collection)
        return pair

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        await self.put_many([key], [value], collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        return await self.delete_many([key], collection=collection) > 0

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[dict[str, Any] | None]:
        return [value for value, _ in await self.ttl_many(keys, collection=collection)]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[dict[str, Any] | None, float | None]]:
        pipeline = self._stash.pipeline()
        for key in keys:
            pipeline.entry(self._entry_key(key, collection))
        return [_found(outcome) for outcome in await pipeline.run()]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values were given")
        lifetime = self._lifetime(ttl)
        pipeline = self._stash.pipeline()
        for key, value in zip(keys, values, strict=True):
            pipeline.set(self._entry_key(key, collection), _checked(value), ttl=lifetime)
        await _run(pipeline)

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        return await self._stash.forget([self._entry_key(key, collection) for key in keys])

    def _entry_key(self, key: str, collection: str | None) -> str:
        """The entry's key; only a collection's ``/`` is escaped, for the first one ends it.

        A name too long for a key is replaced by its hash, without a ``/``, so that it cannot meet another.
        """
        place = (collection or DEFAULT_COLLECTION).replace("%", "%25").replace("/", "%2F")
        name = f"{self._prefix}{place}/{key}"
        if len(utf8(name)) <= MAX_KEY_BYTES:
            return name
        return self._prefix + sha256(f"{place}/{key}".encode()).hexdigest()

    def _lifetime(self, ttl: SupportsFloat | None) -> float | None:
        if ttl is None:
            return self._ttl
        try:
            lifetime = float(ttl)
        except (TypeError, ValueError):
            raise InvalidTTLError(ttl) from None
        if isinstance(ttl, bool) or not lifetime > 0:
            raise InvalidTTLError(ttl)
        return lifetime


async def _run(pipeline: AsyncCollector) -> None:
    for outcome in await pipeline.run():
        if isinstance(outcome, StashError):
            raise outcome


def _found(outcome: StoredEntry | StashError) -> tuple[dict[str, Any] | None, float | None]:
    if isinstance(outcome, NotFound):
        return None, None
    if isinstance(outcome, StashError):
        raise outcome
    value = outcome.value
    if not isinstance(value, dict):
        raise DeserializationError(f"the entry {outcome.key!r} holds no JSON object")
    return value, outcome.ttl


def _checked(value: Mapping[str, Any]) -> dict[str, Any]:
    if not all(isinstance(name, str) for name in value):
        raise SerializationError("the names in a value are str")
    try:
        pack_json(dict(value))
    except BadRequest as error:
        raise SerializationError(error.message) from None
    return dict(value)

"""LangChain's key-value store and cache of answers in a stash.

It needs the extra ``langchain``. Their asynchronous methods are LangChain's own, which wait in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.load.dump import dumps
from langchain_core.load.load import Reviver
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
from langchain_core.stores import BaseStore

from stash_memory.collect import Collector
from stash_memory.sync import Stash
from stash_memory.values import Duration, utf8
from stash_protocol.errors import StashError

# What a model's answer consists of. Nothing else comes to life out of a stash, whoever wrote it there.
ANSWERS = (Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk, AIMessage, AIMessageChunk)


class StashStore(BaseStore[str, Any]):
    """Values by key: str, bytes, or anything JSON can say. What LangChain calls a `ByteStore` too.

    Args:
        stash: where to keep the values; None: the user's own daemon.
        ttl: how long each lives; None: the tier's default, an hour.
        prefix: what the keys of all entries begin with.
    """

    def __init__(
        self, stash: Stash | None = None, *, ttl: Duration | None = None, prefix: str = "langchain/store/"
    ) -> None:
        self._stash = stash or Stash()
        self._ttl = ttl
        self._prefix = prefix

    def mget(self, keys: Sequence[str]) -> list[Any | None]:
        pipeline = self._stash.pipeline()
        for key in keys:
            pipeline.get(self._prefix + key)
        return _run(pipeline)

    def mset(self, key_value_pairs: Sequence[tuple[str, Any]]) -> None:
        pipeline = self._stash.pipeline()
        for key, value in key_value_pairs:
            pipeline.set(self._prefix + key, value, ttl=self._ttl)
        _run(pipeline)

    def mdelete(self, keys: Sequence[str]) -> None:
        self._stash.forget([self._prefix + key for key in keys])

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        for entry in self._stash.list(self._prefix + (prefix or "")):
            yield entry.key.removeprefix(self._prefix)


class StashCache(BaseCache):
    """What models have answered, so that they need not be asked again.

    Args:
        stash: where to keep the answers; None: the user's own daemon.
        ttl: how long each lives; None: the tier's default, an hour.
        prefix: what the keys of all entries begin with.
    """

    def __init__(
        self, stash: Stash | None = None, *, ttl: Duration | None = None, prefix: str = "langchain/cache/"
    ) -> None:
        self._stash = stash or Stash()
        self._ttl = ttl
        self._prefix = prefix
        self._revive = Reviver(allowed_objects=ANSWERS)

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        text = self._stash.get(self._key(prompt, llm_string))
        return None if text is None else [json.loads(each, object_hook=self._revive) for each in json.loads(text)]

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        text = json.dumps([dumps(each) for each in return_val])
        self._stash.set(self._key(prompt, llm_string), text, ttl=self._ttl)

    def clear(self, **_kwargs: Any) -> None:
        self._stash.clear(prefix=self._prefix)

    def _key(self, prompt: str, llm_string: str) -> str:
        """A prompt has any length, so its hash stands for it; answers of one model stand together."""
        return self._prefix + "/".join(sha256(utf8(part)).hexdigest() for part in (llm_string, prompt))


def _run(pipeline: Collector) -> list[Any]:
    outcomes = pipeline.run()
    for outcome in outcomes:
        if isinstance(outcome, StashError):
            raise outcome
    return outcomes

"""A user's program; `test_calls` has mypy look at it. Nobody runs it."""

from __future__ import annotations

import datetime as dt
from typing import Any, assert_type

from stash_memory import (
    ApiKey,
    AsyncStash,
    Conflict,
    Conversation,
    Entry,
    Event,
    Imported,
    IssuedApiKey,
    Message,
    Pruned,
    Remaining,
    Stash,
    StashError,
    StoredEntry,
)


def waiting() -> None:
    with Stash(url="tls://host:7437", api_key="sk_x", timeout=5) as stash:
        entry = stash.set("k", {"step": 3}, ttl="30m", tags=["a"])
        assert_type(entry, Entry)
        assert_type(entry.key, str)
        assert_type(entry.expires_at, dt.datetime)
        assert_type(entry.ttl, float)
        assert_type(entry.version, int)
        stash.set(value=b"made", ttl=dt.timedelta(minutes=5))
        step: int = stash.get("k", default={"step": 0}, wait=1.5)["step"]
        assert_type(stash.entry("k"), StoredEntry)
        assert_type(stash.update("k", extend=600), Entry)
        assert_type(stash.extend("k", 600), Remaining)
        assert_type(stash.forget("a", ["b", "c"]), int)
        assert_type(stash.ttl("k"), float)
        assert_type(stash.exists("k"), bool)
        assert_type(stash.incr("n", step), int)
        assert_type(stash.tail("l", 3)[0], Any)
        for each in stash.list(prefix="a/"):
            assert_type(each, Entry)
        for event in stash.watch("a/"):
            assert_type(event, Event)
        assert_type(stash.prune(keep_newest=3), Pruned)
        assert_type(stash.import_(stash.export()), Imported)
        assert_type(stash.api_keys.create("agent", scopes=["read"]), IssuedApiKey)
        assert_type(stash.api_keys.list(), list[ApiKey])
        stash.batch().set("a", 1).incr("n").run()
        try:
            stash.set("k", "v", if_absent=True)
        except Conflict as error:
            assert_type(error.code, str)
        except StashError as error:
            assert_type(error.retry_after, float | None)


def memories() -> None:
    with Stash() as stash:
        assert_type(stash.episodes.add(task_id="t", reward=0.5, state_embedding=[1.0], tags=["a"]), Entry)
        assert_type(stash.episodes.query([1.0], min_reward=0.5, task_id_prefix="t")[0].reward, float | None)
        assert_type(stash.episodes.prune(keep_highest_reward=3), Pruned)
        assert_type(stash.messages.add(conversation_id="c", role="user", content="x"), Entry)
        for message in stash.messages.list("c"):
            assert_type(message, Message)
        for conversation in stash.conversations.list():
            assert_type(conversation, Conversation)


async def awaited() -> None:
    async with AsyncStash(backend="sqlite", path="x.db") as stash:
        assert_type(await stash.set("k", "v"), Entry)
        assert_type((await stash.conversations.stats("c")).tokens, int | None)
        async for each in stash.list():
            assert_type(each, Entry)
        async with await stash.watch() as watch:
            async for event in watch:
                assert_type(event, Event)
        async with stash.pipeline() as pipeline:
            pipeline.get("k").ttl("k")
        assert_type(await stash.api_keys.list(), list[ApiKey])

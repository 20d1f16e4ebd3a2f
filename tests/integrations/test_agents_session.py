"""A session of the OpenAI Agents SDK: its four methods, atomic, under one TTL; and an agent that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner
from agents.items import ModelResponse
from agents.memory import Session, SessionSettings
from agents.models.interface import Model
from agents.usage import Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from stash_memory import AsyncStash, BadRequest, TooLarge
from stash_memory.integrations.agents_session import StashSession


def said(text: str) -> Any:
    return {"role": "user", "content": text}


async def test_it_is_what_the_sdk_asks_for(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash)
    typed: Session = session
    assert isinstance(typed, Session)


async def test_items_are_kept_in_order_and_the_latest_are_given(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash)
    assert await session.get_items() == []
    await session.add_items([])
    assert not await async_stash.exists("session/s")
    await session.add_items([said("a"), said("ü")])
    await session.add_items([said("c")])
    assert await session.get_items() == [said("a"), said("ü"), said("c")]
    assert await session.get_items(limit=2) == [said("ü"), said("c")]
    assert await session.get_items(limit=9) == await session.get_items()
    assert await session.get_items(limit=0) == []
    limited = StashSession("s", async_stash, session_settings=SessionSettings(limit=1))
    assert await limited.get_items() == [said("c")]
    assert await limited.get_items(limit=2) == [said("ü"), said("c")]


async def test_the_latest_item_is_popped_until_there_is_none(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash)
    await session.add_items([said("a"), said("b")])
    assert [await session.pop_item() for _ in range(3)] == [said("b"), said("a"), None]
    await session.add_items([said("c")])
    await session.clear_session()
    await session.clear_session()
    assert await session.get_items() == []
    assert await session.pop_item() is None


async def test_sessions_are_told_apart(async_stash: AsyncStash) -> None:
    for name in ("s", "s/1", "s1", "é"):
        await StashSession(name, async_stash).add_items([said(name)])
    await StashSession("s", async_stash).clear_session()
    for name in ("s/1", "s1", "é"):
        assert await StashSession(name, async_stash).get_items() == [said(name)]


async def test_items_are_added_all_or_none(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash)
    await session.add_items([said("old")])
    wrong: Any = {"x": object()}
    with pytest.raises(BadRequest):
        await session.add_items([said("a"), wrong])
    with pytest.raises(TooLarge):
        await session.add_items([said("a"), said("x" * (5 << 20))])
    assert await session.get_items() == [said("old")]
    await session.add_items([said(str(number)) for number in range(5000)])
    assert len(await session.get_items()) == 5001


async def test_additions_at_the_same_time_are_not_torn_and_none_is_lost(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash)
    await asyncio.gather(*(session.add_items([said(f"{n}?"), said(f"{n}!")]) for n in range(50)))
    texts = [item["content"] for item in await session.get_items()]  # type: ignore[typeddict-item]
    assert sorted(texts[::2]) == sorted(f"{n}?" for n in range(50))
    assert texts[1::2] == [text.replace("?", "!") for text in texts[::2]]


async def test_one_ttl_is_for_all_items_and_an_addition_gives_it_again(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash, ttl="2m")
    await session.add_items([said("a")])
    first = (await async_stash.entry("session/s")).expires_at
    await session.get_items()
    assert (await async_stash.entry("session/s")).expires_at == first, "reading gives no time"
    for _ in range(1000):
        await session.add_items([said("b")])
        if (later := (await async_stash.entry("session/s")).expires_at) > first:
            break
    assert later > first
    assert 110 < await async_stash.ttl("session/s") <= 120


async def test_beyond_the_most_items_the_oldest_go(async_stash: AsyncStash) -> None:
    session = StashSession("s", async_stash, max_items=2)
    await session.add_items([said("a"), said("b"), said("c")])
    assert await session.get_items() == [said("b"), said("c")]


class Counting(Model):
    """A model that answers with how many items it was shown."""

    async def get_response(self, *_: Any, **given: Any) -> ModelResponse:
        text = ResponseOutputText(annotations=[], text=f"I see {len(given['input'])}", type="output_text")
        message = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


async def test_an_agent_sees_what_was_said_before(async_stash: AsyncStash) -> None:
    agent = Agent(name="counter", model=Counting())
    quiet = RunConfig(tracing_disabled=True)
    answers = [
        (await Runner.run(agent, "hi", session=StashSession("talk", async_stash), run_config=quiet)).final_output
        for _ in range(3)
    ]
    assert answers == ["I see 1", "I see 3", "I see 5"]

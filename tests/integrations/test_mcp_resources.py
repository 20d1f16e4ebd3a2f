"""Entries as resources, the prompts, and completion, as the official SDK's own client finds them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from stash_memory import Stash
from tests.support.daemon import RunningDaemon
from tests.support.mcp import within


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with RunningDaemon() as daemon:
        yield daemon


@pytest.fixture
def stash(daemon: RunningDaemon) -> Iterator[Stash]:
    """The stash the server talks to, empty."""
    with Stash(socket=daemon.socket) as stash:
        stash.clear(prefix="")
        yield stash


def test_entries_are_resources(daemon: RunningDaemon, stash: Stash) -> None:
    stored: dict[str, Any] = {"a/b c": "text ü", "json?x=1#y": {"n": [1]}, "ключ": b"\xff\x00", "%2F": "percent"}
    for key, value in stored.items():
        stash.set(key, value)

    async def scenario() -> None:
        async with within(daemon) as client:
            template = (await client.list_resource_templates()).resource_templates[0]
            assert template.uri_template == "stash://entry/{key}"
            listed = {resource.name: resource for resource in (await client.list_resources()).resources}
            assert set(listed) == set(stored)
            contents = {key: (await client.read_resource(listed[key].uri)).contents[0] for key in stored}
            assert contents["a/b c"].text == "text ü"  # type: ignore[union-attr]
            assert json.loads(contents["json?x=1#y"].text) == {"n": [1]}  # type: ignore[union-attr]
            assert base64.b64decode(contents["ключ"].blob) == b"\xff\x00"  # type: ignore[union-attr]
            assert contents["%2F"].text == "percent"  # type: ignore[union-attr]
            mime_types = [contents[key].mime_type for key in stored]
            assert mime_types == ["text/plain", "application/json", "application/octet-stream", "text/plain"]
            plain = await client.read_resource("stash://entry/a/b c")
            assert plain.contents[0].text == "text ü", "hosts that do not escape"  # type: ignore[union-attr]

    asyncio.run(scenario())


@pytest.mark.parametrize("uri", ["stash://entry/nothing", "stash://other/k", "file:///etc/passwd", "stash://entry/"])
def test_a_resource_that_is_not_there_is_said_to_be(daemon: RunningDaemon, stash: Stash, uri: str) -> None:
    async def scenario() -> None:
        async with within(daemon) as client:
            with pytest.raises(MCPError) as problem:
                await client.read_resource(uri)
            assert problem.value.data["uri"] == uri

    asyncio.run(scenario())


def test_many_resources_come_in_pages(daemon: RunningDaemon, stash: Stash) -> None:
    with stash.pipeline() as pipeline:
        for number in range(1001):
            pipeline.set(f"{number:04}", 1)

    async def scenario() -> None:
        async with within(daemon) as client:
            first = await client.list_resources()
            rest = await client.list_resources(cursor=first.next_cursor)
            assert (len(first.resources), len(rest.resources), rest.next_cursor) == (1000, 1, None)

    asyncio.run(scenario())


def test_work_is_handed_over_and_picked_up(daemon: RunningDaemon, stash: Stash) -> None:
    async def scenario() -> None:
        async with within(daemon) as client:
            prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
            assert set(prompts) == {"hand_over", "pick_up"}
            asked = await client.get_prompt("hand_over", {"name": "leak"})
            assert '"handover/leak"' in asked.messages[0].content.text  # type: ignore[union-attr]
            with pytest.raises(MCPError, match="no entry"):
                await client.get_prompt("pick_up", {"name": "leak"})
            await client.call_tool("set", {"key": "handover/leak", "value": "it is in the cache"})
            told_again = await client.get_prompt("pick_up", {"name": "leak"})
            assert told_again.messages[1].content.resource.text == "it is in the cache"  # type: ignore[union-attr]
            for wrong in (("pick_up", {}), ("nothing", {"name": "leak"})):
                with pytest.raises(MCPError, match="hand_over and pick_up"):
                    await client.get_prompt(*wrong)

    asyncio.run(scenario())


def test_keys_and_names_are_completed(daemon: RunningDaemon, stash: Stash) -> None:
    for key in ("build/1", "build/2", "other", "handover/leak", "handover/list"):
        stash.set(key, 1)

    async def scenario() -> None:
        async with within(daemon) as client:
            entry = ResourceTemplateReference(uri="stash://entry/{key}")
            keys = await client.complete(entry, {"name": "key", "value": "build/"})
            assert keys.completion.values == ["build/1", "build/2"]
            names = await client.complete(PromptReference(name="pick_up"), {"name": "name", "value": "le"})
            assert names.completion.values == ["leak"]

    asyncio.run(scenario())

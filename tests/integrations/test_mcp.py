"""`stash mcp`, as the official SDK's own client finds it: over stdio of a real process, a real daemon behind it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from stash_memory import Stash
from stash_memory.tool_table import TOOLS
from stash_memory.tools import Toolbox
from tests.support.daemon import RunningDaemon, eventually
from tests.support.mcp import PATIENCE, START, environment, error, process, told, within
from tests.support.tenants import issue

ERAS = ["auto", "legacy"]  # the newest protocol, and the handshake of all versions before


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


@pytest.mark.parametrize("mode", ERAS)
def test_an_entry_lives_its_life_over_stdio(daemon: RunningDaemon, stash: Stash, mode: str) -> None:
    async def scenario() -> None:
        async with process(daemon.home, mode=mode) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == list(TOOLS)
            first = told(await client.call_tool("set", {"key": "a/plan", "value": {"step": 1}, "ttl": "10m"}))
            assert told(await client.call_tool("get", {"key": "a/plan"}))["value"] == {"step": 1}
            second = told(
                await client.call_tool(
                    "update", {"key": "a/plan", "value": "two", "extend": "10m", "if_version": first["version"]}
                )
            )
            assert 1190 < second["ttl"] <= 1200
            assert told(await client.call_tool("extend", {"key": "a/plan", "by": "10m"}))["ttl"] > 1790
            assert [row["key"] for row in told(await client.call_tool("list", {"prefix": "a/"}))["entries"]] == [
                "a/plan"
            ]
            assert [hit["key"] for hit in told(await client.call_tool("search", {"query": "two"}))["hits"]] == [
                "a/plan"
            ]
            assert told(await client.call_tool("context", {"query": "two"}))["context"] == "two"
            assert stash.get("a/plan") == "two", "another process sees it"
            assert told(await client.call_tool("forget", {"keys": ["a/plan"]})) == {"forgotten": 1}
            missing = error(await client.call_tool("get", {"key": "a/plan"}))
            assert missing["code"] == "not_found"
            assert missing["hint"]

    asyncio.run(scenario())


def test_an_api_key_opens_its_own_namespace_and_no_other(daemon: RunningDaemon, tmp_path: Path) -> None:
    one, other = issue(daemon, "one"), issue(daemon, "other")
    same = tmp_path / "same.key"
    same.write_text(issue(daemon, "one"))

    async def scenario() -> None:
        async with (
            process(daemon.home, STASH_API_KEY=one) as first,
            within(daemon, other) as second,
            process(daemon.home, "--api-key-file", str(same)) as third,
        ):
            await first.call_tool("set", {"key": "shared", "value": "ours"})
            assert told(await third.call_tool("get", {"key": "shared"}))["value"] == "ours"
            foreign = error(await second.call_tool("get", {"key": "shared"}))
            absent = error(await second.call_tool("get", {"key": "absent"}))
            assert {**foreign, "message": foreign["message"].replace("shared", "absent")} == absent
            assert told(await second.call_tool("list"))["entries"] == []
            assert (await second.list_resources()).resources == []

    asyncio.run(scenario())


def test_the_first_call_starts_a_daemon_and_the_end_of_stdin_ends_the_server() -> None:
    home = Path(tempfile.mkdtemp(prefix="st"))
    lines = [
        {"method": "initialize", "id": 1, "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"method": "tools/call", "id": 2, "params": {"name": "set", "arguments": {"key": "k", "value": "v"}}},
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-c", START, "mcp"], env=environment(home), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            assert running.stdin is not None
            assert running.stdout is not None
            for line in lines:
                running.stdin.write(json.dumps({"jsonrpc": "2.0", **line}) + "\n")
            running.stdin.flush()
            replies = [json.loads(running.stdout.readline()) for _ in range(2)]
            assert [reply["id"] for reply in replies] == [1, 2]
            assert replies[0]["result"]["serverInfo"]["name"] == "stash"
            assert "Everything in it expires" in replies[0]["result"]["instructions"]
            assert replies[1]["result"]["structuredContent"]["key"] == "k"
            rest, said = running.communicate(timeout=PATIENCE)
            assert (running.returncode, rest, said) == (0, "", "")
        finally:
            running.kill()
            os.kill(int((home / "daemon.lock").read_text()), signal.SIGTERM)
            eventually(lambda: not (home / "stash.sock").exists())
            eventually(lambda: shutil.rmtree(home, ignore_errors=True) or not home.exists())  # it may still tidy up


CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}}}  # fmt: skip


def test_what_was_asked_before_the_input_ended_is_answered(daemon: RunningDaemon, stash: Stash) -> None:
    store = {"name": "set", "arguments": {"key": "k", "value": "v"}, "_meta": CALL["params"]["_meta"]}
    asked = [CALL, {**CALL, "id": "b", "method": "tools/call", "params": store}]
    done = subprocess.run(
        [sys.executable, "-P", "-c", START, "mcp"], env=environment(daemon.home), text=True, capture_output=True,
        input="".join(json.dumps(each) + "\n" for each in asked), timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    answers = {answer["id"]: answer["result"] for answer in map(json.loads, done.stdout.splitlines())}
    assert len(answers[7]["tools"]) == len(TOOLS)
    assert answers["b"]["structuredContent"]["key"] == "k"
    assert stash.get("k") == "v"


def test_input_may_be_a_file_and_the_output_too(daemon: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "asked").write_text(json.dumps(CALL) + "\n")
    with (tmp_path / "asked").open("rb") as stdin, (tmp_path / "answered").open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-P", "-c", START, "mcp"], env=environment(daemon.home), stdin=stdin, stdout=stdout,
            stderr=subprocess.PIPE, timeout=PATIENCE,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_no_message_is_passed_over_and_a_host_that_does_not_listen_is_no_trouble(daemon: RunningDaemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", START, "mcp"], env=environment(daemon.home),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(b"\xff\xfe\nnonsense\n" + json.dumps(CALL).encode() + b"\n")
            running.stdin.flush()
            answer = json.loads(running.stdout.readline())
            assert (answer["id"], "result" in answer) == (7, True)
            running.stdout.close()
            running.stdin.write((json.dumps(CALL) + "\n").encode() * 3)
            running.stdin.close()
            assert running.wait(PATIENCE) == 0
            assert b"Traceback" not in (running.stderr.read() if running.stderr else b"")
        finally:
            running.kill()


def test_values_larger_than_a_pipe_pass_both_ways(daemon: RunningDaemon, stash: Stash) -> None:
    value = "ü" * (1 << 20)

    async def scenario() -> None:
        async with process(daemon.home) as client:
            calls = [client.call_tool("set", {"key": str(n), "value": value, "searchable": False}) for n in range(4)]
            assert all(told(result)["size"] == 2 << 20 for result in await asyncio.gather(*calls))
            reads = [client.call_tool("get", {"key": str(n), "max_bytes": 2 << 20}) for n in range(4)]
            assert all(told(result)["value"] == value for result in await asyncio.gather(*reads))

    asyncio.run(scenario())


def test_a_daemon_that_is_gone_is_an_error_to_act_on_and_not_the_end() -> None:
    async def scenario(daemon: RunningDaemon) -> None:
        async with process(daemon.home, STASH_AUTOSTART="0") as client:
            await client.call_tool("set", {"key": "k", "value": "v"})
            daemon.stop()
            gone = error(await client.call_tool("get", {"key": "k"}))
            assert gone["code"] == "unreachable"
            assert "stash doctor" in gone["hint"]
            with pytest.raises(MCPError, match="daemon"):
                await client.list_resources()
            daemon.restart()
            assert told(await client.call_tool("get", {"key": "k"}))["value"] == "v"

    with RunningDaemon() as daemon:
        asyncio.run(scenario(daemon))


def test_waiting_for_another_agent_holds_up_nobody(daemon: RunningDaemon, stash: Stash) -> None:
    async def scenario() -> None:
        async with within(daemon) as client:
            waiting = asyncio.create_task(client.call_tool("get", {"key": "answer", "wait": "30s"}))
            assert told(await client.call_tool("list"))["entries"] == []
            stash.set("answer", 42)
            assert told(await waiting)["value"] == 42

    asyncio.run(scenario())


def test_tools_are_annotated_as_they_behave(daemon: RunningDaemon) -> None:
    async def scenario() -> None:
        async with within(daemon) as client:
            hints = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
            assert {name for name, hint in hints.items() if hint and hint.read_only_hint} == {
                "get",
                "list",
                "search",
                "context",
            }
            assert {name for name, hint in hints.items() if hint and hint.destructive_hint} == {
                "set",
                "update",
                "forget",
            }
            assert all(hint and hint.open_world_hint is False for hint in hints.values())

    asyncio.run(scenario())


def test_every_refusal_reaches_the_model(daemon: RunningDaemon, stash: Stash) -> None:
    async def scenario() -> None:
        async with within(daemon) as client:
            assert error(await client.call_tool("set", {"key": "k"}))["code"] == "bad_request"
            assert error(await client.call_tool("get", {"key": "k", "colour": 1}))["code"] == "bad_request"
            assert "there are set" in error(await client.call_tool("fetch", {}))["message"]
            too_long = error(await client.call_tool("set", {"value": 1, "ttl": "9000d"}))
            assert "365d" in too_long["message"]

    asyncio.run(scenario())


def test_limits_are_named_and_what_helps_is_said(daemon: RunningDaemon) -> None:
    reader, hurried = issue(daemon, scopes=["read"]), issue(daemon, tier="free")

    async def scenario() -> None:
        async with within(daemon, reader) as client:
            assert told(await client.call_tool("list"))["entries"] == []
            forbidden = error(await client.call_tool("set", {"key": "k", "value": 1}))
            assert forbidden["code"] == "forbidden"
            assert "tell the user" in forbidden["hint"]
        async with within(daemon, hurried) as client:
            answers = [await client.call_tool("list") for _ in range(12)]
            assert not answers[0].is_error
            limited = error(answers[-1])
            assert limited["code"] == "rate_limited"
            assert 0 < limited["retry_after"] <= 60
            assert "60" in limited["message"]

    asyncio.run(scenario())


def test_agents_of_two_kinds_share_one_namespace_and_nothing_across_two(daemon: RunningDaemon) -> None:
    ours, theirs = issue(daemon, "ours"), issue(daemon, "theirs")

    async def scenario() -> None:
        with Stash(socket=daemon.socket, api_key=ours) as stash:
            toolbox = Toolbox(stash)
            toolbox.call("set", {"key": "finding", "value": "the leak is in the cache"})
            async with within(daemon, ours) as host:
                assert told(await host.call_tool("context", {"query": "leak"}))["keys"] == ["finding"]
                await host.call_tool("set", {"key": "answer", "value": "mended"})
            assert toolbox.call("search", {"query": "mended"})["hits"][0]["key"] == "answer"
            async with within(daemon, theirs) as stranger:
                for tool in ("search", "context", "list"):
                    answer = told(await stranger.call_tool(tool))
                    assert not any(answer.get(name) for name in ("hits", "keys", "entries"))
                    assert "leak" not in json.dumps(answer)
                assert told(await stranger.call_tool("search", {"query": "leak"}))["total"] == 0
                completed = await stranger.complete(
                    ResourceTemplateReference(uri="stash://entry/{key}"), {"name": "key", "value": ""}
                )
                assert completed.completion.values == []
                assert error(await stranger.call_tool("get", {"key": "finding"}))["code"] == "not_found"

    asyncio.run(scenario())

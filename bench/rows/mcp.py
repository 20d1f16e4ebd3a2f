"""A tool call of an MCP host: the SDK's client, the stdio of `stash mcp`, and a daemon behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from bench.contenders import environment
from bench.measure import MILLISECOND, REPEATS, SECOND, Figure, no_collections, percentile
from bench.processes import stash_program
from bench.rows import row
from bench.setting import VALUE, Bench, check

if TYPE_CHECKING:
    from mcp.client.client import Client

Spans = list[list[int]]

TEXT = VALUE.hex()[: len(VALUE)]


@row("mcp", "a tool call over stdio, through `stash mcp`")
def mcp(bench: Bench) -> Iterator[Figure]:
    """Calls of one agent that waits for every answer, both ends of the SDK included."""
    try:
        import mcp.client.client  # noqa: F401
    except ImportError:
        bench.note("mcp is left out: the SDK is not installed")
        return
    with bench.stash() as (daemon, stash):
        started, spans = asyncio.run(_measure(bench, environment(daemon.home)))
        check(stash.get("k"), TEXT)
    for name, each in spans.items():
        p50 = median(percentile(repeat, 0.5) for repeat in each) / MILLISECOND
        p99 = median(percentile(repeat, 0.99) for repeat in each) / MILLISECOND
        yield Figure(name=f"mcp {name} p50", unit="ms", ours=p50, at_most=3.0)
        yield Figure(name=f"mcp {name} p99", unit="ms", ours=p99)
    yield Figure(name="stash mcp, until it answers", unit="s", ours=started / SECOND)


async def _measure(bench: Bench, environ: dict[str, str]) -> tuple[int, dict[str, Spans]]:
    """Nanoseconds until the first answer, and of each call by tool and repeat."""
    from mcp import StdioServerParameters
    from mcp.client.client import Client

    begun = perf_counter_ns()
    with bench.cores.for_server():
        client = Client(StdioServerParameters(command=stash_program(), args=["mcp"], env=environ))
        await client.__aenter__()
    try:
        await client.call_tool("set", {"key": "k", "value": TEXT})
        started = perf_counter_ns() - begun
        calls: dict[str, dict[str, Any]] = {"get": {"key": "k"}, "set": {"key": "k", "value": TEXT}}
        spans: dict[str, Spans] = {name: [] for name in calls}
        with no_collections():
            for _ in range(REPEATS):
                for name, arguments in calls.items():
                    spans[name].append(await _timed(client, name, arguments, bench.size(1_000, 200)))
    finally:
        await client.__aexit__(None, None, None)
    return started, spans


async def _timed(client: Client, name: str, arguments: dict[str, Any], count: int) -> list[int]:
    found = []
    for _ in range(count):
        begun = perf_counter_ns()
        result = await client.call_tool(name, arguments)
        found.append(perf_counter_ns() - begun)
        check(result.is_error, wanted=False)
    return found

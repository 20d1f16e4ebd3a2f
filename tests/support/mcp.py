"""The official SDK's client: of a real `stash mcp` over its stdio, or of a server in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp_types import CallToolResult

from stash_memory import AsyncStash
from stash_memory.integrations.mcp import server
from tests.support.daemon import RunningDaemon

START = "import sys; from stash_cli.main import main; sys.exit(main())"  # what the installed script does
PATIENCE = 30  # seconds


def environment(home: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("STASH_")} | {
        "STASH_HOME": str(home)
    }


@asynccontextmanager
async def process(home: Path, *words: str, mode: str = "auto", **environ: str) -> AsyncIterator[Client]:
    """A client of a `stash mcp` of its own."""
    program = StdioServerParameters(
        command=sys.executable, args=["-P", "-c", START, "mcp", *words], env={**environment(home), **environ}
    )
    async with Client(program, mode=mode, read_timeout_seconds=PATIENCE) as client:
        yield client


@asynccontextmanager
async def within(daemon: RunningDaemon, api_key: str | None = None) -> AsyncIterator[Client]:
    """A client of a server in this process, for what has nothing to do with processes."""
    async with AsyncStash(socket=daemon.socket, api_key=api_key) as stash, Client(server(stash)) as client:
        yield client


def error(result: CallToolResult) -> dict[str, Any]:
    """What a model is told of a call that failed."""
    assert result.is_error
    assert result.structured_content is None
    said: dict[str, Any] = json.loads(result.content[0].text)["error"]  # type: ignore[union-attr]
    return said


def told(result: CallToolResult) -> dict[str, Any]:
    """What a call answered, which must be the same for models and for programs."""
    assert not result.is_error
    answer: dict[str, Any] = result.structured_content
    assert json.loads(result.content[0].text) == answer  # type: ignore[union-attr]
    return answer

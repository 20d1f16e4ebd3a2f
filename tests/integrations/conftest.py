"""One daemon for the tests of a module, and stashes to give to a framework."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from stash_memory import AsyncStash, Stash
from tests.support.daemon import RunningDaemon
from tests.support.tenants import issue


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with RunningDaemon() as daemon:
        yield daemon


@pytest.fixture
def home(_nobodys_stash: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, for what is embedded."""
    monkeypatch.setenv("STASH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(params=["daemon", "memory"])
def stash(request: pytest.FixtureRequest, daemon: RunningDaemon, home: Path) -> Iterator[Stash]:
    """A stash with nothing in it: a namespace of a real daemon's, or this process's own."""
    stash = Stash(backend="memory") if request.param == "memory" else Stash(socket=daemon.socket, api_key=issue(daemon))
    with stash:
        yield stash


@pytest_asyncio.fixture(params=["daemon", "memory"])
async def async_stash(request: pytest.FixtureRequest, daemon: RunningDaemon, home: Path) -> AsyncIterator[AsyncStash]:
    """The same, awaited."""
    memory = request.param == "memory"
    stash = AsyncStash(backend="memory") if memory else AsyncStash(socket=daemon.socket, api_key=issue(daemon))
    async with stash:
        yield stash

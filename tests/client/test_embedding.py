"""The embedder, whichever way the stash is reached: in this process it is there as in the daemon."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stash_memory import AsyncStash, BadRequest, Stash, Timeout
from tests.client import ways
from tests.support import fake_embedders as fakes
from tests.support.daemon import RunningDaemon, eventually
from tests.support.fake_embedders import FakeEmbedder, fake_embedder

WAYS = [f"{mode}-{way}" for mode in ("sync", "async") for way in (*ways.EMBEDDED, "unix")]
SOON = 1.0  # seconds: less than an embedder that hangs is given


@pytest.fixture
def fake() -> Iterator[FakeEmbedder]:
    with fake_embedder() as fake:
        yield fake


def embedded_by(monkeypatch: pytest.MonkeyPatch, kind: str, url: str = "") -> None:
    monkeypatch.setenv("STASH_EMBEDDER", kind)
    if url:
        monkeypatch.setenv("STASH_EMBEDDER_URL", url)


def state(stash: Any, key: str) -> str:
    (hit,) = stash.search(keys=[key])
    return str(hit.embedding_status)


@pytest.fixture(params=WAYS)
def stash(
    request: pytest.FixtureRequest, fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A stash whose embedder is the fake."""
    mode, _, way = request.param.partition("-")
    if way == "unix":
        with (
            RunningDaemon("--embedder", "ollama", "--embedder-url", fake.url) as daemon,
            ways.opened(mode, socket=daemon.socket) as stash,
        ):
            yield stash
        return
    embedded_by(monkeypatch, "ollama", fake.url)
    options = {"backend": "memory"} if way == "memory" else {"backend": "sqlite", "path": tmp_path / "own.db"}
    with ways.opened(mode, **options) as stash:
        yield stash


def test_memories_get_their_vectors_and_are_found_by_meaning(stash: Any) -> None:
    stash.set("tea", "v", text="a cup of tea")
    stash.set("car", "v", text="the car park", wait_embedding=True)
    eventually(lambda: stash.embedding_status().completed == 2)
    found = stash.search("tea cups", k=1)
    assert (found.mode, found.coverage, found[0].key) == ("hybrid", "2 of 2 embedded", "tea")
    status = stash.embedding_status()
    assert (status.embedder, status.dimensions) == ("ollama:nomic-embed-text", fakes.DIMENSIONS)
    assert (status.pending, status.current, status.outdated) == (0, 2, 0)
    assert (status.breaker, status.error) == ("closed", None)


def test_a_set_that_waits_returns_with_the_vector(stash: Any) -> None:
    for number in range(3):
        entry = stash.set(f"k{number}", "v", text=f"text {number}", wait_embedding=True)
        assert entry.embedding_status == "completed"
    assert stash.update("k0", text="another", wait_embedding=True).embedding_status == "completed"
    assert stash.set("v", "a value", embed=True, wait_embedding=True).embedding_status == "completed"
    assert stash.update("v", "another value", wait_embedding=True).embedding_status == "completed"
    assert stash.embedding_status().completed == 4
    assert stash.set("plain", "v", wait_embedding=True).embedding_status == "skipped"


def test_a_set_that_waits_in_vain_has_stored_and_others_are_served_meanwhile(stash: Any, fake: FakeEmbedder) -> None:
    fake.reply = fake.held
    began = time.monotonic()
    with pytest.raises(Timeout, match="'k' is stored"):
        stash.set("k", "v", text="a text", wait_embedding=True, timeout=0.3)
    assert time.monotonic() - began < SOON
    assert (stash.get("k"), state(stash, "k")) == ("v", "pending")
    fake.released.set()
    eventually(lambda: state(stash, "k") == "completed")


def test_what_was_given_up_is_tried_again_when_asked_for(stash: Any, fake: FakeEmbedder) -> None:
    stash.set("well", "v", text="fine", wait_embedding=True)
    fake.reply = fakes.status(400)
    assert stash.set("bad", "v", text="a text", wait_embedding=True).embedding_status == "failed"
    status = stash.embedding_status()
    assert (status.failed, status.completed) == (1, 1)
    assert "400" in status.error
    fake.reply = fakes.well
    assert stash.retry_embedding() == 1
    eventually(lambda: stash.embedding_status().completed == 2)
    assert stash.retry_embedding() == 0


def test_an_embedder_that_hangs_delays_neither_a_write_nor_a_read(
    fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded_by(monkeypatch, "ollama", fake.url)
    fake.reply = fake.held
    with Stash(backend="memory") as stash:
        stash.set("k", "v", text="a text")
        eventually(lambda: fake.calls)
        searching = threading.Thread(target=stash.search, args=("a query",))
        searching.start()
        eventually(lambda: len(fake.calls) == 2)
        began = time.monotonic()
        stash.set("other", "v", text="another text")
        assert stash.get("other") == "v"
        assert time.monotonic() - began < SOON
        fake.released.set()
        searching.join()
        eventually(lambda: stash.embedding_status().completed == 2)


async def test_a_search_that_waits_for_the_embedder_holds_up_no_other_call(
    fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded_by(monkeypatch, "ollama", fake.url)
    fake.reply = fake.held
    async with AsyncStash(backend="memory") as stash:
        searching = asyncio.create_task(stash.search("a query"))
        await asyncio.to_thread(eventually, lambda: fake.calls)
        async with asyncio.timeout(SOON):
            await stash.set("k", "v")
            assert await stash.get("k") == "v"
        assert not searching.done()
        fake.released.set()
        await searching


def test_closing_ends_the_thread_also_while_the_embedder_hangs(
    fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    embedded_by(monkeypatch, "ollama", fake.url)
    fake.reply = fake.held
    path = tmp_path / "own.db"
    with Stash(backend="sqlite", path=path) as stash:
        stash.set("k", "v", text="a text")
        eventually(lambda: fake.calls)
        began = time.monotonic()
    assert time.monotonic() - began < SOON
    assert "stash-embedding" not in {thread.name for thread in threading.enumerate()}
    fake.released.set()
    fake.reply = fakes.well
    with Stash(backend="sqlite", path=path) as stash:
        eventually(lambda: state(stash, "k") == "completed")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_another_embedder_brings_over_what_the_one_before_made(
    mode: str, fake: FakeEmbedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"backend": "sqlite", "path": tmp_path / "own.db"}
    with ways.opened(mode, **options) as stash:
        assert stash.set("early", "v", text="stored without an embedder", wait_embedding=True).embedding_status
        with pytest.raises(BadRequest, match="no embedder"):
            stash.rebuild_embedding()
    embedded_by(monkeypatch, "hash")
    with ways.opened(mode, **options) as stash:
        stash.set("own", "v", text="t", embedding=[1, 2])
        assert stash.set("old", "v", text="some words", wait_embedding=True).embedding_status == "completed"
        assert stash.embedding_status().outdated == 1
    embedded_by(monkeypatch, "ollama", fake.url)
    with ways.opened(mode, **options) as stash:
        assert stash.search("some words").coverage == "0 of 3 embedded"
        assert stash.rebuild_embedding() == 2
        eventually(lambda: stash.embedding_status().pending == 0)
        status = stash.embedding_status()
        assert (status.current, status.outdated, status.completed) == (2, 0, 3)
        assert stash.search("some words").coverage == "2 of 3 embedded"
        assert stash.search(embedding=[1, 2])[0].key == "own"


def test_without_an_embedder_there_is_no_thread_and_nothing_is_loaded(tmp_path: Path) -> None:
    with Stash(backend="sqlite", path=tmp_path / "own.db") as stash:
        assert stash.set("k", "v", text="t", wait_embedding=True).embedding_status == "skipped"
        assert "stash-embedding" not in {thread.name for thread in threading.enumerate()}
        assert stash.embedding_status().embedder is None
    program = "import sys; from stash_memory import Stash; Stash(backend='memory').set('k', 'v'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"stash_daemon.search.backfill", "stash_memory.embedded_queue", "numpy"} & set(out)


def test_an_embedder_that_is_wrongly_set_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    embedded_by(monkeypatch, "ollama", "nowhere")
    with pytest.raises(BadRequest, match="embedder_url"):
        Stash(backend="sqlite", path=tmp_path / "own.db")
    monkeypatch.delenv("STASH_EMBEDDER")
    Stash(backend="sqlite", path=tmp_path / "own.db").close()

"""A stash inside one's own process when the file, the disk or another thread is in its way."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from stash_daemon.store import LOG_PAGES
from stash_memory import AsyncStash, BadRequest, Stash, StorageDamaged, StorageFull


def engine_of(stash: Any) -> Any:
    return stash._transport._engine


def remove(path: Path) -> None:
    """A database, with the log beside it."""
    path.unlink()
    path.with_name(path.name + "-wal").unlink()


def test_a_close_that_fails_closes_all_the_same_and_the_path_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    stash = Stash(backend="sqlite", path=path)
    stash.set("k", "v")
    remove(path)
    with pytest.raises(StorageDamaged):
        stash.close()
    stash.close()
    with pytest.raises(BadRequest, match="closed"):
        stash.get("k")
    with Stash(backend="sqlite", path=path) as again:
        again.set("k", "w")


def test_an_async_close_that_fails_closes_all_the_same(tmp_path: Path) -> None:
    async def use() -> None:
        path = tmp_path / "x.db"
        stash = AsyncStash(backend="sqlite", path=path)
        await stash.set("k", "v")
        remove(path)
        with pytest.raises(StorageDamaged):
            await stash.close()
        await stash.close()
        with pytest.raises(BadRequest, match="closed"):
            await stash.get("k")
        async with AsyncStash(backend="sqlite", path=path) as again:
            await again.set("k", "w")

    asyncio.run(use())


def test_a_long_write_that_is_closed_meanwhile_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nap(_seconds: float) -> None:
        """Between two slices of the clear: now the other thread closes."""
        between.set()
        assert closed.wait(10)

    def clear() -> None:
        try:
            stash.clear(prefix="")
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is looked at
            answers.append(error)

    between, closed = threading.Event(), threading.Event()
    answers: list[BaseException] = []
    stash = Stash(backend="sqlite", path=tmp_path / "x.db")
    with stash.pipeline() as pipeline:
        for number in range(3000):
            pipeline.set(f"k{number}", "v")
    monkeypatch.setattr("stash_memory.embedded.sleep", nap)
    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        assert between.wait(10)
        stash.close()
    finally:
        closed.set()
        clearing.join(10)
    (answer,) = answers
    assert isinstance(answer, BadRequest)
    assert "closed" in answer.message


def test_a_closed_stash_refuses_a_watch(tmp_path: Path) -> None:
    stash = Stash(backend="sqlite", path=tmp_path / "x.db")
    stash.close()
    with pytest.raises(BadRequest, match="closed"):
        stash.watch()


def test_a_write_is_answered_although_the_log_cannot_be_moved(tmp_path: Path) -> None:
    def full(**_: bool) -> int:
        tries.append(engine.store.log_pages)
        raise StorageFull("no room")

    tries: list[int] = []
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        engine = engine_of(stash)
        move, engine.store.checkpoint = engine.store.checkpoint, full
        for number in range(30):
            stash.set("k", bytes(1_000_000 + number))
        assert stash.entry("k").size == 1_000_029
        assert 1 < len(tries) < 10  # not with every write from then on
        engine.store.checkpoint = move
        while engine.store.log_pages > LOG_PAGES:
            stash.set("k", bytes(1_000_000))

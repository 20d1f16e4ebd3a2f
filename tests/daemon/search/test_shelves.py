"""Shelves: what search keeps in memory says what the rows of its snapshot say, whatever happens beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stash_daemon.keys import Caller
from stash_daemon.search import shelves
from stash_daemon.store import Reads
from stash_protocol import operations as op
from stash_protocol.errors import Busy
from stash_protocol.memories import Memory
from tests.support.engine import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(str(tmp_path / "s.db"))
    yield made
    made.engine.close()


def before_the_next_snapshot(bench: Bench, monkeypatch: pytest.MonkeyPatch, happening: Callable[[], object]) -> None:
    store = bench.engine.store
    snapshot = store.snapshot

    @contextmanager
    def late() -> Iterator[Reads]:
        monkeypatch.setattr(store, "snapshot", snapshot)
        happening()
        with snapshot() as reads:
            yield reads

    monkeypatch.setattr(store, "snapshot", late)


def pass_on(bench: Bench, other: Caller) -> None:
    """Let the row of the last entry go to another namespace."""
    bench.ask(op.Forget(keys=["k"]))
    bench.set("foreign", caller=other, memory=Memory(text="secret"))


def test_a_row_that_went_to_another_namespace_while_a_search_began_is_not_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bench.someone("other")
    bench.set("k", memory=Memory(text="mine"))
    assert bench.find().keys == ["k"]
    before_the_next_snapshot(bench, monkeypatch, lambda: pass_on(bench, other))
    found = bench.find()
    assert (found.keys, found.found.total) == ([], 0)
    assert bench.find(caller=other).keys == ["foreign"]


def test_a_row_that_went_to_another_namespace_is_not_found_before_its_commit_returns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other, store = bench.engine, bench.someone("other"), bench.engine.store
    bench.set("k", memory=Memory(text="mine"))
    bench.find()
    rows, seen = store._rows, []  # type: ignore[attr-defined]

    def committed(sql: str, bindings: tuple[object, ...] = ()) -> object:
        done = rows(sql, bindings)
        if sql == "COMMIT":
            seen.append(bench.find().keys)
        return done

    monkeypatch.setattr(store, "_rows", committed)
    engine.begin()
    engine.execute(op.Forget(keys=["k"]), b"", bench.caller)
    engine.execute(op.Set(key="foreign", memory=Memory(text="secret")), b"", other)
    engine.commit()
    assert seen == [[]]


def test_what_changed_is_read_again_after_a_search_that_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set("first")
    bench.find()
    bench.set("k", memory=Memory(text="here"))

    def busy() -> None:
        raise Busy("as it happens")

    before_the_next_snapshot(bench, monkeypatch, busy)
    with pytest.raises(Busy):
        bench.find()
    assert bench.find().keys == ["k"]


def test_writes_that_nobody_searches_for_take_no_memory_without_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MOST_CHANGES", 10)
    bench.set("gone", memory=Memory(text="here"))
    bench.find()
    bench.ask(op.Forget(keys=["gone"]))
    for number in range(20):
        bench.set(f"k{number:02}", memory=Memory(text="here"))
    changed = bench.engine.store.follow(bench.engine.store.namespace("default"), 10)
    assert len(changed) <= 10
    assert sorted(bench.find(k=100).keys) == [f"k{number:02}" for number in range(20)]


def test_a_shelf_in_use_is_not_cleared_away(bench: Bench) -> None:
    store = bench.engine.store
    bench.set("k", memory=Memory(text="mine"))
    bench.set("foreign", caller=bench.someone("other"), memory=Memory(text="secret"))
    small = shelves.Shelves(store, ceiling=0)
    with small.open(store.namespace("default")) as (index, _), small.open(store.namespace("other")):
        pass
    with small.open(store.namespace("default")) as (again, _):
        assert again is index


def test_a_snapshot_is_of_when_it_was_made_not_of_when_it_is_first_read(bench: Bench) -> None:
    bench.set("k", memory=Memory(text="mine"))
    store = bench.engine.store
    with store.snapshot() as reads:
        bench.set("late")
        assert reads.head(reads.namespace("default"), "late") is None

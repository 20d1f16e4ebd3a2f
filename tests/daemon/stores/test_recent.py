"""What was read lately is told again only while it stands, and no other way to change a row goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from stash_daemon.stores.recent import LARGEST, MOST
from stash_daemon.stores.sqlite import SqliteStore
from stash_protocol.errors import NotFound, StashError
from stash_protocol.frames import pack
from stash_protocol.memories import Memory
from stash_protocol.operations import (
    Append,
    Batch,
    Clear,
    Extend,
    Forget,
    Get,
    Incr,
    Pop,
    Prune,
    Request,
    Set,
    Tail,
    Update,
)
from tests.support.engine import Bench

KEYS = ("bytes", "number", "list", "memory")


def filled() -> tuple[Bench, SqliteStore]:
    """An engine whose store has just read each of its rows."""
    bench = Bench()
    bench.ask(Set(key="bytes", ttl_ms=60_000, tags=["t"]), b"v")
    bench.ask(Incr(key="number"))
    bench.ask(Append(key="list", many=True), b"[1,2,3]")
    bench.ask(Set(key="memory", type="text", memory=Memory(text="said once")), b"v")
    for key in KEYS:
        bench.ask(Get(key=key))
    store = bench.engine.store
    assert isinstance(store, SqliteStore)
    assert len(store._recent._rows) == len(KEYS)
    return bench, store


def frame(request: Request, payload: bytes = b"") -> bytes:
    return pack(msgspec.msgpack.encode(request), payload)


WRITES: dict[str, tuple[Request, bytes]] = {
    "set": (Set(key="bytes"), b"other"),
    "set of a memory": (Set(key="memory", memory=Memory(text="said twice")), b"other"),
    "get with touch": (Get(key="bytes", touch=True), b""),
    "update": (Update(key="bytes", type="text"), b"other"),
    "update of the time": (Update(key="bytes", extend_ms=1), b""),
    "update that makes a memory": (Update(key="bytes", memory=Memory(text="said now")), b""),
    "extend": (Extend(key="bytes", by_ms=1), b""),
    "forget": (Forget(keys=["bytes", "memory"]), b""),
    "incr": (Incr(key="number"), b""),
    "append": (Append(key="list"), b"4"),
    "pop": (Pop(key="list"), b""),
    "tail with touch": (Tail(key="list", count=1, touch=True), b""),
    "batch": (Batch(), frame(Get(key="list")) + frame(Set(key="bytes"), b"other") + frame(Get(key="bytes"))),
    "clear": (Clear(prefix=""), b""),
    "prune": (Prune(keep_newest=1), b""),
}


@pytest.mark.parametrize(("request_", "payload"), WRITES.values(), ids=WRITES.keys())
def test_no_operation_changes_a_row_that_is_still_told_as_it_was(request_: Request, payload: bytes) -> None:
    bench, store = filled()
    changed: set[int] = set()

    def note(_kind: int, _database: str, table: str, number: int) -> None:
        if table == "entries":
            changed.add(number)

    store._connection.set_update_hook(note)
    bench.clock.advance(ms=5_000)
    bench.ask(request_, payload)
    assert changed
    store._connection.set_update_hook(None)
    kept = dict(store._recent._rows)
    store._recent.clear()
    for (namespace, key), row in kept.items():
        assert store.find(namespace, key, 0) == row


def test_what_expires_while_it_is_kept_is_not_told() -> None:
    bench, _ = filled()
    bench.clock.advance(ms=59_999)
    bench.ask(Get(key="bytes"))
    bench.clock.advance(ms=1)
    with pytest.raises(NotFound):
        bench.ask(Get(key="bytes"))


def test_a_sweep_that_files_a_row_anew_is_noticed() -> None:
    bench, store = filled()
    bench.ask(Extend(key="bytes", by_ms=60_000))
    bench.ask(Get(key="bytes"))
    bench.clock.advance(ms=60_000)
    bench.engine.begin()
    bench.engine.sweep()
    bench.engine.commit()
    bench.clock.advance(ms=1_000)
    bench.ask(Get(key="bytes", touch=True))
    connection = store._connection
    assert connection.execute("SELECT 1 FROM entries WHERE NOT early AND due != expires").fetchall() == []


def roll_back(bench: Bench) -> None:
    bench.engine.begin()
    bench.engine.execute(Set(key="bytes"), b"never", bench.caller)
    bench.engine.execute(Get(key="bytes"), b"", bench.caller)
    bench.engine.rollback()


def fail_in_a_batch(bench: Bench) -> None:
    with pytest.raises(StashError):
        bench.ask(Batch(), frame(Set(key="bytes"), b"never") + frame(Get(key="bytes")) + frame(Get(key="none")))


@pytest.mark.parametrize("undo", [roll_back, fail_in_a_batch])
def test_what_is_undone_is_not_told(undo: Callable[[Bench], None]) -> None:
    bench, _ = filled()
    undo(bench)
    assert bench.ask(Get(key="bytes")).payload == b"v"


def test_few_and_small_rows_are_kept() -> None:
    bench, store = filled()
    bench.ask(Set(key="large"), bytes(LARGEST + 1))
    bench.ask(Get(key="large"))
    assert len(store._recent._rows) == len(KEYS)
    for number in range(MOST):
        bench.ask(Set(key=f"k{number}"), b"v")
        bench.ask(Get(key=f"k{number}"))
    assert len(store._recent._rows) == len(store._recent._keys) == MOST
    assert bench.ask(Get(key="bytes")).payload == b"v"

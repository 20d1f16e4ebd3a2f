"""What one request may ask of everybody else: its scopes, its memory and its time, alone and in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import msgspec
import pytest

from stash_daemon.engine import batch
from stash_protocol import operations as op
from stash_protocol.errors import BadRequest, Forbidden, OverQuota, TooLarge
from stash_protocol.frames import pack
from tests.support.engine import Bench

packed = msgspec.msgpack.encode


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()


def frames(*requests: tuple[op.Request, bytes]) -> bytes:
    return b"".join(pack(packed(request), payload) for request, payload in requests)


def test_a_batch_does_not_read_for_whoever_may_only_write(bench: Bench) -> None:
    bench.set("k", b"secret")
    writer = bench.someone("default", frozenset({"write"}))
    for request in (op.Get(key="k"), op.Exists(key="k"), op.Ttl(key="k")):
        with pytest.raises(Forbidden, match="read"):
            bench.ask(op.Batch(), frames((request, b"")), writer)


def test_a_payload_nobody_takes_is_refused_in_a_batch_too(bench: Bench) -> None:
    with pytest.raises(BadRequest, match="no payload"):
        bench.ask(op.Batch(), frames((op.Get(key="k"), b"junk")))


@pytest.mark.parametrize("request_", [op.Get(key="é" * 1500), op.Exists(key="é" * 1500), op.Forget(keys=["é" * 1500])])
def test_a_key_of_too_many_bytes_is_refused_by_every_operation(bench: Bench, request_: op.Request) -> None:
    with pytest.raises(BadRequest, match="2,048"):
        bench.ask(request_)
    with pytest.raises(BadRequest, match="2,048"):
        bench.ask(op.Batch(), frames((request_, b"")))


def test_a_batch_does_not_read_more_than_the_daemon_may_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_BULK", 1 << 20)
    bench.set("k", b"x" * (1 << 19))
    three = frames(*[(op.Get(key="k"), b"")] * 3)
    with pytest.raises(TooLarge, match="in parts"):
        bench.ask(op.Batch(), three)
    assert len(bench.ask(op.Batch(), three[: len(three) // 3]).payload) > 1 << 19


def test_a_batch_of_nothing_but_zeros_costs_nothing_to_count(bench: Bench) -> None:
    zeros = bytes(16 << 20)
    began = perf_counter()
    assert bench.engine.weight(op.Batch(), zeros) == 1
    assert perf_counter() - began < 0.1
    with pytest.raises(BadRequest):
        bench.ask(op.Batch(), zeros)


def test_an_import_of_too_many_rows_is_refused_before_they_are_read(bench: Bench) -> None:
    rows = packed([["k", "text", 1, b"", []]] * 500_000)
    began = perf_counter()
    with pytest.raises(BadRequest, match="1000"):
        bench.ask(op.Import(), rows)
    assert perf_counter() - began < 0.1


def test_a_value_that_could_be_set_can_be_imported(bench: Bench) -> None:
    bulky = bench.someone("default", max_value=batch.MAX_BULK + 10, quota=4 * batch.MAX_BULK)
    rows = packed([["k", "bytes", 1000, bytes(batch.MAX_BULK + 10), []]])
    bench.engine.admit(op.Import(), len(rows), bulky)


def test_a_list_has_a_bound_of_its_own(bench: Bench) -> None:
    roomy = bench.someone("default", max_value=64 << 20, quota=256 << 20)
    bench.set("l", b"[" + b"0," * (3 << 20) + b"0]", roomy, type="json")
    with pytest.raises(BadRequest, match="4,194,304"):
        bench.ask(op.Append(key="l"), b"1", roomy)
    with pytest.raises(TooLarge, match="max_len"):
        bench.ask(op.Append(key="m"), b'"' + b"x" * (5 << 20) + b'"', roomy)


def test_a_counter_that_expires_while_it_is_counted_is_either_there_or_new(bench: Bench) -> None:
    """The clock is read once: an answer never says that less than no time is left."""
    bench.ask(op.Incr(key="n", ttl_ms=5))
    clock, moments = bench.clock, iter(range(1, 100))
    start = clock.now()
    bench.engine.clock.now = lambda: start + next(moments)  # type: ignore[method-assign]
    assert bench.ask(op.Incr(key="n")).body.entry.ttl_ms > 0


def test_evictions_of_a_batch_that_fails_are_neither_done_nor_counted(bench: Bench) -> None:
    keen = bench.someone("keen", quota=1000, evict="soonest")
    bench.set("old", b"x" * 900, keen)
    with pytest.raises(OverQuota):
        bench.ask(op.Batch(), frames((op.Set(key="a"), b"x" * 500), (op.Set(key="b"), b"x" * 1001)), keen)
    assert bench.keys(keen) == ["old"]
    assert bench.engine.observer.figures(None)["evicted"] == 0
    bench.set("a", b"x" * 500, keen)
    assert bench.engine.observer.figures(None)["evicted"] == 1

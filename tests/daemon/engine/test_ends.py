"""pop, tail and the list in reverse: the ends of lists and of pages, as the engine means them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from stash_protocol import operations as op
from stash_protocol.errors import BadRequest, Forbidden, NotFound
from tests.support.engine import Bench
from tests.support.tenants import framed

MINUTE = 60_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()


def test_many_items_are_added_to_the_letter_in_one_write(bench: Bench) -> None:
    reply = bench.ask(op.Append(key="l", many=True), b' [1.50, {"a" : 1},[]]')
    assert (reply.body.length, reply.body.entry.version) == (3, 1)
    assert bench.ask(op.Append(key="l", many=True, max_len=3), b"[2,3]").body.entry.version == 2
    assert bench.get("l") == b"[[],2,3]"
    assert bench.ask(op.Append(key="l", many=True), b"[]").body.length == 3


@pytest.mark.parametrize("items", [b"1", b"", b"[1", b'["\xff"]', b"{}", b"[1] 2", b"[" * 100_000])
def test_many_items_that_are_no_json_array_are_refused(bench: Bench, items: bytes) -> None:
    with pytest.raises(BadRequest, match="JSON array"):
        bench.ask(op.Append(key="l", many=True), items)
    assert bench.keys() == []


def test_pop_takes_the_last_item_or_the_first_to_the_letter(bench: Bench) -> None:
    bench.set("l", b'[1.50 , "a",{"x": 1}]', type="json", ttl_ms=MINUTE)
    bench.clock.advance(ms=5)
    last = bench.ask(op.Pop(key="l"))
    assert (last.payload, last.body.length, last.body.entry.version) == (b'{"x": 1}', 2, 2)
    assert bench.ask(op.Pop(key="l", first=True)).payload == b"1.50"
    assert bench.get("l") == b'["a"]'
    assert bench.ask(op.Ttl(key="l")).body.ttl_ms == MINUTE - 5, "a pop gives no time"


def test_a_list_that_was_emptied_stays_and_has_nothing_to_pop(bench: Bench) -> None:
    bench.ask(op.Append(key="l"), b"1")
    bench.ask(op.Pop(key="l"))
    for key in ("l", "absent"):
        with pytest.raises(NotFound):
            bench.ask(op.Pop(key=key))
    assert bench.ask(op.Tail(key="l")).payload == b"[]"
    assert bench.ask(op.Append(key="l"), b"2").body.entry.version == 3


def test_tail_reads_the_last_items_oldest_first(bench: Bench) -> None:
    bench.set("l", b"[1,2 ,3.0]", type="json")
    reply = bench.ask(op.Tail(key="l", count=2))
    assert (reply.payload, reply.body.length, reply.body.entry.version) == (b"[2,3.0]", 3, 1)
    assert bench.ask(op.Tail(key="l", count=9)).payload == b"[1,2,3.0]"


def test_a_tail_renews_only_when_it_touches(bench: Bench) -> None:
    bench.set("l", b"[1]", type="json", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE - 1)
    assert bench.ask(op.Tail(key="l")).body.entry.ttl_ms == 1
    assert bench.ask(op.Tail(key="l", touch=True)).body.entry.ttl_ms == MINUTE
    bench.clock.advance(ms=MINUTE - 1)
    assert bench.ask(op.Tail(key="l")).body.length == 1


def test_whoever_may_only_read_may_read_a_tail_but_not_touch_or_pop(bench: Bench) -> None:
    bench.ask(op.Append(key="l"), b"1")
    reader = bench.someone("default", frozenset({"read"}))
    assert bench.ask(op.Tail(key="l"), b"", reader).payload == b"[1]"
    for request in (op.Tail(key="l", touch=True), op.Pop(key="l")):
        with pytest.raises(Forbidden):
            bench.ask(request, b"", reader)


@pytest.mark.parametrize("request_", [op.Pop(key="l"), op.Tail(key="l")])
def test_pop_and_tail_refuse_what_is_no_list(bench: Bench, request_: op.Request) -> None:
    bench.set("l", b"{}")
    with pytest.raises(BadRequest, match="list"):
        bench.ask(request_)


def test_two_that_pop_in_one_batch_get_two_items_or_none(bench: Bench) -> None:
    bench.set("l", b"[1,2]", type="json")
    pop = (op.Pop(key="l", first=True), b"")
    with pytest.raises(NotFound):
        bench.ask(op.Batch(), framed(pop, pop, pop))
    assert bench.get("l") == b"[1,2]"
    bench.ask(op.Batch(), framed(pop, pop))
    assert bench.get("l") == b"[]"


def test_list_in_reverse_shows_the_last_first_page_by_page(bench: Bench) -> None:
    for key in ("a", "a/1", "a/2", "a/3", "b", "\U0010ffff"):
        bench.set(key)
    bench.set("a/4", ttl_ms=5)
    bench.clock.advance(ms=5)
    assert bench.keys(reverse=True) == ["\U0010ffff", "b", "a/3", "a/2", "a/1", "a"]
    assert bench.keys(prefix="a/", reverse=True) == ["a/3", "a/2", "a/1"]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = bench.ask(op.List(prefix="a/", reverse=True, limit=1, cursor=cursor))
        cursor = reply.body.cursor
        seen += [row["key"] for row in msgspec.msgpack.decode(reply.payload)]
    assert seen == ["a/3", "a/2", "a/1"]

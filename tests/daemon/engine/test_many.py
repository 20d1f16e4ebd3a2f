"""incr, append, list, export, import, clear, prune and batch, as the engine means them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon.settings import DAY, HOUR
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import BadRequest, Conflict, NotFound, OverQuota, StashError, TooLarge
from stash_protocol.frames import HEADER, pack
from tests.support.engine import Bench

MINUTE = 60_000
packed = msgspec.msgpack.encode


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()


# ── counters and lists ──


def test_a_counter_starts_at_zero_and_lives_for_its_ttl(bench: Bench) -> None:
    reply = bench.ask(op.Incr(key="n", by=5, ttl_ms=MINUTE)).body
    assert (reply.number, reply.entry.ttl_ms, bench.get("n")) == (5, MINUTE, b"5")


def test_incr_keeps_the_time_and_the_type_of_what_it_counts_in(bench: Bench) -> None:
    bench.set("n", b"-3", type="text", ttl_ms=MINUTE)
    bench.clock.advance(seconds=1)
    reply = bench.ask(op.Incr(key="n", by=-4, ttl_ms=DAY)).body
    assert (reply.number, reply.entry.ttl_ms, reply.entry.type, reply.entry.version) == (-7, MINUTE - 1000, "text", 2)


@pytest.mark.parametrize("value", [b"", b"-", b"1.5", b"abc", b" 1", b"1_0", b"9" * 30, "٣".encode()])
def test_incr_refuses_what_is_no_counter_and_leaves_it(bench: Bench, value: bytes) -> None:
    bench.set("n", value)
    with pytest.raises(BadRequest, match="counter"):
        bench.ask(op.Incr(key="n"))
    assert bench.get("n") == value


def test_incr_refuses_to_leave_64_bits(bench: Bench) -> None:
    bench.ask(op.Incr(key="n", by=2**63 - 1))
    with pytest.raises(BadRequest, match="64-bit"):
        bench.ask(op.Incr(key="n"))
    assert bench.get("n") == b"9223372036854775807"


def test_an_expired_counter_starts_anew(bench: Bench) -> None:
    bench.ask(op.Incr(key="n", by=5, ttl_ms=MINUTE))
    bench.clock.advance(ms=MINUTE)
    assert bench.ask(op.Incr(key="n")).body.number == 1


def test_append_makes_a_list_and_adds_to_it_keeping_items_to_the_letter(bench: Bench) -> None:
    for item in (b'"a"', b'{"x": 1.50}', b"[1 ,2]", b"12345678901234567890"):
        bench.ask(op.Append(key="l"), item)
    assert bench.get("l") == b'["a",{"x": 1.50},[1 ,2],12345678901234567890]'


def test_append_beyond_max_len_drops_the_oldest(bench: Bench) -> None:
    lengths = [bench.ask(op.Append(key="l", max_len=3), str(n).encode()).body.length for n in range(5)]
    assert lengths == [1, 2, 3, 3, 3]
    assert json.loads(bench.get("l")) == [2, 3, 4]


@pytest.mark.parametrize("value", [b"", b"{}", b"[1", b"7", b"[" * 100_000])
def test_append_refuses_what_is_no_list_and_leaves_it(bench: Bench, value: bytes) -> None:
    bench.set("l", value)
    with pytest.raises(BadRequest, match="list"):
        bench.ask(op.Append(key="l"), b"1")
    assert bench.get("l") == value


@pytest.mark.parametrize("item", [b"", b"x", b"{", b'"\xff"', b"1 2", b"[" * 100_000])
def test_append_refuses_an_item_that_is_no_json(bench: Bench, item: bytes) -> None:
    with pytest.raises(BadRequest, match="JSON"):
        bench.ask(op.Append(key="l"), item)


def test_append_may_not_grow_a_list_over_the_tiers_value_limit(bench: Bench) -> None:
    tiny = bench.someone("default", max_value=10)
    bench.ask(op.Append(key="l"), b'"1234"', tiny)
    with pytest.raises(TooLarge):
        bench.ask(op.Append(key="l"), b'"5678"', tiny)
    assert bench.get("l") == b'["1234"]'


# ── list, export, import ──


def test_list_shows_live_keys_in_order_and_nothing_else(bench: Bench) -> None:
    for key in ("b", "a", "é", "a/1", "Z"):
        bench.set(key)
    bench.set("gone", ttl_ms=5)
    bench.clock.advance(ms=5)
    assert bench.keys() == ["Z", "a", "a/1", "b", "é"]


@pytest.mark.parametrize("prefix", ["a", "a/", "\U0010ffff", "퟿", "", "a\U0010ffff"])
def test_list_by_prefix_shows_exactly_what_starts_with_it(bench: Bench, prefix: str) -> None:
    keys = ["a", "a/", "a/1", "a\U0010ffff", "a\U0010ffffb", "b", "퟿x", "\ue000", "\U0010ffff", "\U0010ffff!"]
    for key in keys:
        bench.set(key)
    assert bench.keys(prefix=prefix) == sorted(key for key in keys if key.startswith(prefix))


def test_list_pages_meet_without_gap_or_overlap(bench: Bench) -> None:
    for n in range(25):
        bench.set(f"k{n:02}", ttl_ms=5 if n % 3 == 0 else HOUR)
    bench.clock.advance(ms=5)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = bench.ask(op.List(limit=4, cursor=cursor))
        seen += [row["key"] for row in msgspec.msgpack.decode(reply.payload)]
        cursor = reply.body.cursor
    assert seen == [f"k{n:02}" for n in range(25) if n % 3]


def test_list_by_tag_shows_what_has_it(bench: Bench) -> None:
    bench.set("a", tags=["x", "y"])
    bench.set("b", tags=["y"])
    bench.set("c")
    assert (bench.keys(tag="x"), bench.keys(tag="y"), bench.keys(tag="z")) == (["a"], ["a", "b"], [])


def test_a_set_replaces_the_tags_and_an_update_keeps_them(bench: Bench) -> None:
    bench.set("a", tags=["x"])
    bench.ask(op.Update(key="a", type="text"), b"new")
    assert bench.keys(tag="x") == ["a"]
    bench.set("a", tags=["y"])
    assert (bench.keys(tag="x"), bench.keys(tag="y")) == ([], ["a"])


def exported(bench: Bench, **fields: Any) -> list[Any]:
    rows: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = bench.ask(op.Export(cursor=cursor, **fields))
        rows += msgspec.msgpack.decode(reply.payload)
        cursor = reply.body.cursor
    return rows


def test_export_and_import_carry_values_types_tags_and_remaining_time(bench: Bench) -> None:
    bench.set("a", b"\x00\xff", ttl_ms=HOUR, tags=["t"])
    bench.set("b", b"1", type="json", ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE // 2)
    rows = [[e["key"], e["type"], e["ttl_ms"], value, tags] for e, value, tags, _ in exported(bench)]
    other = bench.someone("other")
    assert bench.ask(op.Import(), packed(rows), other).body == replies.Imported(2, 0, 0)
    assert bench.get("a", other) == b"\x00\xff"
    assert bench.ask(op.Ttl(key="a"), caller=other).body.ttl_ms == HOUR - MINUTE // 2
    assert bench.keys(other, tag="t") == ["a"]


def test_export_ends_a_page_at_a_mebibyte(bench: Bench) -> None:
    for n in range(5):
        bench.set(f"k{n}", b"x" * 500_000)
    assert msgspec.msgpack.decode(bench.ask(op.Export()).payload)[-1][0]["key"] == "k1"
    assert [entry["key"] for entry, _, _, _ in exported(bench)] == [f"k{n}" for n in range(5)]


def test_import_keeps_what_exists_unless_told_to_replace(bench: Bench) -> None:
    bench.set("a", b"old")
    rows = packed([["a", "text", HOUR, b"new", []]])
    assert bench.ask(op.Import(), rows).body == replies.Imported(0, 1, 0)
    assert bench.get("a") == b"old"
    assert bench.ask(op.Import(replace=True), rows).body == replies.Imported(1, 0, 0)
    assert bench.get("a") == b"new"


def test_import_skips_what_is_over_and_clamps_what_lasts_too_long(bench: Bench) -> None:
    rows = packed([["a", "text", 0, b"1", []], ["b", "text", 30 * DAY, b"2", []]])
    assert bench.ask(op.Import(), rows).body == replies.Imported(1, 1, 1)
    assert bench.ask(op.Ttl(key="b")).body.ttl_ms == DAY


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", packed({}), packed([[1]]), packed([["a", "blob", 1, b"", []]]), packed([["a", "text", 1, "s", []]])],
)
def test_import_refuses_rows_it_cannot_read(bench: Bench, payload: bytes) -> None:
    with pytest.raises(BadRequest):
        bench.ask(op.Import(), payload)


def test_limits_hold_for_imports_too(bench: Bench) -> None:
    small = bench.someone("small", max_value=10, quota=15)
    with pytest.raises(TooLarge):
        bench.ask(op.Import(), packed([["a", "bytes", 1000, b"x" * 11, []]]), small)
    with pytest.raises(OverQuota):
        bench.ask(op.Import(), packed([[k, "bytes", 1000, b"x" * 8, []] for k in "ab"]), bench.someone("q", quota=15))


# ── clear and prune ──


def test_clear_deletes_what_has_the_prefix_and_the_tag(bench: Bench) -> None:
    for n in range(100):
        bench.set(f"a/{n}", tags=["odd"] if n % 2 else [])
    bench.set("b", tags=["odd"])
    assert bench.ask(op.Clear(prefix="a/", tag="odd")).body.forgotten == 50
    assert bench.ask(op.Clear(prefix="a/")).body.forgotten == 50
    assert bench.keys() == ["b"]


def test_clear_without_prefix_and_tag_is_refused(bench: Bench) -> None:
    with pytest.raises(BadRequest):
        bench.ask(op.Clear())


def test_prune_deletes_what_is_expired_and_nothing_else(bench: Bench) -> None:
    for n in range(100):
        bench.set(f"k{n}", ttl_ms=5 if n % 2 else HOUR)
    bench.set("foreign", ttl_ms=5, caller=bench.someone("other"))
    bench.clock.advance(ms=5)
    assert bench.ask(op.Prune(dry_run=True)).body == replies.Pruned(50, 0, 50)
    assert bench.ask(op.Prune()).body == replies.Pruned(50, 0, 50)
    assert bench.ask(op.Prune()).body == replies.Pruned(0, 0, 0)
    assert len(bench.keys()) == 50


def test_prune_older_than_goes_by_the_last_write(bench: Bench) -> None:
    bench.set("old")
    bench.set("renewed")
    bench.clock.advance(ms=MINUTE)
    bench.ask(op.Update(key="renewed", type="text"), b"new")
    bench.set("young")
    dry = bench.ask(op.Prune(older_than_ms=MINUTE // 2, dry_run=True, report=True))
    assert (dry.body.pruned, msgspec.msgpack.decode(dry.payload), len(bench.keys())) == (1, ["old"], 3)
    assert bench.ask(op.Prune(older_than_ms=MINUTE // 2)).body.pruned == 1
    assert bench.keys() == ["renewed", "young"]


@given(writes=st.lists(st.integers(0, 5), max_size=120), keep=st.integers(0, 130), prefix=st.sampled_from(["", "a"]))
def test_prune_keep_newest_keeps_exactly_the_newest(writes: list[int], keep: int, prefix: str) -> None:
    bench = Bench()
    written: list[tuple[int, str]] = []
    for n, pause in enumerate(writes):
        bench.clock.advance(ms=pause)
        key = f"{'ab'[n % 2]}{n:03}"
        bench.set(key)
        written.append((bench.clock.now(), key))
    subject = sorted(key for key in written if key[1].startswith(prefix))
    condemned = {key for _, key in subject[: max(0, len(subject) - keep)]}
    reply = bench.ask(op.Prune(keep_newest=keep, prefix=prefix))
    assert reply.body.pruned == len(condemned)
    assert bench.keys() == sorted({key for _, key in written} - condemned)
    bench.engine.close()


# ── batch ──


def frames(*requests: tuple[op.Request, bytes]) -> bytes:
    return b"".join(pack(packed(request), payload) for request, payload in requests)


def unframed(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    replies = []
    while data:
        envelope, payload = HEADER.unpack_from(data)
        replies.append((msgspec.msgpack.decode(data[8 : 8 + envelope]), data[8 + envelope : 8 + envelope + payload]))
        data = data[8 + envelope + payload :]
    return replies


def test_a_batch_answers_each_of_its_operations_in_order(bench: Bench) -> None:
    lot = frames((op.Set(key="a", id=1), b"x"), (op.Get(key="a", id=2), b""), (op.Incr(key="n", id=3), b""))
    replies = unframed(bench.ask(op.Batch(), lot).payload)
    assert [envelope["id"] for envelope, _ in replies] == [1, 2, 3]
    assert replies[1][1] == b"x"
    assert replies[2][0]["reply"]["number"] == 1


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_batch_counts_as_what_it_holds(bench: Bench, count: int) -> None:
    lot = frames(*[(op.Set(key="a"), b"x" * n) for n in range(count)])
    assert bench.engine.weight(op.Batch(), lot) == max(1, count)
    assert bench.engine.weight(op.Set(key="a"), lot) == 1


@pytest.mark.parametrize("error", [Conflict, NotFound, TooLarge])
def test_a_batch_that_fails_anywhere_has_done_nothing(bench: Bench, error: type[StashError]) -> None:
    bench.set("old", b"1")
    failing: dict[type[StashError], tuple[op.Request, bytes]] = {
        Conflict: (op.Set(key="old", if_absent=True), b"2"),
        NotFound: (op.Extend(key="none", by_ms=5), b""),
        TooLarge: (op.Set(key="big"), b"x" * (2 << 20)),
    }
    told: list[replies.Event] = []
    bench.engine.events.subscribe("default", "", told.append)
    before = bench.engine.store.usage(1, 0)
    lot = frames((op.Set(key="new"), b"x"), (op.Forget(keys=["old"]), b""), failing[error])
    if error is Conflict:
        lot = frames((op.Set(key="new"), b"x"), failing[error])
    with pytest.raises(error, match="operation"):
        bench.ask(op.Batch(), lot)
    assert (bench.keys(), bench.get("old"), told) == (["old"], b"1", [])
    assert bench.engine.store.usage(1, 0) == before


def test_a_batch_that_fails_leaves_no_new_namespace_behind(bench: Bench) -> None:
    fresh = bench.someone("fresh")
    with pytest.raises(NotFound):
        bench.ask(op.Batch(), frames((op.Set(key="a"), b"x"), (op.Extend(key="none", by_ms=5), b"")), fresh)
    bench.set("a", b"1", fresh)
    assert bench.get("a", fresh) == b"1"


@pytest.mark.parametrize(
    "payload",
    [
        b"\0",
        pack(b"\xc1"),
        pack(packed(op.Get(key="a")))[:-1],
        frames((op.Batch(), b"")),
        frames((op.Prune(), b"")),
        b"".join(frames((op.Exists(key="a"), b"")) for _ in range(op.MAX_BATCH + 1)),
    ],
    ids=["head", "msgpack", "cut", "batch in batch", "prune", "too many"],
)
def test_a_batch_of_what_cannot_stand_in_one_is_refused(bench: Bench, payload: bytes) -> None:
    with pytest.raises(BadRequest):
        bench.ask(op.Batch(), payload)


# ── events ──


def test_watchers_hear_of_every_change_under_their_prefix_after_its_commit(bench: Bench) -> None:
    told: list[tuple[str, str]] = []
    stop = bench.engine.events.subscribe("default", "a", lambda event: told.append((event.event, event.key)))
    bench.set("a1", ttl_ms=MINUTE)
    bench.set("b")
    bench.set("a1", caller=bench.someone("other"))
    bench.ask(op.Update(key="a1", type="text"), b"x")
    bench.ask(op.Extend(key="a1", by_ms=5))
    bench.set("a2")
    bench.ask(op.Forget(keys=["a2"]))
    bench.clock.advance(ms=2 * MINUTE)
    bench.sweep()
    stop()
    bench.set("a3")
    assert told == [
        ("set", "a1"), ("update", "a1"), ("extend", "a1"), ("set", "a2"), ("forget", "a2"), ("expire", "a1")
    ]  # fmt: skip


def test_a_turn_that_is_rolled_back_tells_nobody(bench: Bench) -> None:
    told: list[replies.Event] = []
    bench.engine.events.subscribe("default", "", told.append)
    bench.engine.begin()
    bench.engine.execute(op.Set(key="k"), b"v", bench.caller)
    bench.engine.rollback()
    bench.set("other")
    assert [event.key for event in told] == ["other"]
    assert bench.keys() == ["other"]

"""Expiry: at ``expires_at`` an entry is gone for everyone and for good, deleted or not; and not a moment sooner.

In process the clock stands where the test puts it. Over the socket one test waits for real.
`test_expiry_model` looks for histories nobody thought of.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import NotFound, StashError
from stash_protocol.operations import OPERATIONS, Access, Pace, Request
from tests.support.cases import AIMED, HOUR, PREY
from tests.support.daemon import Line, RunningDaemon
from tests.support.engine import Bench
from tests.support.tenants import answer, packed, tenant

ENGINE_OPERATIONS = sorted(
    (row for row in OPERATIONS.values() if row.pace is not Pace.DOOR and row.access is not Access.ADMIN),
    key=lambda row: row.name,
)
PLACES = ["memory", "file"]


@pytest.fixture(params=PLACES)
def bench(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Bench]:
    bench = Bench(f"{tmp_path}/stash.db" if request.param == "file" else "")
    yield bench
    bench.engine.close()


# ── nothing can reach it ──


def heard(bench: Bench, request: Request, payload: bytes) -> list[Any]:
    """The answer as it would cross the wire; the version and the count of what prune swept are not about the entry."""
    caller = bench.someone("default", frozenset({"read", "write"}))
    try:
        reply = bench.ask(copy.copy(request), payload, caller)
    except StashError as error:
        return [error.code, error.message, error.retry_after]
    body, content = msgspec.to_builtins(reply.body), bytes(reply.payload)
    for described in (body, body.get("entry", {})):
        for name in (
            "version",
            "latency_ms",
            *(("expired", "bytes") if isinstance(reply.body, replies.Pruned) else ()),
        ):
            described.pop(name, None)
    if isinstance(request, op.Batch):
        content = b""  # replies with versions
    return [body, content]


@pytest.mark.parametrize("swept", [False, True], ids=["not yet swept", "swept"])
@pytest.mark.parametrize("operation", ENGINE_OPERATIONS, ids=lambda row: row.name)
def test_for_every_operation_an_expired_entry_is_one_that_never_was(operation: op.Operation, swept: bool) -> None:
    for request, payload in AIMED[operation.request]:
        never, expired = Bench(), Bench()
        expired.ask(op.Import(), packed(PREY))
        for bench in (never, expired):
            bench.clock.advance(ms=HOUR)
        if swept:
            expired.sweep()
        assert heard(expired, request, payload) == heard(never, request, payload), request
        assert held(expired) == held(never), f"after {request}"
        for bench in (never, expired):
            bench.engine.close()


def held(bench: Bench) -> Any:
    rows = msgspec.msgpack.decode(bench.ask(op.Export()).payload)
    for entry, *_ in rows:
        del entry["version"]
    return rows


@pytest.mark.parametrize("operation", ENGINE_OPERATIONS, ids=lambda row: row.name)
def test_a_millisecond_before_its_end_an_entry_is_all_there(operation: op.Operation) -> None:
    """The same requests, so that the test above cannot pass by refusing everything."""
    for request, payload in AIMED[operation.request]:
        bench, fresh = Bench(), Bench()
        for each in (bench, fresh):
            each.ask(op.Import(), packed(PREY))
        bench.clock.advance(ms=HOUR - 1)
        bench.sweep()
        old, new = heard(bench, request, payload), heard(fresh, request, payload)
        assert type(old[0]) is type(new[0]), f"{request}: {old}"
        if isinstance(request, op.Get | op.Ttl | op.Exists | op.Forget):
            assert old[1] == new[1]
        for each in (bench, fresh):
            each.engine.close()


@pytest.mark.parametrize(
    "revival",
    [
        op.Get(key="k", touch=True),
        op.Extend(key="k", by_ms=HOUR),
        op.Update(key="k", extend_ms=HOUR),
        op.Update(key="k", type="text", extend_ms=HOUR),
    ],
    ids=lambda request: type(request).__name__,
)
def test_nothing_revives_it(bench: Bench, revival: Request) -> None:
    bench.set("k", ttl_ms=10)
    bench.clock.advance(ms=10)
    with pytest.raises(NotFound):
        bench.ask(copy.copy(revival), b"v" if isinstance(revival, op.Update) and revival.type else b"")
    with pytest.raises(NotFound):
        bench.get("k")


def test_it_is_not_among_what_is_counted_as_alive(bench: Bench) -> None:
    bench.set("k", ttl_ms=10)
    bench.set("k", ttl_ms=11, caller=bench.someone("other"))
    bench.clock.advance(ms=10)
    stats = bench.ask(op.GetStats()).body
    assert isinstance(stats, replies.Stats)
    assert stats.figures["alive"] == {"entries": 1, "bytes": 1, "namespaces": 1}


def test_what_is_written_on_its_key_begins_anew(bench: Bench) -> None:
    bench.set("k", b"old", ttl_ms=10, tags=["old"], type="json")
    bench.set("n", b"41", ttl_ms=10)
    bench.clock.advance(ms=10)
    entry = bench.set("k", b"new", if_absent=True)
    assert (entry.created_at, entry.type, bench.keys(tag="old")) == (bench.clock.now(), "bytes", [])
    number = bench.ask(op.Incr(key="n")).body
    assert isinstance(number, replies.Number)
    assert (number.number, number.entry.created_at) == (1, bench.clock.now())


def test_a_version_of_an_expired_entry_is_never_valid_again(bench: Bench) -> None:
    old = bench.set("k", ttl_ms=10).version
    bench.clock.advance(ms=10)
    bench.sweep()
    assert bench.set("k", b"another").version > old


def test_a_long_list_leaves_out_what_ended_between_two_pages(bench: Bench) -> None:
    for n in range(10):
        bench.set(f"k{n}", ttl_ms=10 if n % 2 else HOUR)
    first = bench.ask(op.List(limit=3)).body
    assert isinstance(first, replies.Page)
    bench.clock.advance(ms=10)
    assert bench.keys(cursor=first.cursor or "") == ["k4", "k6", "k8"]


def test_watchers_are_told_once_of_each_end_and_of_nothing_after_it(bench: Bench) -> None:
    told: list[tuple[str, int]] = []
    bench.engine.events.subscribe("default", "", lambda event: told.append((event.event, event.at)))
    ends = bench.set("k", ttl_ms=10).expires_at
    bench.clock.advance(ms=25)
    with pytest.raises(NotFound):
        bench.ask(op.Extend(key="k", by_ms=HOUR))
    bench.ask(op.Forget(keys=["k"]))
    bench.set("k")
    bench.sweep()
    bench.ask(op.Prune())
    assert told == [("set", ends - 10), ("expire", ends), ("set", ends + 15)]


def test_time_that_passed_while_nobody_ran_counts(tmp_path: Any) -> None:
    first = Bench(f"{tmp_path}/stash.db")
    first.set("short", ttl_ms=10)
    first.set("long", ttl_ms=HOUR)
    first.engine.close()
    second = Bench(f"{tmp_path}/stash.db")
    second.clock.advance(ms=10)
    assert second.keys() == ["long"]
    second.engine.close()


# ── for real ──

TTLS = (150, 180, 210, 240, 300)  # milliseconds
SOON = 100  # milliseconds


@pytest.fixture
def line(daemon: RunningDaemon) -> Iterator[Line]:
    with tenant(daemon) as line:
        yield line


def test_in_real_time_nothing_ends_early_or_late(line: Line) -> None:
    """Each look stands between two pings of the same send, and so the daemon's own clock is the judge."""
    ends = {f"k{ttl}": answer(line, op.Set(key=f"k{ttl}", ttl_ms=ttl), b"v")["expires_at"] for ttl in TTLS}
    seen = dict.fromkeys(ends, 0)
    now = 0
    while now <= max(ends.values()):
        line.send(op.Ping())
        for key in ends:
            line.send(op.Get(key=key))
        line.send(op.Ping())
        earliest = line.read()[0]["reply"]["now"]
        found = {key: "reply" in line.read()[0] for key in ends}
        now = line.read()[0]["reply"]["now"]
        for key, end in ends.items():
            seen[key] += found[key]
            assert found[key] or now >= end, f"{key} vanished {end - now} ms early"
            assert not found[key] or earliest < end, f"{key} was there {earliest - end} ms after its end"
    assert all(seen.values())


def test_in_real_time_watchers_learn_of_an_end_soon_and_never_before_it(daemon: RunningDaemon) -> None:
    late: list[int] = []
    namespace = "watched"
    with tenant(daemon, namespace) as watcher, tenant(daemon, namespace) as writer:
        answer(watcher, op.Watch(prefix="k"))
        ends = {f"k{ttl}": answer(writer, op.Set(key=f"k{ttl}", ttl_ms=ttl), b"v")["expires_at"] for ttl in TTLS}
        while len(late) < len(ends):
            push = watcher.read()[0]["push"]
            now = answer(writer, op.Ping())["now"]
            if push["event"] == "expire":
                assert push["at"] == push["expires_at"] == ends[push["key"]]
                late.append(now - push["at"])
    assert min(late) >= 0
    assert statistics.median(late) <= SOON, late

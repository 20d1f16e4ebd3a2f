"""Expiry, whatever happens: any operations in any order, any moves of the clock, swept or not, on both stores.

`tests.support.model` says what must come out; hypothesis looks for a history after which it does not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stash_daemon.assembly import open_embedded
from stash_daemon.engine import Reply
from stash_daemon.settings import Settings
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import StashError
from stash_protocol.operations import Request
from tests.support.engine import Bench
from tests.support.model import Kept, Model, Refused
from tests.support.tenants import framed, packed

DEFAULT_TTL, MAX_TTL = 30, 60  # milliseconds

KEYS = ("a", "a/1", "a/2", "b", "ü")
keys = st.sampled_from(KEYS)
prefixes = st.sampled_from(["", "a", "a/", "b", "c"])
tags = st.lists(st.sampled_from(["t", "u"]), max_size=2)
maybe_tag = st.sampled_from([None, "t", "u"])
ttls = st.sampled_from([None, 1, 2, 10, 59, MAX_TTL, MAX_TTL + 1])
durations = st.sampled_from([1, 9, 10, 31, MAX_TTL, 1000])
values = st.sampled_from([b"", b"7", b"-2", b"[1]", b"text"])
types: st.SearchStrategy[replies.ValueType] = st.sampled_from(["bytes", "text", "json"])
staleness = st.none() | st.integers(0, 1)  # how far beside the version that was last seen
sets = st.builds(op.Set, key=keys, type=types, ttl_ms=ttls, tags=tags, if_absent=st.booleans())


def outcome(ask: Callable[[], Any]) -> Any:
    """What was answered, or the code of the error."""
    try:
        return ask()
    except (StashError, Refused) as error:
        return error.code


class History(RuleBasedStateMachine):
    """One namespace of an engine, and the model beside it."""

    on_file: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="st")
        self.path = f"{self.directory}/stash.db" if self.on_file else ""
        self.bench = Bench(self.path, default_ttl=DEFAULT_TTL, max_ttl=MAX_TTL)
        self.model = Model(DEFAULT_TTL, MAX_TTL)
        self.told: list[replies.Event] = []
        self.seen: dict[str, int] = {}  # the highest version of each key that was ever seen
        self._listen()

    def teardown(self) -> None:
        self.bench.engine.close()
        shutil.rmtree(self.directory)

    @property
    def now(self) -> int:
        return self.bench.clock.now()

    def _listen(self) -> None:
        self.bench.engine.events.subscribe("default", "", self.told.append)

    def both(self, request: Request, payload: bytes = b"") -> None:
        """Ask the engine and the model, and compare."""
        expected = outcome(lambda: self.model.ask(request, payload, self.now))
        reply = outcome(lambda: self.bench.ask(request, payload))
        if isinstance(reply, Reply):
            self.compare(reply.body, bytes(reply.payload), expected)
        else:
            assert reply == expected, request

    def compare(self, body: Any, value: bytes, expected: Any) -> None:
        match body, expected:
            case replies.Entry(), (Kept() as row, bytes() as content):
                assert value == content
                self.check_entry(body, row)
            case replies.Entry(), Kept():
                self.check_entry(body, expected)
            case replies.Number(), Kept():
                assert body.number == int(expected.value)
                self.check_entry(body.entry, expected)
            case replies.Length(), (Kept() as row, bytes() as content):
                assert value == content
                assert body.length == len(msgspec.json.decode(row.value))
                self.check_entry(body.entry, row)
            case replies.Length(), Kept():
                assert body.length == len(msgspec.json.decode(expected.value))
                self.check_entry(body.entry, expected)
            case replies.Remaining(), Kept():
                assert (body.ttl_ms, body.expires_at) == (expected.expires - self.now, expected.expires)
                self.check_version(body.version, expected)
            case replies.Existence(), bool():
                assert body.exists == expected
            case replies.Forgotten(), int():
                assert body.forgotten == expected
            case replies.Pruned(), (int(), int()):
                assert (body.expired, body.pruned) == expected
            case replies.Done(), None:
                pass  # the parts' replies are what the engine's own tests are about
            case replies.Imported(), (int(), int(), int()):
                assert (body.imported, body.skipped, body.clamped) == expected
            case _:
                raise AssertionError(f"{body} where {expected} was expected")

    def check_entry(self, body: replies.Entry, row: Kept) -> None:
        shown = (body.key, body.type, body.size, body.ttl_ms, body.expires_at, body.created_at, body.updated_at)
        left = row.expires - self.now
        assert shown == (row.key, row.type, len(row.value), left, row.expires, row.created, row.updated)
        self.check_version(body.version, row)

    def check_version(self, version: int, row: Kept) -> None:
        if row.version is None:
            assert version > self.seen.get(row.key, 0), "a version came back"
            row.version = version
        assert version == row.version
        self.seen[row.key] = max(version, self.seen.get(row.key, 0))

    def version(self, key: str | None, stale: int | None) -> int | None:
        return None if stale is None else self.seen.get(key or "", 1) + stale

    # ── time ──

    @initialize(start=st.integers(0, 100))
    def begin(self, start: int) -> None:
        self.bench.clock.advance(ms=start)

    @rule(ms=st.sampled_from([0, 1, 2, 10, 29, 30, 31, 60, 500]))
    def time_passes(self, ms: int) -> None:
        self.bench.clock.advance(ms=ms)

    @precondition(lambda self: self.model.live(self.now))
    @rule(pick=st.integers(0, 9), early=st.sampled_from([0, 1]))
    def an_entry_comes_to_its_end(self, pick: int, early: int) -> None:
        """To the very millisecond, or to the last before it."""
        rows = self.model.live(self.now)
        self.bench.clock.advance(ms=rows[pick % len(rows)].expires - early - self.now)

    @rule()
    def the_sweeper_comes(self) -> None:
        self.bench.sweep()
        self.model.swept(self.now)
        assert (
            Counter((event.key, event.expires_at) for event in self.told if event.event == "expire") == self.model.over
        )

    @precondition(lambda self: self.on_file)
    @rule()
    def the_daemon_starts_again(self) -> None:
        self.bench.engine.close()
        self.bench.engine = open_embedded(Settings(backend="memory"), self.path, clock=self.bench.clock)
        self._listen()

    # ── operations ──

    @rule(request=sets, value=values, stale=staleness)
    def set(self, request: op.Set, value: bytes, stale: int | None) -> None:
        self.both(msgspec.structs.replace(request, if_version=self.version(request.key, stale)), value)

    @rule(key=keys, touch=st.booleans())
    def get(self, key: str, touch: bool) -> None:
        self.both(op.Get(key=key, touch=touch))

    @rule(key=keys, value=values, type_=types, extend=st.none() | durations, stale=staleness)
    def update(self, key: str, value: bytes, type_: replies.ValueType, extend: int | None, stale: int | None) -> None:
        self.both(op.Update(key=key, type=type_, extend_ms=extend, if_version=self.version(key, stale)), value)

    @rule(key=keys, by=durations, through_update=st.booleans())
    def extend(self, key: str, by: int, through_update: bool) -> None:
        self.both(op.Update(key=key, extend_ms=by) if through_update else op.Extend(key=key, by_ms=by))

    @rule(some=st.lists(keys, min_size=1, max_size=3))
    def forget(self, some: list[str]) -> None:
        self.both(op.Forget(keys=some))

    @rule(key=keys)
    def ttl_and_exists(self, key: str) -> None:
        self.both(op.Ttl(key=key))
        self.both(op.Exists(key=key))

    @rule(key=keys, by=st.integers(-9, 9), ttl=ttls)
    def incr(self, key: str, by: int, ttl: int | None) -> None:
        self.both(op.Incr(key=key, by=by, ttl_ms=ttl))

    @rule(key=keys, item=st.sampled_from([b"1", b'"x"', b"[]"]), most=st.none() | st.integers(1, 3), ttl=ttls)
    def append(self, key: str, item: bytes, most: int | None, ttl: int | None) -> None:
        self.both(op.Append(key=key, max_len=most, ttl_ms=ttl), item)
        self.both(op.Append(key=key, many=True, max_len=most), b"[%s,%s]" % (item, item))

    @rule(key=keys, first=st.booleans(), count=st.integers(1, 3), touch=st.booleans())
    def pop_and_tail(self, key: str, first: bool, count: int, touch: bool) -> None:
        self.both(op.Tail(key=key, count=count, touch=touch))
        self.both(op.Pop(key=key, first=first))

    @rule(prefix=prefixes, tag=maybe_tag)
    def clear(self, prefix: str, tag: str | None) -> None:
        self.both(op.Clear(prefix=prefix, tag=tag))

    @rule(older=st.none() | durations, newest=st.none() | st.integers(0, 4), prefix=prefixes, tag=maybe_tag)
    def prune(self, older: int | None, newest: int | None, prefix: str, tag: str | None) -> None:
        self.both(op.Prune(older_than_ms=older, keep_newest=newest, prefix=prefix, tag=tag))

    @rule(rows=st.lists(st.tuples(keys, types, st.integers(-1, 90), values, tags), max_size=4), replace=st.booleans())
    def import_(self, rows: list[Any], replace: bool) -> None:
        self.both(op.Import(replace=replace), packed(rows))
        self.learn_versions()

    @rule(first=keys, second=keys, third=keys)
    def batch(self, first: str, second: str, third: str) -> None:
        """All of it, or nothing."""
        parts = (op.Set(key=first), b"7"), (op.Extend(key=second, by_ms=5), b""), (op.Incr(key=third), b"")
        self.both(op.Batch(), framed(*parts))
        self.learn_versions()

    def learn_versions(self) -> None:
        """Of entries that were written where no reply names their version."""
        for row in self.model.live(self.now):
            body = self.bench.ask(op.Ttl(key=row.key)).body
            assert isinstance(body, replies.Remaining)
            self.check_version(body.version, row)

    # ── what always holds ──

    @invariant()
    def nothing_that_is_over_can_be_seen_and_nothing_else_is_missing(self) -> None:
        live = self.model.live(self.now)
        exported = msgspec.msgpack.decode(self.bench.ask(op.Export()).payload)
        assert [(entry["key"], value, sorted(tags), entry["ttl_ms"]) for entry, value, tags, _ in exported] == [
            (row.key, row.value, row.tags, row.expires - self.now) for row in live
        ]
        for prefix, tag in (("", None), ("a", None), ("", "t")):
            assert self.bench.keys(prefix=prefix, tag=tag) == [
                row.key for row in self.model.live(self.now, prefix, tag)
            ]
        status, stats = self.bench.ask(op.GetStatus()).body, self.bench.ask(op.GetStats()).body
        assert isinstance(status, replies.Status)
        assert isinstance(stats, replies.Stats)
        counted = (len(live), sum(len(row.value) for row in live))
        assert (status.entries, status.bytes) == (stats.entries, stats.bytes) == counted

    @invariant()
    def watchers_are_told_what_happened_and_of_no_end_too_soon(self) -> None:
        assert [(event.event, event.key) for event in self.told if event.event != "expire"] == self.model.told
        for event in self.told:
            if event.event == "expire":
                assert event.at == event.expires_at <= self.now


class HistoryOnFile(History):
    on_file = True


TestInMemory = History.TestCase
TestInMemory.settings = settings(max_examples=200, stateful_step_count=40)
TestOnFile = HistoryOnFile.TestCase
TestOnFile.settings = settings(max_examples=60, stateful_step_count=40)

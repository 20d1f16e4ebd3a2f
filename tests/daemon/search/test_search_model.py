"""Search, whatever happens: it finds exactly what an export shows, after any history, in either of two namespaces."""

from __future__ import annotations

import math
import shutil
import tempfile
from array import array
from typing import Any, ClassVar, NamedTuple

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stash_daemon.keys import Caller
from stash_protocol import operations as op
from stash_protocol.errors import StashError
from stash_protocol.memories import Filter, Memory
from stash_protocol.operations import Request
from stash_protocol.replies import Entry
from tests.support.engine import Bench

WORDS = ("red", "green", "blue")
VECTORS = tuple(array("f", numbers).tobytes() for numbers in ((1, 0), (0, 1), (-1, 0.5), (0.6, 0.8)))
EMBEDDER = "embedder"

keys = st.sampled_from(("a", "b"))
who = st.integers(0, 1)
texts = st.none() | st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
memories = st.builds(
    Memory,
    text=texts,
    vector=st.none() | st.sampled_from(VECTORS),
    group=st.sampled_from((None, "g", "h")),
    text_is_value=st.booleans(),
)
values = st.sampled_from(WORDS).map(str.encode)
ttls = st.sampled_from((5, 1_000))
requests = st.one_of(
    st.builds(op.Set, key=keys, ttl_ms=ttls, tags=st.lists(st.sampled_from("tu"), max_size=2), memory=memories),
    st.builds(op.Set, key=keys, ttl_ms=ttls, tags=st.lists(st.sampled_from("tu"), max_size=2), memory=memories),
    st.builds(op.Set, key=keys, ttl_ms=ttls),
    st.builds(op.Update, key=keys, type=st.just("text"), memory=st.none() | memories),
    st.builds(op.Extend, key=keys, by_ms=ttls),
    st.builds(op.Forget, keys=st.lists(keys, min_size=1, max_size=2)),
)
CARRY_VALUES = (op.Set, op.Update)


class Shown(NamedTuple):
    """One memory of an export."""

    key: str
    text: str
    tags: list[str]
    memory: Memory


class Rows(msgspec.Struct, array_like=True):
    """One row of an export."""

    entry: Entry
    value: bytes
    tags: list[str]
    memory: Memory | None


_rows = msgspec.msgpack.Decoder(list[Rows]).decode


class History(RuleBasedStateMachine):
    """Two namespaces of one engine."""

    on_file: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="st")
        self.bench = Bench(self.directory + "/s.db" if self.on_file else "")
        self.callers = [self.bench.someone("one"), self.bench.someone("two")]

    def teardown(self) -> None:
        self.bench.engine.close()
        shutil.rmtree(self.directory)

    # ── what happens ──

    def _write(self, turn: list[tuple[int, Request, bytes]], *, stays: bool) -> None:
        engine = self.bench.engine
        engine.begin()
        for caller, request, value in turn:
            try:
                engine.execute(request, value if isinstance(request, CARRY_VALUES) else b"", self.callers[caller])
            except StashError:
                continue
        if stays:
            engine.commit()
        else:
            engine.rollback()

    @rule(turn=st.lists(st.tuples(who, requests, values), min_size=1, max_size=3), stays=st.sampled_from((1, 1, 1, 0)))
    def write(self, turn: list[tuple[int, Request, bytes]], stays: int) -> None:
        self._write(turn, stays=bool(stays))

    @rule(caller=who, key=keys)
    def extend_what_is_about_to_expire(self, caller: int, key: str) -> None:
        set_, extend = op.Set(key=key, ttl_ms=5, memory=Memory(text="red")), op.Extend(key=key, by_ms=1_000)
        self._write([(caller, set_, b"v")], stays=True)
        self.search_finds_what_an_export_shows()
        self._write([(caller, extend, b"")], stays=True)

    @rule(ms=st.sampled_from((1, 5)))
    def pass_time(self, ms: int) -> None:
        self.bench.clock.advance(ms=ms)

    @rule()
    def sweep(self) -> None:
        self.bench.sweep()

    @rule(caller=who, key=keys, back=st.booleans())
    def archive(self, caller: int, key: str, back: bool) -> None:
        store, engine = self.bench.engine.store, self.bench.engine
        namespace = store.namespace(self.callers[caller].namespace)
        head = store.head(namespace, key)
        if head is not None and store.memory(head.id) is not None:
            engine.begin()
            store.archive(namespace, head.id, None if back else 1)
            engine.commit()

    @rule(vector=st.sampled_from(VECTORS))
    def embed(self, vector: bytes) -> None:
        engine = self.bench.engine
        engine.begin()
        for row in engine.store.pending(self.bench.clock.now(), 10, least=0):
            engine.store.embedded(row, EMBEDDER, vector)
        engine.commit()

    @rule(caller=who, key=keys)
    def put_into_the_queue(self, caller: int, key: str) -> None:
        engine, store, now = self.bench.engine, self.bench.engine.store, self.bench.clock.now()
        namespace = store.namespace(self.callers[caller].namespace)
        head = store.head(namespace, key)
        memory = store.memory(head.id) if head is not None else None
        engine.begin()
        if head is not None and memory is not None:
            store.requeue(namespace, head.id, memory.state, now)
        engine.commit()

    # ── what must hold ──

    def _export(self, caller: Caller) -> list[Shown]:
        rows = _rows(self.bench.ask(op.Export(), caller=caller).payload)
        return [
            Shown(
                row.entry.key,
                row.value.decode() if row.memory.text_is_value else row.memory.text or "",
                row.tags,
                row.memory,
            )
            for row in rows
            if row.memory is not None
        ]

    def _keys(self, caller: Caller, query: str | None = None, **fields: Any) -> list[str]:
        archived = fields.pop("filter", Filter())
        archived.archived = True
        return self.bench.find(query, caller=caller, k=100, filter=archived, importance_weight=0.0, **fields).keys

    @invariant()
    def search_finds_what_an_export_shows(self) -> None:
        for caller in self.callers:
            shown = self._export(caller)
            assert sorted(self._keys(caller)) == sorted(one.key for one in shown)
            for word in WORDS:
                expected = {one.key for one in shown if word in one.text.split()}
                assert set(self._keys(caller, word, mode="keyword")) == expected
            for tag in "tu":
                expected = {one.key for one in shown if tag in one.tags}
                assert set(self._keys(caller, filter=Filter(tags_any=[tag]))) == expected
            expected = {one.key for one in shown if one.memory.group == "g"}
            assert set(self._keys(caller, filter=Filter(group="g"))) == expected

    @invariant()
    def the_nearest_come_first(self) -> None:
        for caller in self.callers:
            shown = {one.key: one for one in self._export(caller)}
            for model in ("own", EMBEDDER):
                near = {
                    key: cosine(one.memory.vector, VECTORS[0])
                    for key, one in shown.items()
                    if one.memory.vector is not None and one.memory.model == model
                }
                found = self._keys(caller, vector=VECTORS[0], model=model)
                assert sorted(found) == sorted(near)
                assert [round(near[key], 5) for key in found] == sorted(
                    (round(x, 5) for x in near.values()), reverse=True
                )

    @invariant()
    def bytes_are_those_of_the_rows(self) -> None:
        store, now = self.bench.engine.store, self.bench.clock.now()
        for caller in self.callers:
            namespace = store.namespace(caller.namespace)
            heads, _ = store.page(namespace, "", "", 100, now=now)
            assert store.usage(namespace, now).bytes == sum(head.size + store.memory_bytes(head.id) for head in heads)


def cosine(one: bytes, other: bytes) -> float:
    a, b = memoryview(one).cast("f"), memoryview(other).cast("f")
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


class HistoryOnFile(History):
    on_file = True


TestInMemory = History.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestOnFile = HistoryOnFile.TestCase
TestOnFile.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

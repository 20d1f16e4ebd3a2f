"""Every operation, aimed at entries that the caller must not be able to reach: another's, or expired ones.

`AIMED` has a row for each operation; the tests that go through `OPERATIONS` name the one that is missing.
"""

from __future__ import annotations

from typing import Any

from stash_protocol import operations as op
from stash_protocol.memories import Condition, Filter
from stash_protocol.operations import Request
from tests.support.tenants import framed, packed

HOUR = 3_600_000  # milliseconds
API_KEY_NAME = "prey"  # of an API key that exists beside the entries

VECTOR = bytes([0, 0, 128, 63, 0, 0, 0, 0])  # (1, 0) as float32

PREY: list[list[Any]] = [
    ["k", "json", HOUR, b"7", ["t"]],
    ["k/1", "text", HOUR, b"one", []],
    ["k/2", "bytes", HOUR, b"\x00\xff", ["t", "u"]],
    ["l", "json", HOUR, b"[1]", []],
    ["m", "text", HOUR, b"words to find", ["t"], {"text_is_value": True, "vector": VECTOR, "group": "g", "score": 1.0}],
    [
        "message/c/1",
        "text",
        HOUR,
        b"hello",
        [],
        {"kind": "message", "text_is_value": True, "group": "c", "role": "user"},
    ],
    ["conversation/c", "json", HOUR, b'{"title": "t"}', []],
]
"""The entries, as the rows of an import: a counter, values under a prefix, a list, memories; tagged and not."""

Case = tuple[Request, bytes]

AIMED: dict[type[Request], list[Case]] = {
    op.Hello: [(op.Hello(version=1), b"")],
    op.Ping: [(op.Ping(), b"")],
    op.Ready: [(op.Ready(), b"")],
    op.Checkpoint: [(op.Checkpoint(), b"")],
    op.GetStatus: [(op.GetStatus(), b"")],
    op.Get: [
        (op.Get(key="k"), b""),
        (op.Get(key="k", touch=True), b""),
        (op.Get(key="k", wait_ms=5), b""),
        (op.Get(key="k/1"), b""),
    ],
    op.Ttl: [(op.Ttl(key="k"), b"")],
    op.Exists: [(op.Exists(key="k"), b""), (op.Exists(key="l"), b"")],
    op.List: [
        (op.List(), b""),
        (op.List(prefix="k"), b""),
        (op.List(tag="t"), b""),
        (op.List(limit=1), b""),
        (op.List(reverse=True, cursor="k/2"), b""),
        (op.List(cursor="k"), b""),
    ],
    op.Search: [
        (op.Search(), b""),
        (op.Search(query="words"), b""),
        (op.Search(vector=VECTOR, explain=True), b""),
        (op.Search(like="m", whole=True), b""),
        (op.Search(filter=Filter(tags_any=["t"], group="g", min_score=0.5, archived=True)), b""),
        (op.Search(filter=Filter(keys=["m"], prefix="m", where=[Condition("score", "gte", 0.5)])), b""),
    ],
    op.Conversations: [
        (op.Conversations(), b""),
        (op.Conversations(group="c", tokens=True, archived=True), b""),
        (op.Conversations(prefix="c", limit=1, offset=1), b""),
    ],
    op.Export: [(op.Export(), b""), (op.Export(prefix="k/", cursor="k/1"), b"")],
    op.GetStats: [(op.GetStats(), b""), (op.GetStats(prometheus=True), b""), (op.GetStats(analytics=True), b"")],
    op.Extend: [(op.Extend(key="k", by_ms=1000), b"")],
    op.Forget: [(op.Forget(keys=["k", "k/1", "k/2", "l"]), b"")],
    op.Clear: [(op.Clear(prefix=""), b""), (op.Clear(prefix="k"), b""), (op.Clear(tag="t"), b"")],
    op.Prune: [
        (op.Prune(dry_run=True, report=True, keep_newest=0), b""),
        (op.Prune(), b""),
        (op.Prune(keep_newest=0, report=True), b""),
        (op.Prune(older_than_ms=1, prefix="k"), b""),
        (op.Prune(keep_highest_score=0, dry_run=True, report=True), b""),
        (op.Prune(keep_newest=0, filter=Filter(group="g"), report=True), b""),
    ],
    op.RetentionRun: [(op.RetentionRun(dry_run=True, report=True), b""), (op.RetentionRun(report=True), b"")],
    op.GetRetention: [(op.GetRetention(), b"")],
    op.GetEmbedding: [(op.GetEmbedding(), b"")],
    op.Embedded: [(op.Embedded(key="m"), b""), (op.Embedded(key="m", wait_ms=5), b"")],
    op.EmbedRetry: [(op.EmbedRetry(), b"")],
    op.EmbedRebuild: [(op.EmbedRebuild(), b"")],
    op.Update: [
        (op.Update(key="k", type="text"), b"new"),
        (op.Update(key="k", extend_ms=1000), b""),
        (op.Update(key="k", type="text", if_version=1), b"new"),
    ],
    op.Batch: [
        (op.Batch(), framed((op.Set(key="made/in/batch"), b"x"), (op.Extend(key="k", by_ms=1000), b""))),
        (op.Batch(), framed((op.Exists(key="k"), b""), (op.Forget(keys=["k", "l"]), b""))),
        (op.Batch(), framed((op.Get(key="k/2"), b""))),
    ],
    op.Set: [
        (op.Set(key="k", if_version=1), b"mine"),
        (op.Set(key="k", if_version=2), b"mine"),
        (op.Set(key="k", if_absent=True), b"mine"),
        (op.Set(key="k/1"), b"mine"),
    ],
    op.Import: [
        (op.Import(), packed([["k/2", "text", HOUR, b"mine", []]])),
        (op.Import(replace=True), packed([["k/2", "text", HOUR, b"mine too", []]])),
    ],
    op.Tail: [(op.Tail(key="l"), b""), (op.Tail(key="l", count=9, touch=True), b"")],
    op.Pop: [(op.Pop(key="l"), b""), (op.Pop(key="l", first=True), b"")],
    op.Append: [(op.Append(key="l", ttl_ms=HOUR), b'"item"')],
    op.Incr: [(op.Incr(key="n", by=5, ttl_ms=HOUR), b""), (op.Forget(keys=["k"]), b""), (op.Incr(key="k"), b"")],
    op.Watch: [(op.Watch(prefix="", id=9001), b"")],
    op.Cancel: [(op.Cancel(target=9001), b""), (op.Cancel(target=1), b"")],
    op.KeyCreate: [(op.KeyCreate(name=API_KEY_NAME), b"")],
    op.KeyList: [(op.KeyList(), b"")],
    op.KeyRotate: [(op.KeyRotate(name=API_KEY_NAME), b"")],
    op.KeyRevoke: [(op.KeyRevoke(name=API_KEY_NAME), b"")],
    op.Stop: [(op.Stop(), b"")],
}
"""What asks for them; carried out in this order, by a caller without scope admin, in a namespace that was empty."""

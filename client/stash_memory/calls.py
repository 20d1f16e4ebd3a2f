"""What every call means: arguments into a request, a reply into a result. Pure: `sync` and `aio` add the waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct

from stash_memory import results, wire
from stash_memory.memories import Hits
from stash_memory.results import Entry, ExportedEntry, Portable, StoredEntry
from stash_memory.values import Duration, milliseconds, moment, pack_json, pack_value, read_value
from stash_protocol import operations, replies
from stash_protocol.errors import BadRequest, Internal
from stash_protocol.memories import Kind, Memory
from stash_protocol.operations import MAX_BATCH, MAX_FORGET_KEYS, MAX_IMPORT, MAX_PAGE, Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Scope, ValueType

Result = TypeVar("Result")

IMPORT_PAGE = 1 << 20  # bytes of values after which a page of an import is sent: bounds what both sides hold


class Call(Struct, Generic[Result], frozen=True):
    """One request, and how to read its reply.

    Attributes:
        finish: the result, from the reply's body and payload.
        absent: the result where no live entry has the key; UNSET: that is an error.
        late: the result where it did not appear in time; UNSET: that is an error.
    """

    request: Request
    finish: Callable[[Any, Payload], Result]
    payload: bytes = b""
    absent: Any = UNSET
    late: Any = UNSET


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────


def set_(  # what `Stash.set` takes
    key: str | None,
    value: object,
    *,
    ttl: Duration | None,
    if_absent: bool,
    if_version: int | None,
    tags: Sequence[str],
    memory: Memory | None = None,
) -> Call[Entry]:
    """The call behind `Stash.set`."""
    if value is UNSET:
        raise BadRequest("set needs a value")
    kind, payload = pack_value(value)
    request = operations.Set(
        key=key,
        type=kind,
        ttl_ms=milliseconds(ttl),
        if_absent=if_absent,
        if_version=if_version,
        tags=_names(tags),
        memory=memory,
    )
    return Call(request, _entry, payload)


def get(key: str, default: Any, *, touch: bool, wait: Duration | None) -> Call[Any]:
    """The call behind `Stash.get`."""
    absent = None if default is UNSET else default
    return Call(operations.Get(key=key, touch=touch, wait_ms=milliseconds(wait)), _value, absent=absent, late=default)


def entry(key: str, *, touch: bool, wait: Duration | None) -> Call[StoredEntry]:
    """The call behind `Stash.entry`."""
    return Call(operations.Get(key=key, touch=touch, wait_ms=milliseconds(wait)), StoredEntry)


def update(
    key: str,
    value: object,
    *,
    extend: Duration | None,
    if_version: int | None,
    memory: Memory | None = None,
    kind: Kind | None = None,
) -> Call[Entry]:
    """The call behind `Stash.update`."""
    value_type: ValueType | None
    value_type, payload = (None, b"") if value is UNSET else pack_value(value)
    request = operations.Update(
        key=key, type=value_type, extend_ms=milliseconds(extend), if_version=if_version, memory=memory, kind=kind
    )
    return Call(request, _entry, payload)


def extend(key: str, by: Duration) -> Call[results.Remaining]:
    """The call behind `Stash.extend`."""
    return Call(operations.Extend(key=key, by_ms=milliseconds(by) or 0), _remaining)


def forget(keys: Sequence[str], kind: Kind | None = None) -> Call[int]:
    """The call behind `Stash.forget`, for at most `MAX_FORGET_KEYS` keys."""
    return Call(operations.Forget(keys=list(keys), kind=kind), _forgotten)


def forget_all(keys: Sequence[str | Iterable[str]], kind: Kind | None = None) -> Iterator[Call[int]]:
    """The calls behind `Stash.forget`."""
    names: list[str] = []
    for key in keys:
        if isinstance(key, str):
            names.append(key)
        else:
            names.extend(key)
    for start in range(0, len(names), MAX_FORGET_KEYS):
        yield forget(names[start : start + MAX_FORGET_KEYS], kind)


def clear(prefix: str | None, tag: str | None) -> Call[int]:
    """The call behind `Stash.clear`."""
    return Call(operations.Clear(prefix=prefix, tag=tag), _forgotten)


def ttl(key: str) -> Call[float]:
    """The call behind `Stash.ttl`."""
    return Call(operations.Ttl(key=key), _seconds)


def exists(key: str) -> Call[bool]:
    """The call behind `Stash.exists`."""
    return Call(operations.Exists(key=key), _existence)


def list_page(
    prefix: str, tag: str | None, cursor: str, *, limit: int = MAX_PAGE, reverse: bool = False
) -> Call[tuple[list[Entry], str | None]]:
    """One page of `Stash.list`, and where the next begins."""
    return Call(
        operations.List(prefix=prefix, tag=tag, reverse=reverse, limit=min(limit, MAX_PAGE), cursor=cursor), _entries
    )


def incr(key: str, by: int, *, ttl: Duration | None) -> Call[int]:
    """The call behind `Stash.incr`."""
    return Call(operations.Incr(key=key, by=by, ttl_ms=milliseconds(ttl)), _number)


def append(key: str, item: object, *, many: bool, max_len: int | None, ttl: Duration | None) -> Call[int]:
    """The call behind `Stash.append`."""
    request = operations.Append(key=key, many=many, max_len=max_len, ttl_ms=milliseconds(ttl))
    return Call(request, _length, pack_json(item))


def pop(key: str, default: Any, *, first: bool) -> Call[Any]:
    """The call behind `Stash.pop`."""
    return Call(operations.Pop(key=key, first=first), _json, absent=default)


def tail(key: str, count: int, *, touch: bool) -> Call[list[Any]]:
    """The call behind `Stash.tail`."""
    return Call(operations.Tail(key=key, count=count, touch=touch), _json, absent=[])


def search(request: operations.Search) -> Call[Hits]:
    """The call behind `Stash.search`."""
    return Call(request, Hits)


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def batch(calls: Sequence[Call[Any]]) -> Call[list[Any]]:
    """All of several calls, or none."""
    if len(calls) > MAX_BATCH:
        raise BadRequest(f"a batch has at most {MAX_BATCH:,} operations; this one has {len(calls):,}")
    frames = []
    for place, call in enumerate(calls, 1):
        call.request.id = place
        frames += [wire.head(call.request, len(call.payload)), call.payload]

    def finish(_body: object, payload: Payload) -> list[Any]:
        return _batch_results(calls, payload)

    return Call(operations.Batch(), finish, b"".join(frames))


def _batch_results(calls: Sequence[Call[Any]], payload: Payload) -> list[Any]:
    frames = wire.split_frames(payload)
    if len(frames) != len(calls):
        raise Internal(f"the daemon answered {len(frames)} of the batch's {len(calls)} operations")
    outcomes = []
    for call, (envelope, part) in zip(calls, frames, strict=True):
        outcomes.append(call.finish(wire.read_answer(call.request, envelope).reply, part))
    return outcomes


def export_page(prefix: str, cursor: str) -> Call[tuple[list[ExportedEntry], str | None]]:
    """One page of `Stash.export`, and where the next begins."""
    return Call(operations.Export(prefix=prefix, cursor=cursor), _exported)


def import_pages(entries: Iterable[ExportedEntry | Portable], *, replace: bool) -> Iterator[Call[results.Imported]]:
    """The calls behind `Stash.import_`."""
    rows: list[tuple[str, ValueType, int, bytes, list[str], Memory | None]] = []
    size = 0
    for item in entries:
        if rows and (len(rows) == MAX_IMPORT or size + len(item.raw) > IMPORT_PAGE):
            yield Call(operations.Import(replace=replace), _imported, _write(rows))
            rows, size = [], 0
        rows.append((item.key, item.type, milliseconds(item.ttl) or 0, item.raw, list(item.tags), item.memory))
        size += len(item.raw)
    if rows:
        yield Call(operations.Import(replace=replace), _imported, _write(rows))


def add_imported(total: results.Imported, page: results.Imported) -> results.Imported:
    """The sum of two pages."""
    return results.Imported(total.imported + page.imported, total.skipped + page.skipped, total.clamped + page.clamped)


def prune(request: operations.Prune) -> Call[results.Pruned]:
    """The call behind `Stash.prune`."""
    return Call(request, _pruned)


# ── the daemon ───────────────────────────────────────────────────────────────────────────────────────────────────


def ping() -> Call[None]:
    """The call behind `Stash.ping`."""
    return Call(operations.Ping(), _nothing)


def ready() -> Call[None]:
    """The call behind `Stash.ready`."""
    return Call(operations.Ready(), _nothing)


def checkpoint() -> Call[None]:
    """The call behind `Stash.checkpoint`."""
    return Call(operations.Checkpoint(), _nothing)


def status() -> Call[replies.Status]:
    """The call behind `Stash.status`."""
    return Call(operations.GetStatus(), _body)


def stats(*, analytics: bool) -> Call[replies.Stats]:
    """The call behind `Stash.stats`."""
    return Call(operations.GetStats(analytics=analytics), _body)


def prometheus() -> Call[str]:
    """The call behind `Stash.prometheus`."""
    return Call(operations.GetStats(prometheus=True), _text)


def stop() -> Call[None]:
    """The call behind `Stash.stop`."""
    return Call(operations.Stop(), _nothing)


def key_create(  # what `ApiKeys.create` takes
    name: str, *, namespace: str | None, tier: str, scopes: Sequence[Scope], ttl: Duration | None
) -> Call[results.IssuedApiKey]:
    """The call behind `ApiKeys.create`."""
    request = operations.KeyCreate(
        name=name, namespace=namespace, tier=tier, scopes=list(scopes), ttl_ms=milliseconds(ttl)
    )
    return Call(request, _issued)


def key_list() -> Call[list[results.ApiKey]]:
    """The call behind `ApiKeys.list`."""
    return Call(operations.KeyList(), _api_keys)


def key_rotate(name: str) -> Call[results.IssuedApiKey]:
    """The call behind `ApiKeys.rotate`."""
    return Call(operations.KeyRotate(name=name), _issued)


def key_revoke(name: str) -> Call[None]:
    """The call behind `ApiKeys.revoke`."""
    return Call(operations.KeyRevoke(name=name), _nothing)


# ── replies into results ─────────────────────────────────────────────────────────────────────────────────────────

_write = msgspec.msgpack.Encoder().encode
_read_entries = msgspec.msgpack.Decoder(list[replies.Entry]).decode
_read_rows = msgspec.msgpack.Decoder(list[tuple[replies.Entry, bytes, list[str], Memory | None]]).decode
_read_keys = msgspec.msgpack.Decoder(list[str]).decode


def event(wire_event: replies.Event) -> results.Event:
    """One change, as `Stash.watch` yields it."""
    kind: Literal["set", "update", "extend", "forget", "expire"] = wire_event.event
    expires_at = moment(wire_event.expires_at) if wire_event.expires_at else None
    return results.Event(kind, wire_event.key, moment(wire_event.at), wire_event.version, expires_at)


def _nothing(_body: object, _payload: Payload) -> None:
    return None


def _body(body: Any, _payload: Payload) -> Any:
    return body


def _text(_body: object, payload: Payload) -> str:
    return payload.decode()


def _entry(body: replies.Entry, _payload: Payload) -> Entry:
    return Entry(body)


def _value(body: replies.Entry, payload: Payload) -> Any:
    return read_value(body.type, payload)


def _json(_body: object, payload: Payload) -> Any:
    return read_value("json", payload)


def _remaining(body: replies.Remaining, _payload: Payload) -> results.Remaining:
    return results.Remaining(body.ttl_ms / 1000, moment(body.expires_at), body.version, body.clamped)


def _seconds(body: replies.Remaining, _payload: Payload) -> float:
    return body.ttl_ms / 1000


def _forgotten(body: replies.Forgotten, _payload: Payload) -> int:
    return body.forgotten


def _existence(body: replies.Existence, _payload: Payload) -> bool:
    return body.exists


def _number(body: replies.Number, _payload: Payload) -> int:
    return body.number


def _length(body: replies.Length, _payload: Payload) -> int:
    return body.length


def _entries(body: replies.Page, payload: Payload) -> tuple[list[Entry], str | None]:
    return [Entry(row) for row in _read_entries(payload)], body.cursor


def _exported(body: replies.Page, payload: Payload) -> tuple[list[ExportedEntry], str | None]:
    return [ExportedEntry(*row) for row in _read_rows(payload)], body.cursor


def _imported(body: replies.Imported, _payload: Payload) -> results.Imported:
    return results.Imported(body.imported, body.skipped, body.clamped)


def _pruned(body: replies.Pruned, payload: Payload) -> results.Pruned:
    return results.Pruned(body.expired, body.pruned, body.bytes, _read_keys(payload) if payload else [])


def _api_key(info: replies.ApiKeyInfo) -> results.ApiKey:
    expires_at = None if info.expires_at is None else moment(info.expires_at)
    return results.ApiKey(info.name, info.namespace, info.tier, info.scopes, moment(info.created_at), expires_at)


def _issued(body: replies.ApiKeyIssued, _payload: Payload) -> results.IssuedApiKey:
    return results.IssuedApiKey(body.api_key, _api_key(body.info))


def _api_keys(body: replies.ApiKeys, _payload: Payload) -> list[results.ApiKey]:
    return [_api_key(info) for info in body.keys]


def _names(tags: Sequence[str]) -> list[str]:
    if isinstance(tags, str):
        raise BadRequest(f"tags are a list of names; write tags=[{tags!r}]")
    return list(tags)

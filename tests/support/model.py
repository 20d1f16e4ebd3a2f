"""What stash promises of entries and their time, in the plainest words there are: a dictionary and a loop.

`Model.ask` answers a request as the engine should. Versions are the engine's own choice where an entry is new; the
model only demands that they grow.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.frames import HEADER, HEADER_SIZE
from stash_protocol.operations import Request


class Kept(Struct):
    """One entry, alive or over."""

    key: str
    type: replies.ValueType
    value: bytes
    created: int
    updated: int
    expires: int
    ttl: int
    tags: list[str]
    version: int | None = None  # None: the engine has to say which


class Refused(Exception):
    """The request must fail with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Model:
    """One namespace under one tier.

    Attributes:
        rows: all that was written and not deleted; what is over stays until `swept`.
        told: every event but ``expire``, as (event, key), in order.
        over: how often each (key, expires) must have been told as expired, once it is swept.
    """

    def __init__(self, default_ttl: int, max_ttl: int) -> None:
        self.default_ttl, self.max_ttl = default_ttl, max_ttl
        self.rows: dict[str, Kept] = {}
        self.told: list[tuple[str, str]] = []
        self.over: Counter[tuple[str, int]] = Counter()
        self.now = 0

    def ask(self, request: Request, payload: bytes, now: int) -> Any:
        """What must come back; raises `Refused`. A request that is refused has changed nothing."""
        self.now = now
        before = copy.deepcopy((self.rows, self.told, self.over))
        try:
            return getattr(self, f"_{type(request).__name__.lower()}")(request, payload)
        except Refused:
            self.rows, self.told, self.over = before
            raise

    def live(self, now: int, prefix: str = "", tag: str | None = None) -> list[Kept]:
        """What may be seen, in the order of the keys."""
        seen = [row for row in self.rows.values() if row.expires > now and row.key.startswith(prefix)]
        return sorted((row for row in seen if tag is None or tag in row.tags), key=lambda row: row.key.encode())

    def swept(self, now: int) -> int:
        """What is over has been deleted; how many."""
        over = [row for row in self.rows.values() if row.expires <= now]
        for row in over:
            self._bury(row)
        return len(over)

    # ── one entry ──

    def _set(self, request: op.Set, payload: bytes) -> Kept:
        ttl = self.default_ttl if request.ttl_ms is None else request.ttl_ms
        if ttl > self.max_ttl:
            raise Refused("bad_request")
        assert request.key is not None
        found = self._find(request.key)
        if request.if_absent and found:
            raise Refused("conflict")
        self._check_version(found, request.if_version)
        return self._write(request.key, request.type, payload, ttl, request.tags)

    def _get(self, request: op.Get, _payload: bytes) -> tuple[Kept, bytes]:
        row = self._must(request.key)
        if request.touch:
            self._renew(row)
        return row, row.value

    def _update(self, request: op.Update, payload: bytes) -> Kept:
        row = self._must(request.key)
        self._check_version(row, request.if_version)
        if request.extend_ms is not None:
            self._prolong(row, request.extend_ms)
        if request.type is not None:
            row.type, row.value, row.updated = request.type, payload, self.now
        return self._changed(row, "update")

    def _extend(self, request: op.Extend, _payload: bytes) -> Kept:
        row = self._must(request.key)
        self._prolong(row, request.by_ms)
        return self._changed(row, "extend")

    def _forget(self, request: op.Forget, _payload: bytes) -> int:
        rows = [row for key in dict.fromkeys(request.keys) if (row := self._find(key))]
        return self._drop(rows)

    def _ttl(self, request: op.Ttl, _payload: bytes) -> Kept:
        return self._must(request.key)

    def _exists(self, request: op.Exists, _payload: bytes) -> bool:
        return self._find(request.key) is not None

    def _incr(self, request: op.Incr, _payload: bytes) -> Kept:
        row = self._find(request.key)
        if row is None:
            return self._start(request.key, str(request.by).encode(), request.ttl_ms)
        if not row.value.removeprefix(b"-").isdigit():
            raise Refused("bad_request")
        row.value, row.updated = str(int(row.value) + request.by).encode(), self.now
        return self._changed(row, "update")

    def _append(self, request: op.Append, payload: bytes) -> Kept:
        row = self._find(request.key)
        items = json.loads(row.value) if row and row.value.startswith(b"[") else [] if row is None else None
        if items is None:
            raise Refused("bad_request")
        items += json.loads(payload) if request.many else [json.loads(payload)]
        value = msgspec.json.encode(items[-request.max_len :] if request.max_len else items)
        if row is None:
            return self._start(request.key, value, request.ttl_ms)
        row.type, row.value, row.updated = "json", value, self.now
        return self._changed(row, "update")

    def _pop(self, request: op.Pop, _payload: bytes) -> tuple[Kept, bytes]:
        row, items = self._list(request.key)
        if not items:
            raise Refused("not_found")
        item = items.pop(0 if request.first else -1)
        row.type, row.value, row.updated = "json", msgspec.json.encode(items), self.now
        return self._changed(row, "update"), msgspec.json.encode(item)

    def _tail(self, request: op.Tail, _payload: bytes) -> tuple[Kept, bytes]:
        row, items = self._list(request.key)
        if request.touch:
            self._renew(row)
        return row, msgspec.json.encode(items[-request.count :])

    def _list(self, key: str) -> tuple[Kept, list[Any]]:
        row = self._must(key)
        if not row.value.startswith(b"["):
            raise Refused("bad_request")
        return row, json.loads(row.value)

    # ── many ──

    def _clear(self, request: op.Clear, _payload: bytes) -> int:
        return self._drop(self.live(self.now, request.prefix or "", request.tag))

    def _prune(self, request: op.Prune, _payload: bytes) -> tuple[int, int]:
        expired = self.swept(self.now)
        rows = sorted(self.live(self.now, request.prefix, request.tag), key=lambda row: (row.updated, row.key.encode()))
        newest = rows[len(rows) - min(len(rows), request.keep_newest) :] if request.keep_newest is not None else rows
        oldest = self.now - request.older_than_ms if request.older_than_ms is not None else 0
        condemned = [row for row in rows if row not in newest or row.updated < oldest]
        self._drop(sorted(condemned, key=lambda row: row.key.encode()))
        return expired, len(condemned)

    def _import(self, request: op.Import, payload: bytes) -> tuple[int, int, int]:
        imported = skipped = clamped = 0
        for key, type_, ttl, value, tags in msgspec.msgpack.decode(payload):
            if ttl <= 0 or (self._find(key) and not request.replace):
                skipped += 1
                continue
            self._write(key, type_, value, min(ttl, self.max_ttl), tags)
            imported, clamped = imported + 1, clamped + (ttl > self.max_ttl)
        return imported, skipped, clamped

    def _batch(self, _request: op.Batch, payload: bytes) -> None:
        for part, value in self.parts(payload):
            self.ask(part, value, self.now)

    @staticmethod
    def parts(payload: bytes) -> Iterator[tuple[Request, bytes]]:
        """The requests in a batch."""
        while payload:
            envelope, length = HEADER.unpack_from(payload)
            body = HEADER_SIZE + envelope
            yield msgspec.msgpack.decode(payload[HEADER_SIZE:body], type=op.AnyRequest), payload[body : body + length]
            payload = payload[body + length :]

    # ── what they share ──

    def _find(self, key: str) -> Kept | None:
        row = self.rows.get(key)
        return row if row and row.expires > self.now else None

    def _must(self, key: str) -> Kept:
        row = self._find(key)
        if row is None:
            raise Refused("not_found")
        return row

    def _check_version(self, row: Kept | None, version: int | None) -> None:
        if version is not None and (row is None or row.version != version):
            raise Refused("conflict")

    def _start(self, key: str, value: bytes, ttl: int | None) -> Kept:
        ttl = self.default_ttl if ttl is None else ttl
        if ttl > self.max_ttl:
            raise Refused("bad_request")
        return self._write(key, "json", value, ttl, [])

    def _write(self, key: str, type_: replies.ValueType, value: bytes, ttl: int, tags: list[str]) -> Kept:
        old, alive = self.rows.get(key), self._find(key)
        if old and not alive:
            self._bury(old)
        created = alive.created if alive else self.now
        version = alive.version + 1 if alive and alive.version else None
        row = Kept(key, type_, value, created, self.now, self.now + ttl, ttl, sorted(set(tags)), version)
        self.rows[key] = row
        self.told.append(("set", key))
        return row

    def _renew(self, row: Kept) -> None:
        renewed = self.now + min(row.ttl, self.max_ttl)
        if renewed > row.expires:
            row.expires = renewed
            self.told.append(("extend", row.key))

    def _prolong(self, row: Kept, by: int) -> None:
        row.expires = min(row.expires + by, max(row.expires, self.now + self.max_ttl))

    def _changed(self, row: Kept, event: str) -> Kept:
        row.version = row.version + 1 if row.version else None
        self.told.append((event, row.key))
        return row

    def _drop(self, rows: list[Kept]) -> int:
        for row in rows:
            del self.rows[row.key]
            self.told.append(("forget", row.key))
        return len(rows)

    def _bury(self, row: Kept) -> None:
        del self.rows[row.key]
        self.over[row.key, row.expires] += 1

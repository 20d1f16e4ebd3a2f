"""Callers of a real daemon, each with an API key and, unless told otherwise, a namespace of its own."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec

from stash_protocol import operations as op
from stash_protocol.frames import HEADER, HEADER_SIZE, pack
from stash_protocol.operations import Request
from tests.support.daemon import Line, RunningDaemon

UNHURRIED = "enterprise"  # the shipped tier without a rate, for tests that are not about one

_serial = count(1)


def issue(daemon: RunningDaemon, namespace: str | None = None, **fields: Any) -> str:
    """A new API key; its namespace is a fresh one unless given."""
    fields.setdefault("tier", UNHURRIED)
    with daemon.connect() as admin:
        name = fields.pop("name", f"api-key-{next(_serial)}")
        return str(answer(admin, op.KeyCreate(name=name, namespace=namespace, **fields))["api_key"])


def tenant(daemon: RunningDaemon, namespace: str | None = None, **fields: Any) -> Line:
    """A connection of a new API key."""
    return daemon.connect(api_key=issue(daemon, namespace, **fields))


def answer(line: Line, request: Request, payload: bytes = b"") -> dict[str, Any]:
    """The reply to a request that must succeed."""
    envelope, _ = line.call(request, payload)
    assert "reply" in envelope, envelope
    reply: dict[str, Any] = envelope["reply"]
    return reply


def refusal(line: Line, request: Request, payload: bytes = b"") -> dict[str, Any]:
    """The error of a request that must fail."""
    envelope, _ = line.call(request, payload)
    assert "error" in envelope, envelope
    error: dict[str, Any] = envelope["error"]
    return error


def value(line: Line, key: str) -> bytes | None:
    """What a get finds."""
    envelope, payload = line.call(op.Get(key=key))
    return payload if "reply" in envelope else None


def exported(line: Line) -> list[Any]:
    """All that the caller's namespace holds, but for the time it has left."""
    rows: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page, payload = line.call(op.Export(cursor=cursor))
        rows += msgspec.msgpack.decode(payload)
        cursor = page["reply"].get("cursor")
    for entry, *_ in rows:
        del entry["ttl_ms"]
    return rows


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def framed(*requests: tuple[Request, bytes]) -> bytes:
    """The payload of a batch."""
    return b"".join(pack(packed(request), payload) for request, payload in requests)


def unframed(data: bytes | bytearray) -> list[tuple[dict[str, Any], bytes]]:
    """The replies in a batch's answer."""
    replies: list[tuple[dict[str, Any], bytes]] = []
    while data:
        envelope_length, payload_length = HEADER.unpack_from(data)
        body = HEADER_SIZE + envelope_length
        replies.append((msgspec.msgpack.decode(data[HEADER_SIZE:body]), bytes(data[body : body + payload_length])))
        data = data[body + payload_length :]
    return replies


def announced(request: Request, length: int) -> bytes:
    """The head and the envelope of a frame whose payload is still to come."""
    envelope = packed(request)
    return HEADER.pack(len(envelope), length) + envelope

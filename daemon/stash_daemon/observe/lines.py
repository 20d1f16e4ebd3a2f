"""What the log and the audit say of one request: its level, its event, its fields. Never a value, never an API key."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from stash_daemon.keys import Caller, Peer
from stash_daemon.observe.metrics import OK, RETAINED
from stash_protocol import operations
from stash_protocol.errors import StashError
from stash_protocol.operations import OPERATIONS, Request
from stash_protocol.replies import Entry

RequestId = tuple[int, int]
"""The connection's number, and the request's on it."""


class Served(NamedTuple):
    """One request and what came of it; see `Observer.served`."""

    request: Request | None
    caller: Caller | None
    peer: Peer
    request_id: RequestId
    reply: Struct | None
    error: StashError | None
    payload_bytes: int
    duration_ns: int

    @property
    def op(self) -> str | None:
        """The operation's name on the wire."""
        return None if self.request is None else OPERATIONS[type(self.request)].name


EVENTS: dict[type[Request], str] = {
    operations.Hello: "authenticated",
    operations.Set: "created",
    operations.Get: "read",
    operations.Update: "updated",
    operations.Extend: "extended",
    operations.Forget: "forgotten",
    operations.Clear: "forgotten",
    operations.Incr: "updated",
    operations.Append: "updated",
    operations.Pop: "updated",
    operations.Tail: "read",
    operations.Batch: "batch",
    operations.Import: "imported",
    operations.Export: "exported",
    operations.Prune: "pruned",
    operations.KeyCreate: "api_key_created",
    operations.KeyRotate: "api_key_rotated",
    operations.KeyRevoke: "api_key_revoked",
    operations.Stop: "stopping",
}
"""The event of an operation that is worth a line at INFO; all others are told at DEBUG, by their names."""

REFUSALS: dict[str, tuple[str, str]] = {
    "internal": ("ERROR", "internal_error"),
    "unauthenticated": ("ERROR", "authentication_failed"),
    "rate_limited": ("ERROR", "rate_exceeded"),
    "too_large": ("ERROR", "size_refused"),
    "over_quota": ("ERROR", "quota_exceeded"),
    "busy": ("ERROR", "storage_busy"),
    "storage_full": ("ERROR", "storage_full"),
    "storage_damaged": ("ERROR", "storage_damaged"),
}
"""Level and event of an error's code; all others are ``refused`` at INFO."""

_SUBJECTS = ("key", "keys", "prefix", "tag", "name")
_COUNTS = ("forgotten", "pruned", "expired", "imported", "kept", "count", *RETAINED)


def name_of(request_id: RequestId) -> str:
    """A request's id as lines have it."""
    return f"{request_id[0]:x}-{request_id[1]:x}"


def event_of(served: Served) -> tuple[str, str]:
    """Level and event of a request that succeeded."""
    event = EVENTS.get(type(served.request)) if served.request is not None else None
    if event is None:
        return "DEBUG", served.op or "unreadable"
    if event == "created" and isinstance(served.reply, Entry) and served.reply.created_at < served.reply.updated_at:
        event = "replaced"
    return "INFO", event


def logged(served: Served) -> dict[str, Any]:
    """The fields of a line of the log."""
    caller = served.caller
    ttl = getattr(_entry_of(served.reply), "ttl_ms", None)
    return {
        "op": served.op,
        "request_id": name_of(served.request_id),
        "namespace": caller.namespace if caller else None,
        **_subject(served),
        "ttl_seconds": None if ttl is None else ttl / 1000,
        "payload_bytes": served.payload_bytes,
        "tier": caller.tier.name if caller else None,
        "api_key_name": caller.api_key_name if caller else None,
        "peer": served.peer.name,
        "duration_ms": served.duration_ns / 1_000_000,
    }


def audited(served: Served) -> dict[str, Any]:
    """The fields of a line of the audit, after its time."""
    caller, peer = served.caller, served.peer
    line: dict[str, Any] = {
        "request_id": name_of(served.request_id),
        "namespace": caller.namespace if caller else None,
        "api_key_name": caller.api_key_name if caller else None,
        "peer": {"name": peer.name, "pid": peer.pid, "uid": peer.uid},
        "op": served.op,
        "key": None,
        **_subject(served),
        "outcome": OK if served.error is None else served.error.code,
        "bytes": served.payload_bytes,
    }
    for name in _COUNTS:
        count = getattr(served.reply, name, None)
        if isinstance(count, int):
            line[name] = count
    return line


def part(request: Request) -> dict[str, Any]:
    """One operation of a batch, for the audit."""
    return {"op": OPERATIONS[type(request)].name, **_named(request)}


def _subject(served: Served) -> dict[str, Any]:
    """What the request is about, by the names of its fields."""
    found = _named(served.request)
    entry = _entry_of(served.reply)
    if "key" not in found and isinstance(entry, Entry):
        found["key"] = entry.key  # a key that the daemon made
    return found


def _named(request: Request | None) -> dict[str, Any]:
    found = {name: value for name in _SUBJECTS if (value := getattr(request, name, None)) not in (None, "")}
    if len(found.get("keys", ())) == 1:
        found["key"] = found.pop("keys")[0]  # so that all lines about an entry are found by the same field
    return found


def _entry_of(reply: Struct | None) -> object:
    return getattr(reply, "entry", reply)

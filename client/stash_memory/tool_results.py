"""What tools answer with: entries, values and errors, as a model reads them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stash_memory import results
from stash_memory.memories import Hits
from stash_memory.results import Entry, StoredEntry
from stash_protocol.errors import BadRequest, StashError
from stash_protocol.replies import ValueType

HINTS = {
    "not_found": "What has expired cannot be brought back. See with list what is there, or store it anew with set.",
    "conflict": "Nothing was changed. Read the entry with get and decide again, with the version it has now.",
    "too_large": "Store less: a summary, or parts under several keys.",
    "over_quota": "Forget what is not needed any more, or wait until something expires.",
    "rate_limited": "Wait that long before the next call, and make fewer.",
    "timeout": "It did not happen in time. Ask again, or go on without it.",
    "forbidden": "Nothing to be done about it here: tell the user what was refused.",
    "unauthenticated": "Nothing to be done about it here: tell the user that STASH_API_KEY is not valid.",
    "unreachable": "Nothing to be done about it here: tell the user to run `stash doctor`.",
}
"""What a model can do about an error, by its code."""

Ttl = Annotated[float, Meta(description="Seconds left.")]
Moment = Annotated[str, Meta(description="ISO 8601, UTC.")]
Clamped = Annotated[bool, Meta(description="The longest TTL allowed cut the time that was asked for.")]


class Shown(Struct, omit_defaults=True, kw_only=True):
    """An entry without its value."""

    key: str
    type: ValueType
    ttl: Ttl
    expires_at: Moment
    version: Annotated[int, Meta(description="Grows with each write; for if_version.")]
    size: Annotated[int, Meta(description="Bytes of the value.")]
    clamped: Clamped = False


class Valued(Shown, kw_only=True):
    """An entry with its value."""

    value: Annotated[Any, Meta(description="Text, or the JSON that was stored.")] = UNSET
    value_base64: Annotated[str | UnsetType, Meta(description="The value where it is neither text nor JSON.")] = UNSET
    truncated: Annotated[bool, Meta(description="Only the first max_bytes are shown, as text; size has all.")] = False


class Listed(Struct):
    """An entry in a list."""

    key: str
    type: ValueType
    size: int
    ttl: Ttl
    updated_at: Moment
    version: int


class Page(Struct, omit_defaults=True):
    """Some entries."""

    entries: list[Listed]
    cursor: Annotated[str | UnsetType, Meta(description="There are more: list again with this cursor.")] = UNSET


class Remaining(Struct, omit_defaults=True):
    """The time an entry has left."""

    key: str
    ttl: Ttl
    expires_at: Moment
    version: int
    clamped: Clamped = False


class Hit(Struct, omit_defaults=True):
    """An entry a search found."""

    key: str
    score: Annotated[float, Meta(description="What it was ranked by.")]
    content: str
    created_at: Moment
    ttl: Ttl
    role: str | UnsetType = UNSET
    tags: list[str] = []


class Found(Struct, omit_defaults=True):
    """What a search found."""

    hits: list[Hit]
    total: Annotated[int, Meta(description="Entries that could have been found.")]
    mode: Annotated[
        str, Meta(description="How it was searched: by words (keyword), meaning (vector), or both (hybrid).")
    ]
    coverage: Annotated[str, Meta(description="How many of the entries can be found by their meaning.")]
    note: Annotated[str | UnsetType, Meta(description="What could not be done as asked.")] = UNSET
    truncated: Annotated[bool, Meta(description="There is more than k or the budget let in.")] = False


class Context(Struct, omit_defaults=True):
    """What is known, as one text."""

    context: str
    keys: Annotated[list[str], Meta(description="The entries it is made of.")]
    tokens: Annotated[int, Meta(description="About so many.")]
    note: Annotated[str | UnsetType, Meta(description="What could not be done as asked.")] = UNSET
    truncated: Annotated[bool, Meta(description="There is more than the budget let in.")] = False


class Forgotten(Struct):
    """How many entries were there, and are not any more."""

    forgotten: int


def shown(entry: Entry) -> Shown:
    """An entry without its value."""
    return Shown(**_facts(entry))


def valued(entry: StoredEntry, most: int) -> Valued:
    """An entry with its value, at most so many bytes of it."""
    facts: dict[str, Any] = _facts(entry) | {"truncated": len(entry.raw) > most}
    if entry.type == "json" and not facts["truncated"]:
        with suppress(BadRequest):  # whoever set it called it JSON, and it is not
            return Valued(value=entry.value, **facts)
    if entry.type != "bytes":
        with suppress(UnicodeDecodeError):
            return Valued(value=_text(entry.raw, most), **facts)
    return Valued(value_base64=b64encode(entry.raw[:most]).decode(), **facts)


def _text(raw: bytes, most: int) -> str:
    """The text, cut between two characters where it is too long."""
    while most < len(raw) and raw[most] & 0xC0 == 0x80:  # in the middle of a character
        most -= 1
    return raw[:most].decode()


def remaining(key: str, left: results.Remaining) -> Remaining:
    """The time an entry has left."""
    return Remaining(key, left.ttl, _moment(left.expires_at), left.version, left.clamped)


def page(entries: Sequence[Entry], cursor: str | None) -> Page:
    """Some entries, and where the next begin."""
    rows = [
        Listed(each.key, each.type, each.size, each.ttl, _moment(each.updated_at), each.version) for each in entries
    ]
    return Page(rows, UNSET if cursor is None else cursor)


def found(hits: Hits) -> Found:
    """What a search found."""
    rows = [
        Hit(hit.key, hit.score, hit.content, _moment(hit.created_at), hit.entry.ttl, hit.role or UNSET, hit.tags)
        for hit in hits
    ]
    return Found(rows, hits.total, hits.mode, hits.coverage, hits.note or UNSET, hits.truncated)


def context(hits: Hits) -> Context:
    """What was found, as one text."""
    return Context(hits.context, [hit.key for hit in hits], hits.tokens, hits.note or UNSET, hits.truncated)


def error(problem: StashError) -> dict[str, Any]:
    """An error, and what can be done about it."""
    said: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.retry_after is not None:
        said["retry_after"] = problem.retry_after
    if hint := HINTS.get(problem.code):
        said["hint"] = hint
    return {"error": said}


def as_text(answer: dict[str, Any]) -> str:
    """An answer as the JSON a model reads."""
    return msgspec.json.encode(answer).decode()


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "type": entry.type,
        "ttl": entry.ttl,
        "expires_at": _moment(entry.expires_at),
        "version": entry.version,
        "size": entry.size,
        "clamped": entry.clamped,
    }


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Python values and times, as the wire has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stash_protocol.errors import BadRequest
from stash_protocol.reader import Payload
from stash_protocol.replies import ValueType
from stash_protocol.types import parse_duration

Duration = str | float | timedelta
"""A span of time: ``"30m"``, seconds, or a timedelta."""

# The standard library writes JSON, because msgspec would quietly turn what JSON cannot say into something else (bytes
# into base64, NaN into null, datetimes into text); msgspec reads it, several times faster.
_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_read_json = msgspec.json.Decoder().decode


def utf8(text: str) -> bytes:
    """A text's bytes.

    Raises:
        BadRequest: it has a lone surrogate, which UTF-8 cannot say.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest("a text must be valid UTF-8; this one has lone surrogates") from None


def pack_value(value: object) -> tuple[ValueType, bytes]:
    """The type and the bytes of a value.

    Raises:
        BadRequest: neither str, bytes, bytearray nor memoryview, nor anything JSON can say.
    """
    if isinstance(value, bytes):
        return "bytes", value
    if isinstance(value, str):
        return "text", utf8(value)
    if isinstance(value, (bytearray, memoryview)):
        return "bytes", bytes(value)
    return "json", pack_json(value)


def pack_json(value: object) -> bytes:
    """The JSON of a value.

    Raises:
        BadRequest: JSON cannot say it.
    """
    try:
        return utf8(_write_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"a value is str, bytes or JSON-able, and this one is none of them: {error}") from None


def read_value(kind: ValueType, payload: Payload) -> Any:
    """The value, in the type it was given.

    Raises:
        BadRequest: the entry says that it is text or JSON, and its bytes are not.
    """
    if kind == "bytes":
        return payload if type(payload) is bytes else bytes(payload)
    try:
        return payload.decode() if kind == "text" else _read_json(payload)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadRequest(f"the entry is marked as {kind}, but its bytes are not: {error}") from None


def milliseconds(duration: Duration | None) -> int | None:
    """A span of time as the wire has it.

    Raises:
        BadRequest: not a span of time.
    """
    if duration is None:
        return None
    if isinstance(duration, str):
        return parse_duration(duration)
    try:
        return round((duration.total_seconds() if isinstance(duration, timedelta) else duration) * 1000)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(f"{duration!r} is not a duration; write '30m', seconds or a timedelta") from None


def seconds(duration: Duration) -> float:
    """A span of time in seconds.

    Raises:
        BadRequest: not a span of time.
    """
    return (milliseconds(duration) or 0) / 1000


def moment(milliseconds: int) -> datetime:
    """A point in time, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

"""Reads what only memories and searches are given: moments, vectors, metadata, conditions."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from typing import Any

from stash_cli import render
from stash_protocol.errors import BadRequest
from stash_protocol.types import parse_duration
from stash_protocol.vectors import check_vector

MAX_VECTOR_FILE = 1 << 20  # bytes: 8,192 numbers in JSON take a fifth of it


def decimal(text: str) -> float:
    """A finite number.

    Raises:
        BadRequest: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        raise BadRequest(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise BadRequest(f"must be a finite number, not {text}")
    return number


def share(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        BadRequest: it is none.
    """
    number = decimal(text)
    if not 0 <= number <= 1:
        raise BadRequest(f"must lie between 0 and 1, not be {text}")
    return number


def moment(text: str) -> int:
    """Milliseconds since the epoch in ISO 8601 (UTC without an offset), seconds, or a duration: so long ago.

    Raises:
        BadRequest: it is no point in time.
    """
    try:
        when = float(text) * 1000 if _is_number(text) else _of_date(text)
    except (ValueError, OverflowError):
        when = time.time() * 1000 - _ago(text)
    if not 0 <= when <= 2**53:
        raise BadRequest(f"{text!r} is before 1970, or beyond all dates")
    return round(when)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def _of_date(text: str) -> float:
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000


def _ago(text: str) -> int:
    try:
        return parse_duration(text)
    except BadRequest:
        raise BadRequest(
            f"{text!r} is not a point in time; write 2026-01-31, 2026-01-31T14:00Z, seconds since 1970, "
            "or 2h: so long ago"
        ) from None


def condition(text: str) -> list[Any]:
    """``reward>=0.5`` as path, operator and value.

    Raises:
        BadRequest: it is no condition.
    """
    from stash_memory.conditions import parse

    found = parse(text)
    value = found.value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadRequest(f"{text!r}: a number lies between -2^63 and 2^63-1")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{text!r}: a number must be finite")
    return [found.path, found.op, value]


def pair(text: str) -> tuple[str, str]:
    """``name=value`` as the name, and the value as JSON: what is none is a text.

    Raises:
        BadRequest: there is no name.
    """
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise BadRequest(f"{text!r} is not name=value")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("must be valid UTF-8") from None
    try:
        render.check_json(value)
    except ValueError:
        return name, render.dump(value)
    return name, value


def metadata(name: str, value: object) -> str:
    """A JSON object's text.

    Raises:
        BadRequest: it is none.
    """
    if not isinstance(value, dict):
        raise BadRequest(f"{name!r} must be a JSON object")
    return render.dump(value)


def vector(name: str, value: Any) -> bytes:
    """An array of numbers as a vector.

    Raises:
        BadRequest: it is none.
    """
    try:
        return check_vector(value)
    except BadRequest as problem:
        raise BadRequest(f"{name!r}: {problem.message}") from None


def vector_file(path: str) -> bytes:
    """The vector in a file: a JSON array of numbers, or raw float32, little-endian.

    Raises:
        BadRequest: the file cannot be read, or holds no vector.
    """
    if path == "-":
        raise BadRequest("a vector is read from a file; stdin is the value's")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_VECTOR_FILE + 1)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise BadRequest(f"{path!r} cannot be read: {error}") from None
    if len(data) > MAX_VECTOR_FILE:
        raise BadRequest(f"{path} has more than {MAX_VECTOR_FILE:,} bytes, more than any vector")
    if set(data) - TEXT:  # float32s of nothing but printable ASCII would be a strange vector
        return check_vector(data)
    try:
        return check_vector(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is no JSON array of numbers: {error}") from None


TEXT = frozenset((*range(32, 127), *b"\t\r\n"))
"""Bytes of a file that somebody has typed."""


READERS = {
    "decimal": decimal,
    "share": share,
    "moment": moment,
    "condition": condition,
    "pair": pair,
    "vector": vector_file,
}
"""By kind, beside those of `options`."""


def complete(memory: dict[str, Any]) -> None:
    """Make what was typed what the daemon takes: metadata one JSON object, and the value the text if it is to be."""
    if isinstance(memory.get("metadata"), list):
        memory["metadata"] = render.object_of(list(dict(memory["metadata"]).items()))
    if memory.get("embed") and "text" not in memory:
        memory["text_is_value"] = True

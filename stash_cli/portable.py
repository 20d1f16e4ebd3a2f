"""Entries as lines of an export: what `get --json` shows, and the tags. Every value comes back bit for bit."""

from __future__ import annotations

import json
import sys
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Any

from stash_cli import render
from stash_protocol.errors import BadRequest
from stash_protocol.types import check_key

MAX_LINE = 1400 << 20  # bytes of one line: the largest value any tier may have takes 1,200 MiB in base64

MAX_SECONDS = 4e9  # beyond any TTL there is


def line_of(row: dict[str, Any], value: bytes, tags: list[str], memory: dict[str, Any] | None) -> bytes:
    """One entry, as a line; a memory's vector in base64, float32 little-endian."""
    members = [(name, text) for name, text in render.entry(row) if name != "clamped"]
    members.insert(2, _value(row["type"], value))
    if tags:
        members.append(("tags", render.dump(tags)))
    if memory is not None:
        if "vector" in memory:
            memory = {**memory, "vector": b2a_base64(memory["vector"], newline=False).decode()}
        members.append(("memory", render.dump(memory)))
    return render.object_of(members).encode() + b"\n"


def _value(kind: str, value: bytes) -> tuple[str, str]:
    """The value as a member; in base64 when a line could not keep its bytes, or it is not what its type says."""
    shown = render.shown_value(kind, value)
    if kind == "json" and shown[0] == "value" and shown[1].encode() != value:
        return "value_base64", render.dump(b2a_base64(value, newline=False).decode())
    return shown


def row_of(line: bytes, default_ttl: int) -> tuple[str, str, int, bytes, list[str], dict[str, Any] | None]:
    """A line as a row of an import: key, type, milliseconds left, value, tags, memory.

    Raises:
        BadRequest: it is no entry; the message says what is wrong with it.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"not a JSON object: {error}") from None
    members = members_of(text)
    plain = {name: value for name, (value, _) in members.items()}
    key, ttl, tags = plain.get("key"), plain.get("ttl"), plain.get("tags", [])
    if not isinstance(key, str):
        raise BadRequest("it has no key")
    if not (ttl is None or (isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and abs(ttl) < MAX_SECONDS)):
        raise BadRequest("ttl must be seconds")
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise BadRequest("tags must be a list of texts")
    kind, value = _read_value(plain, members)
    left = default_ttl if ttl is None else round(ttl * 1000)
    return check_key(key), kind, left, value, tags, _read_memory(plain.get("memory"))


def _read_memory(memory: Any) -> dict[str, Any] | None:
    if memory is None:
        return None
    if not isinstance(memory, dict):
        raise BadRequest("memory must be a JSON object")
    if "vector" not in memory:
        return memory
    try:
        return {**memory, "vector": a2b_base64(str(memory["vector"]), strict_mode=True)}
    except (Base64Error, ValueError) as error:
        raise BadRequest(f"the memory's vector: {error}") from None


def _read_value(plain: dict[str, Any], members: dict[str, tuple[Any, str]]) -> tuple[str, bytes]:
    value = plain.get("value")
    kind = plain.get("type") or ("bytes" if "value_base64" in plain else "text" if isinstance(value, str) else "json")
    if kind not in ("bytes", "text", "json"):
        raise BadRequest("type must be bytes, text or json")
    if "value_base64" in plain:
        try:
            return kind, a2b_base64(str(plain["value_base64"]), strict_mode=True)
        except (Base64Error, ValueError) as error:
            raise BadRequest(f"value_base64: {error}") from None
    if "value" not in plain:
        raise BadRequest("it has neither value nor value_base64")
    if kind == "json":
        return kind, members["value"][1].encode()
    if not isinstance(value, str):
        raise BadRequest(f"a value of type {kind} must be a text")
    try:
        return kind, value.encode()
    except UnicodeEncodeError:
        raise BadRequest("the value is not valid Unicode") from None


def members_of(line: str) -> dict[str, tuple[Any, str]]:
    """The members of a JSON object: the value of each, and its text as it stands there.

    Raises:
        BadRequest: it is no JSON object; the message says where.
    """
    try:
        return _scan(line)
    except IndexError:
        raise BadRequest("not a JSON object: it ends too soon") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not a JSON object: {error}") from None


def _scan(line: str) -> dict[str, tuple[Any, str]]:
    place = _skip(line, 0)
    if line[place] != "{":
        raise ValueError("it does not begin with {")
    found: dict[str, tuple[Any, str]] = {}
    place = _skip(line, place + 1)
    while line[place] != "}":
        if found:
            if line[place] != ",":
                raise ValueError(f"no comma at character {place}")
            place = _skip(line, place + 1)
        if line[place] != '"':
            raise ValueError(f"no name at character {place}")
        name, place = _decoder.raw_decode(line, place)
        place = _skip(line, place)
        if line[place] != ":":
            raise ValueError(f"no colon at character {place}")
        start = _skip(line, place + 1)
        value, place = _decoder.raw_decode(line, start)
        found[name] = value, line[start:place]
        place = _skip(line, place)
    if line[place + 1 :].strip():
        raise ValueError(f"something follows it at character {place + 1}")
    return found


def _skip(line: str, place: int) -> int:
    while line[place] in " \t\r\n":
        place += 1
    return place


def _whole(digits: str) -> int | float:
    """A whole number; one with more digits than Python reads is beyond every bound, and its text is kept anyway."""
    return int(digits) if len(digits) <= sys.int_info.default_max_str_digits else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


_decoder = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant)

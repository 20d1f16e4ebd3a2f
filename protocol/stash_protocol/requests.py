"""Reads requests, and says in stash's words what is wrong with one: which field, and which limit.

The decoder knows what a request may be from its declaration; only how it puts its refusals is another matter.
"""

from __future__ import annotations

import re

import msgspec

from stash_protocol.errors import BadRequest
from stash_protocol.operations import AnyRequest
from stash_protocol.types import MAX_KEY_BYTES, format_duration


class _Identified(msgspec.Struct):
    """What can be read of an envelope that is no request."""

    id: int = 0


_identify = msgspec.msgpack.Decoder(_Identified).decode
_decode = msgspec.msgpack.Decoder(AnyRequest).decode

_AT = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*?)`)?", re.DOTALL)
_BOUND = re.compile(r"Expected `(?P<kind>\w+)` (?:of length )?(?P<sign>[<>]=?) (?P<bound>-?[\d.]+)")
_KIND = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<found>[^`]+)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`")
_REGEX = re.compile(r"Expected `str` matching regex .*")
_INVALID = re.compile(r"Invalid (?:enum )?value (?P<value>.*)")

_KINDS = {"str": "text", "int": "a whole number", "bool": "true or false", "array": "a list", "object": "a map"}
_SIZES = {"str": "characters", "bytes": "bytes", "array": "items"}
_KEYS = ("key", "keys")


def read_request(envelope: bytes) -> AnyRequest:
    """The request in an envelope, with every bound of its declaration checked.

    Raises:
        BadRequest: it is none; the message names the field and the limit.
    """
    try:
        request: AnyRequest = _decode(envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(explain(error)) from None
    return request


def read_id(envelope: bytes) -> int:
    """The id of what is no request, so that its sender can tell what was refused; 0 where not even that can be read."""
    try:
        return _identify(envelope).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def explain(error: Exception) -> str:
    """What the decoder refused, for whoever wrote the request."""
    if not isinstance(error, msgspec.ValidationError):
        return f"not a request: {error}"
    found = _AT.fullmatch(str(error))
    assert found is not None
    return _problem(found["problem"], found["path"] or "the request")


def _problem(problem: str, path: str) -> str:
    field = path.partition("[")[0].removesuffix("_ms")  # of an item, the list: it is short enough to find it
    if match := _BOUND.fullmatch(problem):
        return _bound(field, path, match)
    if match := _KIND.fullmatch(problem):
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in match["wanted"].split(" | ") if kind != "null")
        return f"{field} must be {wanted}, not {_KINDS.get(match['found'], match['found'])}"
    if match := _MISSING.fullmatch(problem):
        return f"{match['name'].removesuffix('_ms')} is missing"
    if match := _UNKNOWN.fullmatch(problem):
        return f"there is no field {match['name']}"
    if _REGEX.fullmatch(problem):
        return f"{field} is not written as it must be"
    if match := _INVALID.fullmatch(problem):
        return f"{field} cannot be {match['value']}"
    return f"{field}: {problem}"


def _bound(field: str, path: str, match: re.Match[str]) -> str:
    """A value beyond one of its field's limits."""
    bound, kind = float(match["bound"]), match["kind"]
    if kind == "str" and field in _KEYS:
        return f"{field} must have 1 to {MAX_KEY_BYTES:,} bytes of UTF-8"
    least = match["sign"] == ">="
    if path.endswith("_ms"):
        return f"{field} must be longer than 0" if least else f"{field} must be at most {format_duration(bound)}"
    most = "at least" if least else "at most"
    if kind not in _SIZES:
        return f"{field} must be {most} {bound:,g}" if bound < 1e6 else f"{field} must be {most} {bound:,.0f}"
    size = _SIZES[kind].removesuffix("s") if bound == 1 else _SIZES[kind]
    return f"{field} must have {most} {bound:,.0f} {size}"

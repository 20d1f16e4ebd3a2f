"""Replies as people and scripts read them. Light: the hot verbs load it, and `json` only when it is asked for."""

from __future__ import annotations

import time

from stash_protocol.errors import StashError
from stash_protocol.types import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Members = list[tuple[str, str]]
"""The members of a JSON object: name, and value as JSON. Text, not objects: a JSON value is shown as it is, with
the numbers and the order it was stored with."""


def dump(value: object) -> str:
    """A value as JSON."""
    import json

    return json.dumps(value, ensure_ascii=False)


def object_of(members: Members) -> str:
    """One JSON object on one line."""
    return "{" + ", ".join(f"{dump(name)}: {value}" for name, value in members) + "}"


def members_of(values: dict[str, Any]) -> Members:
    """The members of an object whose values `json` can show."""
    return [(name, dump(value)) for name, value in values.items()]


def moment(milliseconds: int) -> str:
    """ISO 8601, UTC, with milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:03}Z"


def seconds(milliseconds: int) -> str:
    """Seconds, to the millisecond."""
    return str(milliseconds / 1000)


def remaining(reply: dict[str, Any], key: str) -> Members:
    """The time an entry has left."""
    members = [
        ("key", dump(key)),
        ("ttl", seconds(reply["ttl_ms"])),
        ("expires_at", dump(moment(reply["expires_at"]))),
        ("version", str(reply["version"])),
    ]
    return [*members, ("clamped", "true")] if reply.get("clamped") else members


def entry(reply: dict[str, Any], value: bytes | None = None) -> Members:
    """An entry, with its value if there is one."""
    members = [("key", dump(reply["key"])), ("type", dump(reply["type"]))]
    if value is not None:
        members.append(shown_value(reply["type"], value))
    members += [
        ("ttl", seconds(reply["ttl_ms"])),
        ("expires_at", dump(moment(reply["expires_at"]))),
        ("created_at", dump(moment(reply["created_at"]))),
        ("updated_at", dump(moment(reply["updated_at"]))),
        ("version", str(reply["version"])),
        ("size", str(reply["size"])),
    ]
    if "embedding_status" in reply:
        members.append(("embedding_status", dump(reply["embedding_status"])))
    return [*members, ("clamped", "true")] if reply.get("clamped") else members


def shown_value(kind: str, value: bytes) -> tuple[str, str]:
    """A value as a member: text and JSON as they are, bytes in base64.

    The daemon never looks into a value, so one that is not what its writer called it is shown as bytes.
    """
    if kind != "bytes":
        try:
            text = bytes(value).decode()
            if kind == "text":
                return "value", dump(text)
            check_json(text)
            return "value", one_line(text)
        except ValueError:
            pass
    from binascii import b2a_base64

    return "value_base64", dump(b2a_base64(value, newline=False).decode())


def one_line(document: str) -> str:
    """A JSON document without line breaks, which can only stand between its parts: strings escape them."""
    return document.strip().replace("\r", " ").replace("\n", " ")


def check_json(text: str) -> None:
    """See whether a text is one JSON document.

    Raises:
        ValueError: it is not.
    """
    import json

    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def error(problem: StashError) -> str:
    """An error as a JSON object."""
    said: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.retry_after is not None:
        said["retry_after"] = problem.retry_after
    return dump({"error": said})


def reply(op: str, fields: dict[str, Any], answer: Any, payload: bytes) -> Members:
    """The reply to an operation as a JSON object's members: what the verb of that name prints with ``--json``."""
    if op == "get":
        return entry(answer, payload)
    if op in ("set", "update"):
        return entry(answer)
    if op in ("extend", "ttl"):
        return remaining(answer, fields["key"])
    if op in ("incr", "append"):
        name = "number" if op == "incr" else "length"
        return [(name, str(answer[name])), *entry(answer["entry"])]
    if op in ("pop", "tail"):
        items = one_line(bytes(payload).decode())
        return [("item" if op == "pop" else "items", items), ("length", str(answer["length"])), *entry(answer["entry"])]
    return members_of(answer)


LONG_HEAD = f"{'SIZE':>10}  {'TTL':>7}  {'AGE':>7}  KEY"


def long_row(row: dict[str, Any]) -> tuple[str, str, str]:
    """Size, time left and age of an entry."""
    now = row["expires_at"] - row["ttl_ms"]
    age = max(0, now - row["created_at"])
    return format_size(row["size"]), format_duration(row["ttl_ms"]), format_duration(age)


def long_line(row: dict[str, Any]) -> str:
    """An entry as one line, whatever its key is; that comes last, for it may be long."""
    size, left, age = long_row(row)
    return f"{size:>10}  {left:>7}  {age:>7}  {printable(row['key'])}"


def printable(text: str) -> str:
    """A key for a terminal or a table: what could move the cursor, or begin a line, is escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

"""`stash message add`, `get`, `update` and `list`."""

from __future__ import annotations

from typing import Any

import msgpack

from stash_cli import readings, render, streams
from stash_cli.call import Call
from stash_cli.commands.search import first_line, hit_members
from stash_cli.hot import forget_keys, send_value, typed_value
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.memories import MAX_KEYS

PAGE = 100  # messages, unless --limit says otherwise


def add(call: Call) -> None:
    """`stash message add`."""
    fields = call.fields()
    memory: dict[str, Any] = fields["memory"]
    memory |= {"kind": "message", "text_is_value": True, "embed": "no_embed" not in call.values}
    readings.complete(memory)
    _send(call, fields, "stash message add ID ROLE CONTENT, or pipe the content in")


def update(call: Call) -> None:
    """`stash message update`."""
    fields = {**call.fields(), "kind": "message"}
    readings.complete(fields.get("memory", {}))
    if call.get("value") is not None:
        fields.setdefault("memory", {})["text_is_value"] = True
        _send(call, fields, "pipe the content in")
    else:
        reply, _ = call.ask(fields)
        call.note_clamped(reply)
        _print(call, reply)


def _send(call: Call, fields: dict[str, Any], instead: str) -> None:
    value, declared, fields["type"] = typed_value(call, call.get("value"), instead)
    if fields["type"] != "text" and declared == len(value):
        raise BadRequest("a message is text, and this is not UTF-8")
    reply = send_value(call, fields, value, declared)
    call.note_clamped(reply)
    _print(call, reply)


def _print(call: Call, reply: dict[str, Any]) -> None:
    call.print(reply["key"], lambda: render.entry(reply))


def get(call: Call) -> None:
    """`stash message get`."""
    keys: list[str] = call.get("keys")
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(keys), MAX_KEYS):
        some = keys[start : start + MAX_KEYS]
        wanted = {"kind": "message", "keys": some, "archived": True}
        _, payload = call.ask({"k": len(some), "order": "oldest", "filter": wanted, "whole": True})
        found |= {hit["entry"]["key"]: hit for hit in msgpack.unpackb(payload)}
    missing = [key for key in keys if key not in found]
    if missing:
        raise NotFound(f"no message {missing[0]!r}: it expired, was forgotten or never was")
    if not call.as_json:
        streams.emit("".join([found[key]["content"] + "\n" for key in keys]))
    elif len(keys) == 1:
        streams.emit(render.object_of(hit_members(found[keys[0]])) + "\n")
    else:
        _print_all([found[key] for key in keys], len(keys))


def forget(call: Call) -> None:
    """`stash message forget`."""
    count = forget_keys(call.connect(), {"keys": call.get("keys"), "kind": "message"})
    if not count:
        raise NotFound("there is no such message")
    call.print(str(count), lambda: render.members_of({"forgotten": count}))


def list_(call: Call) -> None:
    """`stash message list`."""
    hits, total = said(call)
    if call.as_json:
        _print_all(hits, total)
    else:
        streams.emit("".join([line(hit) + "\n" for hit in hits]))


def said(call: Call) -> tuple[list[dict[str, Any]], int]:
    """The messages the verb's options choose, in order, and how many there are."""
    fields = call.fields()
    fields.setdefault("filter", {})["kind"] = "message"
    fields.setdefault("k", PAGE)
    fields["order"] = "newest" if call.get("newest") else "oldest"
    fields["whole"] = True
    reply, payload = call.ask(fields)
    return msgpack.unpackb(payload), reply["total"]


def line(hit: dict[str, Any]) -> str:
    """Key, role and the first line of a message."""
    return f"{render.printable(hit['entry']['key'])}\t{hit.get('role', '-')}\t{first_line(hit)}"


def _print_all(hits: list[dict[str, Any]], total: int) -> None:
    streams.emit(render.object_of(members(hits, total)) + "\n")


def members(hits: list[dict[str, Any]], total: int) -> render.Members:
    """Messages as a JSON object's members."""
    shown = ", ".join([render.object_of(hit_members(hit)) for hit in hits])
    return [("total", str(total)), ("messages", f"[{shown}]")]

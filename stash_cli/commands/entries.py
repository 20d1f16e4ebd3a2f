"""`stash incr`, `stash append`, `stash pop`, `stash tail` and `stash watch`."""

from __future__ import annotations

import json

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.hot import emit_value, piped_value, send_value
from stash_cli.wire import reply_in
from stash_protocol.errors import BadRequest, Timeout


def incr(call: Call) -> None:
    """`stash incr`."""
    reply, _ = call.ask()
    call.print(str(reply["number"]), lambda: render.reply("incr", {}, reply, b""))


def append(call: Call) -> None:
    """`stash append`."""
    given: str | None = call.get("value")
    if given is None or given == "-":
        streams.refuse_terminal("stash append KEY VALUE, or pipe the item in")
        item, declared = piped_value(call)
    else:
        item = given.encode(errors="surrogateescape")
        declared = len(item)
    if declared == len(item):
        item = _as_json(item, is_json="json_value" in call.values)
        declared = len(item)
    reply = send_value(call, call.fields(), item, declared)
    call.print(str(reply["length"]), lambda: render.reply("append", {}, reply, b""))


def _as_json(item: bytes, *, is_json: bool) -> bytes:
    try:
        text = item.decode()
        if is_json:
            render.check_json(text)
    except UnicodeDecodeError:
        raise BadRequest(
            "an item of a list is text or JSON, and this is not UTF-8: append its base64, or keep it with `stash set`"
        ) from None
    except ValueError as error:
        raise BadRequest(f"--json-value: the item is not JSON: {error}") from None
    return item if is_json else render.dump(text).encode()


def pop(call: Call) -> None:
    """`stash pop`."""
    reply, item = call.ask()
    if call.as_json:
        streams.emit(render.object_of(render.reply("pop", {}, reply, item)) + "\n")
    else:
        emit_value(_as_appended(bytes(item)))


def _as_appended(item: bytes) -> bytes:
    """The text of an item that is one; else the item, as JSON."""
    return str(json.loads(item)).encode() if item[:1] == b'"' else item


def tail(call: Call) -> None:
    """`stash tail`."""
    reply, items = call.ask()
    if call.as_json:
        streams.emit(render.object_of(render.reply("tail", {}, reply, items)) + "\n")
    else:
        emit_value(items)


def watch(call: Call) -> None:
    """`stash watch`."""
    connection = call.connect()
    connection.call("watch", call.fields())
    if call.get("timeout") is None:
        connection.without_deadline()
    left: int | None = call.get("count")
    while left is None or left > 0:
        try:
            envelope, _ = connection.receive_any()
        except Timeout:
            raise Timeout(f"the watch ended after {call.timeout:g} s, as --timeout said") from None
        if "push" not in envelope:
            reply_in(envelope)
            return
        streams.emit(_line(call, envelope["push"]))
        left = None if left is None else left - 1


def _line(call: Call, event: dict[str, object]) -> str:
    key = str(event["key"])
    if not call.as_json:
        return f"{event['event']} {render.printable(key) if streams.is_terminal(1) else key}\n"
    shown = dict(event)
    for name in ("at", "expires_at"):
        if isinstance(moment := shown.get(name), int):
            shown[name] = render.moment(moment)
    return render.dump(shown) + "\n"

"""`stash conversation list`, `show`, `update`, `forget` and `stats`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.commands import message
from stash_memory import calls
from stash_memory.conversations import Conversation, Conversations
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.operations import OPERATIONS

Result = TypeVar("Result")


def conversations(command: Call) -> Conversations:
    """The library's conversations, over the connection of a command."""

    def run(call: calls.Call[Result], timeout: float | None) -> Result:  # noqa: ARG001  # --timeout says it
        fields: dict[str, Any] = msgspec.to_builtins(call.request, builtin_types=(bytes,))
        connection = command.connect()
        reply, payload = connection.call(fields.pop("op"), fields, call.payload)
        connection.renew()
        return call.finish(msgspec.convert(reply, OPERATIONS[type(call.request)].reply), payload)

    return Conversations(run)


def list_(call: Call) -> None:
    """`stash conversation list`."""
    page = conversations(call).list(**call.fields())
    if call.as_json:
        rows = [_shown(conversation) for conversation in page]
        streams.emit(render.dump({"total": page.total, "conversations": rows}) + "\n")
        return
    for each in page:
        cells = (each.id, f"{each.messages}", _moment(each.last_at), each.title or "")
        streams.emit("\t".join(map(render.printable, cells)) + "\n")


def show(call: Call) -> None:
    """`stash conversation show`."""
    hits, total = message.said(call)
    if not total:
        raise _absent(call)
    if call.as_json:
        streams.emit(render.object_of(message.members(hits, total)) + "\n")
    else:
        streams.emit("".join([f"{hit.get('role', '-')}: {shown(hit['content'])}\n" for hit in hits]))


def shown(content: str) -> str:
    """A message as a terminal may have it: its further lines set in, so that none looks like another message."""
    if not streams.is_terminal(1):
        return content
    return "\n    ".join(map(render.printable, content.split("\n")))


def update(call: Call) -> None:
    """`stash conversation update`."""
    metadata = {name: json.loads(value) for name, value in call.get("meta", [])}
    views = conversations(call)
    views.update(call.get("conversation"), title=call.get("title"), metadata=metadata or None)
    if call.as_json:
        streams.emit(render.dump(_shown(views.stats(call.get("conversation")))) + "\n")


def forget(call: Call) -> None:
    """`stash conversation forget`."""
    name: str = call.get("conversation")
    views = conversations(call)
    if streams.is_terminal(0) and not call.get("yes"):
        count = views.stats(name).messages
        if not streams.agrees(f"Forget the {count:,} messages of {render.printable(name)}?"):
            raise BadRequest("nothing was forgotten")
        call.connect().renew()  # people take their time
    forgotten = views.forget(name)
    if not forgotten:
        raise _absent(call)
    call.print(str(forgotten), lambda: render.members_of({"forgotten": forgotten}))


def stats(call: Call) -> None:
    """`stash conversation stats`."""
    shown = _shown(conversations(call).stats(call.get("conversation")))
    if call.as_json:
        streams.emit(render.dump(shown) + "\n")
        return
    roles = ", ".join(f"{count:,} {role}" for role, count in shown.pop("roles").items())
    shown["messages"] = f"{shown['messages']:,}" + (f" ({roles})" if roles else "")
    shown["metadata"] = render.dump(shown["metadata"])
    for name, value in shown.items():
        streams.emit(f"{name:<12}{render.printable('' if value is None else str(value))}".rstrip() + "\n")


def _shown(each: Conversation) -> dict[str, Any]:
    """A conversation as JSON has it."""
    return {
        "id": each.id,
        "title": each.title,
        "metadata": each.metadata,
        "messages": each.messages,
        "roles": each.roles,
        "embedded": each.embedded,
        "importance": round(each.importance, 4),
        **({} if each.tokens is None else {"tokens": each.tokens}),
        "first_at": _moment(each.first_at),
        "last_at": _moment(each.last_at),
        "ttl": each.ttl,
    }


def _moment(when: datetime) -> str:
    return render.moment(round(when.timestamp() * 1000))


def _absent(call: Call) -> NotFound:
    return NotFound(f"no conversation {call.get('conversation')!r}: its messages expired, were forgotten or never were")

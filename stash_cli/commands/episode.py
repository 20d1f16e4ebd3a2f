"""`stash episode add`, `query`, `prune`, `save` and `load`."""

from __future__ import annotations

from typing import Any

import msgpack

from stash_cli import portable, readings, render, streams
from stash_cli.call import Call
from stash_cli.commands import search, transfer
from stash_cli.commands.prune import POLICIES, make_sure
from stash_cli.hot import send_value, typed_value
from stash_protocol.errors import BadRequest


def add(call: Call) -> None:
    """`stash episode add`."""
    fields = call.fields()
    memory: dict[str, Any] = fields["memory"]
    memory["kind"] = "episode"
    readings.complete(memory)
    given = call.get("value")
    if given is None and "text" in memory:
        given = memory["text"]
    value, declared, fields["type"] = typed_value(call, given, "stash episode add TASK VALUE, or pipe the value in")
    if "text" not in memory and fields["type"] != "bytes":
        memory["text_is_value"] = True
    reply = send_value(call, fields, value, declared)
    call.print(reply["key"], lambda: render.entry(reply))


def query(call: Call) -> None:
    """`stash episode query`."""
    fields = call.fields()
    fields.setdefault("filter", {})["kind"] = "episode"
    fields.setdefault("order", "rank" if "vector" in fields or fields.get("query") else "newest")
    fields.setdefault("importance_weight", 0.0)
    search.show(call, fields)


def prune(call: Call) -> None:
    """`stash episode prune`."""
    fields = call.fields()
    if not POLICIES & fields.keys():
        raise BadRequest("say what to prune: --older-than, --keep-newest or --keep-highest-reward")
    fields.setdefault("filter", {})["kind"] = "episode"
    if not fields.get("dry_run"):
        make_sure(call, fields)
    reply, payload = call.ask({**fields, "report": True})
    keys: list[str] = msgpack.unpackb(payload) if payload else []
    if call.as_json:
        streams.emit(render.object_of([*render.members_of(reply), ("keys", render.dump(keys))]) + "\n")
    else:
        streams.emit("".join([key + "\n" for key in keys]))


def save(call: Call) -> None:
    """`stash episode save`."""
    path: str = call.get("file", "-")
    prefix: str = call.get("task_prefix", "")
    count = 0
    with transfer.output(path) as write:
        for rows in transfer.pages(call, ""):
            for row, value, tags, memory in rows:
                if memory is not None and is_episode(memory) and memory.get("group", "").startswith(prefix):
                    write(portable.line_of(row, value, tags, memory))
                    count += 1
    if path != "-" and (call.as_json or streams.is_terminal(2)):
        transfer.tell(call, f"saved {count:,} episodes to {path}", {"saved": count, "file": path})


def load(call: Call) -> None:
    """`stash episode load`."""
    transfer.read_in(call, _check)


def _check(memory: dict[str, Any] | None) -> None:
    if memory is None or not is_episode(memory):
        raise BadRequest("it is no episode")


def is_episode(memory: dict[str, Any]) -> bool:
    """Whether a memory is one."""
    return memory.get("kind") == "episode"

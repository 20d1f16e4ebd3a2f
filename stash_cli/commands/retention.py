"""`stash retention run` and `stash retention show`."""

from __future__ import annotations

from typing import Any

import msgpack

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.wire import Connection
from stash_protocol.types import format_duration, format_size

COUNTS = ("looked", "archived", "deleted", "extended", "skipped", "bytes")
DURATIONS = {"older_than_ms": "older_than", "archived_for_ms": "archived_for", "keep_ms": "keep"}
SHOWN = {
    "older_than": "older than {}",
    "importance_below": "importance below {}",
    "importance_from": "importance {} or more",
    "archived_for": "archived more than {} ago",
    "roles": "role {}",
    "tags": "tag {}",
    "groups": "group {}",
    "keep": "to {} left",
}
"""How a condition is said to people, in their order."""


def run(call: Call) -> None:
    """`stash retention run`."""
    dry_run = bool(call.get("dry_run"))
    report, chosen = carry_out(call.connect(), dry_run=dry_run)
    if call.as_json:
        streams.emit(render.dump({**report, "dry_run": dry_run, **({"chosen": chosen} if dry_run else {})}) + "\n")
    elif dry_run:
        for row in chosen:
            streams.emit(f"{row['action']}\t{render.printable(row['key'])}\t{render.printable(row['rule'])}\n")
        streams.say(f"a run would have {_summary(report)}")
    else:
        streams.emit(_summary(report) + "\n")


def carry_out(connection: Connection, *, dry_run: bool) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Have the rules carried out; what the run did, and the first memories it would have chosen."""
    reply, payload = connection.call("retention_run", {"dry_run": dry_run, "report": dry_run})
    rows = msgpack.unpackb(payload) if payload else []
    return _report(reply), [dict(zip(("key", "action", "rule"), row, strict=True)) for row in rows]


def show(call: Call) -> None:
    """`stash retention show`."""
    state, _ = call.ask()
    rules = [_rule(rule) for rule in state["rules"]]
    every, next_at, last = state.get("every_ms"), state.get("next_at"), state.get("last")
    shown = {
        "rules": rules,
        "every": None if every is None else every / 1000,
        "next_at": None if next_at is None else render.moment(next_at),
        "last": None if last is None else _report(last),
    }
    if call.as_json:
        streams.emit(render.dump(shown) + "\n")
        return
    rows = [(rule["name"], rule["action"], _conditions(rule)) for rule in rules]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        streams.emit("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    when = "when somebody asks" if every is None else f"every {format_duration(every)}, next at {shown['next_at']}"
    streams.emit(f"runs {when}\n")
    if last is not None:
        streams.emit(f"last at {render.moment(last['began_at'])}: {_summary(_report(last))}\n")


def _report(reply: dict[str, Any]) -> dict[str, Any]:
    """A run, with the counts that are none."""
    return {
        **{name: reply.get(name, 0) for name in COUNTS},
        "rules": reply.get("rules", {}),
        "began_at": render.moment(reply["began_at"]),
        "scheduled": reply.get("scheduled", False),
    }


def _summary(report: dict[str, Any]) -> str:
    said = f"archived {report['archived']:,}, deleted {report['deleted']:,}, extended {report['extended']:,}"
    freed = f", freed {format_size(report['bytes'])}" if report["bytes"] else ""
    skipped = f", skipped {report['skipped']:,} that changed meanwhile" if report["skipped"] else ""
    return f"{said} of {report['looked']:,} memories{freed}{skipped}"


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule with its durations in seconds."""
    return {DURATIONS.get(name, name): value / 1000 if name in DURATIONS else value for name, value in rule.items()}


def _conditions(rule: dict[str, Any]) -> str:
    parts = []
    for name, words in SHOWN.items():
        if name in rule:
            value = rule[name]
            if name in DURATIONS.values():
                value = format_duration(value * 1000)
            elif isinstance(value, list):
                value = " or ".join(render.printable(each) for each in value)
            parts.append(words.format(value))
    return ", ".join(parts)

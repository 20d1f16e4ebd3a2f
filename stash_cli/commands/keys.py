"""`stash key create`, `list`, `rotate` and `revoke`."""

from __future__ import annotations

from typing import Any

from stash_cli import render, streams
from stash_cli.call import Call


def create(call: Call) -> None:
    """`stash key create`."""
    _issue(call)


def rotate(call: Call) -> None:
    """`stash key rotate`."""
    _issue(call)


def _issue(call: Call) -> None:
    reply, _ = call.ask()
    info: dict[str, Any] = reply["info"]
    if not call.as_json and streams.is_terminal(1):
        streams.say(f"this API key is shown once; it opens namespace {info['namespace']!r} in tier {info['tier']!r}")
    call.print(reply["api_key"], lambda: render.members_of({"api_key": reply["api_key"], **_shown(info)}))


def list_(call: Call) -> None:
    """`stash key list`."""
    reply, _ = call.ask()
    keys: list[dict[str, Any]] = [_shown(info) for info in reply["keys"]]
    if call.as_json:
        streams.emit(render.dump({"keys": keys}) + "\n")
        return
    rows = [("NAME", "NAMESPACE", "TIER", "SCOPES", "EXPIRES")]
    rows += [(k["name"], k["namespace"], k["tier"], ",".join(k["scopes"]), k["expires_at"] or "never") for k in keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{render.printable(cell):<{width}}" for cell, width in zip(row, widths, strict=True))
        streams.emit(line.rstrip() + "\n")


def revoke(call: Call) -> None:
    """`stash key revoke`."""
    call.ask()
    if call.as_json:
        streams.emit(render.dump({"revoked": call.get("name")}) + "\n")


def _shown(info: dict[str, Any]) -> dict[str, Any]:
    expires = info.get("expires_at")
    return {
        **info,
        "created_at": render.moment(info["created_at"]),
        "expires_at": None if expires is None else render.moment(expires),
    }

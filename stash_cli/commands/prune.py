"""`stash prune`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

import msgpack

from stash_cli import portable, render, streams
from stash_cli.call import Call
from stash_cli.commands import retention
from stash_cli.commands.transfer import pages
from stash_protocol.errors import BadRequest, Conflict, NotFound

BROAD = frozenset(("older_than_ms", "keep_newest", "keep_highest_score", "dry_run"))
"""Fields that name no part of the namespace: with these alone, retention is carried out too."""

KEEPING = frozenset(("keep_newest", "keep_highest_score"))

POLICIES = frozenset(("older_than_ms", *KEEPING))

TOGETHER = 64  # entries deleted with one round trip


def prune(call: Call) -> None:
    """`stash prune`."""
    fields = call.fields()
    path: str | None = call.get("archive")
    retaining = path is None and fields.keys() <= BROAD
    _check(call, fields)
    if fields.get("dry_run"):
        reply, keys = _condemned(call, fields)
        if retaining:
            reply["retention"], chosen = retention.carry_out(call.connect(), dry_run=True)
            keys = list(dict.fromkeys([*keys, *(row["key"] for row in chosen if row["action"] == "delete")]))
        if keys or call.as_json:
            call.print("\n".join(keys), lambda: [*render.members_of(reply), ("keys", render.dump(keys))])
        return
    if path is None:
        make_sure(call, fields)
        reply, _ = call.ask()
    else:
        reply = _archive(call, fields, path)
    if retaining:
        call.connect().renew()
        reply["retention"], _ = retention.carry_out(call.connect(), dry_run=False)
    if call.as_json:
        streams.emit(render.dump(reply) + "\n")


def _check(call: Call, fields: dict[str, Any]) -> None:
    """Refuse what narrows the choice of policies that are not there: it would do nothing, and say nothing."""
    if POLICIES & fields.keys() or fields.keys() <= BROAD:
        return
    given = next(
        row.label for row in call.verb.options if row.name in call.values and row.wire and row.wire not in BROAD
    )
    raise BadRequest(
        f"{given} only narrows what a policy deletes; add --older-than, --keep-newest or --keep-highest-score"
    )


def make_sure(call: Call, fields: dict[str, Any]) -> None:
    """Ask a person before a policy that keeps nothing; and let no script delete everything by accident.

    Raises:
        BadRequest: that was not meant.
    """
    if 0 not in map(fields.get, KEEPING) or call.get("yes"):
        return
    if not streams.is_terminal(0):
        _refuse_everything(call)
        return
    count = _condemned(call, fields)[0]["pruned"]
    if count and not streams.agrees(f"Delete {count:,} {'entry' if count == 1 else 'entries'}?"):
        raise BadRequest("nothing was deleted")
    call.connect().renew()  # people take their time


def _refuse_everything(call: Call) -> None:
    """Refuse to keep none where no part of the namespace is named; an empty text may be a variable never set."""
    fields = call.fields()
    named = {**fields.pop("filter", {}), **fields}
    if any(value != "" for name, value in named.items() if name not in BROAD and name != "archived"):
        return
    if "prefix" in named:
        raise BadRequest("--prefix: an empty one means every entry; give --yes too if that is meant")
    label = next(row.label for row in call.verb.options if row.wire in KEEPING and call.get(row.name) == 0)
    raise BadRequest(f"{label} 0 keeps none of all there are: say which, or give --yes too if that is meant")


def _condemned(call: Call, fields: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    reply, payload = call.connect().call("prune", {**fields, "dry_run": True, "report": True})
    return reply, msgpack.unpackb(payload) if payload else []


def _archive(call: Call, fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Write what the policies choose, then delete exactly the versions that were written.

    The policies are asked again once the archive is on disk: what somebody wrote since it was read is chosen no more,
    or has another version. It stays; that the archive has it too harms nobody.
    """
    _, keys = _condemned(call, fields)
    connection = call.connect()
    pruned = freed = 0
    if keys:
        written = _write(call, path, set(keys), fields.get("prefix", ""))
        connection.renew()
        _, keys = _condemned(call, fields)
        for row in _forget(call, [written[key] for key in keys if key in written]):
            pruned += 1
            freed += row["size"]
    connection.renew()
    reply, _ = connection.call("prune")
    return {"expired": reply["expired"], "pruned": pruned, "bytes": reply["bytes"] + freed, "archive": path}


def _write(call: Call, path: str, keys: set[str], prefix: str) -> dict[str, dict[str, Any]]:
    """The entries the archive got, by key; they are on disk."""
    written: dict[str, dict[str, Any]] = {}
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as file:
            for rows in pages(call, prefix):
                for row, value, tags, memory in rows:
                    if row["key"] in keys:
                        file.write(portable.line_of(row, value, tags, memory))
                        written[row["key"]] = row
            file.flush()
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.fsync(file.fileno())
    except OSError as error:
        raise BadRequest(
            f"--archive: {path} cannot be written: {(error.strerror or str(error)).lower()}; nothing was deleted"
        ) from None
    return written


def _forget(call: Call, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Delete entries that are as they were read; those that were."""
    connection = call.connect()
    for start in range(0, len(rows), TOGETHER):
        chunk = rows[start : start + TOGETHER]
        frames: list[bytes] = []
        for row in chunk:
            key = row["key"]
            # A forget has no condition of its own; an update has, and one that fails undoes both.
            check = connection.frame("update", {"key": key, "if_version": row["version"], "extend_ms": 1}, 0)[1]
            pair = check + connection.frame("forget", {"keys": [key]}, 0)[1]
            frames += [connection.frame("batch", None, len(pair))[1], pair]
        connection.renew()
        connection.send(b"".join(frames))
        for row in chunk:
            try:
                connection.receive()
            except (Conflict, NotFound):
                continue
            yield row

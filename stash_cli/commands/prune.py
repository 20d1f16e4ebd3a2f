"""`stash prune`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any

import msgpack

from stash_cli import portable, render, streams
from stash_cli.call import Call
from stash_cli.commands.transfer import pages
from stash_cli.wire import reply_in
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.frames import HEADER, HEADER_SIZE

TOGETHER = 64  # entries deleted with one round trip


def prune(call: Call) -> None:
    """`stash prune`."""
    fields = call.fields()
    if fields.get("dry_run"):
        reply, keys = _condemned(call, fields)
        if keys or call.as_json:
            call.print("\n".join(keys), lambda: [*render.members_of(reply), ("keys", render.dump(keys))])
        return
    path: str | None = call.get("archive")
    if path is None:
        reply, _ = call.ask()
    else:
        reply = _archive(call, fields, path)
    if call.as_json:
        streams.emit(render.dump(reply) + "\n")


def _condemned(call: Call, fields: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    reply, payload = call.connect().call("prune", {**fields, "dry_run": True, "report": True})
    return reply, msgpack.unpackb(payload) if payload else []


def _archive(call: Call, fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Write what the policies choose, then delete exactly that.

    Whoever writes an entry between the two loses nothing either: it is read again in the transaction that deletes it,
    and archived once more if it changed.
    """
    _, keys = _condemned(call, fields)
    connection = call.connect()
    pruned = freed = 0
    if keys:
        with _appending(path) as file:
            versions = _write(call, file, set(keys), fields.get("prefix", ""))
            _flush(file)
            connection.renew()
            for row, value in _forget(call, list(versions)):
                if row["version"] != versions[row["key"]]:
                    file.write(portable.line_of(row, value, []))
                pruned += 1
                freed += row["size"]
            _flush(file)
    connection.renew()
    reply, _ = connection.call("prune")
    return {"expired": reply["expired"], "pruned": pruned, "bytes": reply["bytes"] + freed, "archive": path}


def _appending(path: str) -> IO[bytes]:
    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        raise BadRequest(f"--archive: {path} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _flush(file: IO[bytes]) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise BadRequest(
            f"--archive: {file.name} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from None


def _write(call: Call, file: IO[bytes], keys: set[str], prefix: str) -> dict[str, int]:
    """The versions that were written, by key."""
    versions: dict[str, int] = {}
    for rows in pages(call, prefix):
        for row, value, tags in rows:
            if row["key"] in keys:
                file.write(portable.line_of(row, value, tags))
                versions[row["key"]] = row["version"]
    return versions


def _forget(call: Call, keys: list[str]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Delete entries, each read in the same transaction; those that are gone already are left out."""
    connection = call.connect()
    for start in range(0, len(keys), TOGETHER):
        chunk = keys[start : start + TOGETHER]
        frames: list[bytes] = []
        for key in chunk:
            pair = connection.frame("get", {"key": key}, 0)[1] + connection.frame("forget", {"keys": [key]}, 0)[1]
            frames += [connection.frame("batch", None, len(pair))[1], pair]
        connection.send(b"".join(frames))
        for _ in chunk:
            try:
                _, payload = connection.receive()
            except NotFound:
                continue
            envelope_length, value_length = HEADER.unpack_from(payload)
            body = HEADER_SIZE + envelope_length
            yield reply_in(msgpack.unpackb(payload[HEADER_SIZE:body])), payload[body : body + value_length]

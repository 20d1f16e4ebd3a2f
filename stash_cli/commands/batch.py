"""`stash batch`: JSON lines in, replies in the same order out, pipelined on one connection."""

from __future__ import annotations

import math
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from stash_cli import portable, readings, render, streams
from stash_cli.call import Call, put
from stash_cli.commands.search import found_members
from stash_cli.options import Argument, Option, Verb, read
from stash_cli.verbs import VERBS
from stash_cli.wire import Connection, reply_in
from stash_protocol.errors import BadRequest, Internal, StashError
from stash_protocol.frames import HEADER, HEADER_SIZE

WINDOW = 256  # requests in flight
WINDOW_BYTES = 1 << 16  # bytes of them: fewer than a socket's buffers hold, so that sending never waits for our reading
MAX_ATOMIC = 1000  # commands of one transaction

OPS = {
    verb.op: verb
    for verb in VERBS
    if verb.name
    in ("set", "get", "update", "extend", "forget", "ttl", "exists", "list", "incr", "append", "pop", "tail", "search")
}
OWN_NAMES = {"vector": "embedding"}  # members that are not called as the wire calls them


class Command(NamedTuple):
    """One line, read."""

    op: str
    fields: dict[str, Any]
    payload: bytes


class Failed(NamedTuple):
    """One line that cannot be carried out, or was not."""

    problem: StashError


def batch(call: Call) -> int:
    """`stash batch`."""
    streams.refuse_terminal("pipe commands in, one JSON object a line")
    run = _atomic if "atomic" in call.values else _pipelined
    return run(call)


def _pipelined(call: Call) -> int:
    pipeline = Pipeline(call.connect())
    for lines in _chunks_of_lines():
        for line in lines:
            pipeline.take(_parse(line))
        pipeline.drain()  # before waiting for more input: whoever types commands one by one wants each reply
    return pipeline.status


class Pipeline:
    """Sends commands, at most `WINDOW` ahead of their replies, and prints the replies in order.

    Attributes:
        status: the exit status: that of the first command that failed.
    """

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self._connection = connection
        self._waiting: list[tuple[int, Command | Failed]] = []  # commands by id, in order; id 0: nothing was sent
        self._frames: list[bytes] = []
        self._size = 0
        self._in_flight = 0

    def take(self, command: Command | Failed) -> None:
        """Carry out one more."""
        if isinstance(command, Failed):
            self._waiting.append((0, command))
            return
        try:
            number, head = self._connection.frame(command.op, command.fields, len(command.payload))
        except BadRequest as problem:
            self._waiting.append((0, Failed(problem)))
            return
        size = len(head) + len(command.payload)
        slow = (
            command.op in ("list", "search") or "wait_ms" in command.fields
        )  # answered when done: what comes next would overtake
        if slow or self._in_flight >= WINDOW or self._size + size > WINDOW_BYTES:
            self.drain()
        self._waiting.append((number, command))
        self._frames += [head, command.payload]
        self._size += WINDOW_BYTES if slow else size
        self._in_flight += 1

    def drain(self) -> None:
        """Send what is held, and print every reply that is due."""
        if self._frames:
            self._connection.send(b"".join(self._frames))
            self._connection.renew()
        lines: list[str] = []
        for number, command in self._waiting:
            if isinstance(command, Failed):
                lines.append(self._refused(command.problem))
            else:
                lines.append(self._shown(number, command))
        self._waiting, self._frames, self._size, self._in_flight = [], [], 0, 0
        streams.emit("".join(lines))

    def _shown(self, number: int, command: Command) -> str:
        envelope, payload = self._connection.receive_any()
        if envelope["id"] != number:
            raise Internal(f"the daemon answered request {envelope['id']} when {number} was due")
        try:
            return _accepted(command, reply_in(envelope), payload)
        except StashError as problem:
            problem.message = problem.message.removeprefix("memory.").removeprefix("filter.")  # as the line has it
            return self._refused(problem)

    def _refused(self, problem: StashError) -> str:
        self.status = self.status or problem.exit_status
        return _refused(problem)


def _atomic(call: Call) -> int:
    commands: list[Command] = []
    for lines in _chunks_of_lines():
        for number, line in enumerate(lines, len(commands) + 1):
            command = _parse(line)
            if isinstance(command, Failed):
                raise BadRequest(f"line {number}: {command.problem.message}; nothing was carried out")
            commands.append(command)
        if len(commands) > MAX_ATOMIC:
            raise BadRequest(f"an atomic batch has at most {MAX_ATOMIC:,} commands; nothing was carried out")
    if not commands:
        return 0
    connection = call.connect()
    frames = []
    for number, command in enumerate(commands, 1):
        try:
            _, head = connection.frame(command.op, command.fields, len(command.payload))
        except BadRequest as problem:
            raise BadRequest(f"line {number}: {problem.message}; nothing was carried out") from None
        frames += [head, command.payload]
    try:
        _, payload = connection.call("batch", None, b"".join(frames))
    except StashError as problem:
        streams.emit(_refused(problem) * len(commands))
        return problem.exit_status
    for command, (envelope, part) in zip(commands, _frames_in(payload), strict=True):
        streams.emit(_accepted(command, reply_in(envelope), part))
    return 0


def _frames_in(payload: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    view, position = memoryview(payload), 0
    while position < len(payload):
        envelope_length, payload_length = HEADER.unpack_from(view, position)
        body = position + HEADER_SIZE + envelope_length
        position = body + payload_length
        yield msgpack.unpackb(view[body - envelope_length : body]), bytes(view[body:position])


def _chunks_of_lines() -> Iterator[list[bytes]]:
    """What stdin has, as whole lines, as it comes; empty lines are left out."""
    held: list[bytes] = []
    size = 0
    while part := streams.read_some():
        whole, newline, rest = part.rpartition(b"\n")
        if newline:
            yield [line for line in b"".join([*held, whole]).split(b"\n") if line.strip()]
            held, size = [], 0
        held.append(rest)
        size += len(rest)
        if size > portable.MAX_LINE:
            raise BadRequest(f"a line has more than {portable.MAX_LINE:,} bytes")
    if (last := b"".join(held)).strip():
        yield [last]


def _parse(line: bytes) -> Command | Failed:
    try:
        return _read(line)
    except BadRequest as problem:
        return Failed(problem)


def _read(line: bytes) -> Command:
    try:
        members = portable.members_of(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRequest(f"not a JSON object: {error}") from None
    given = {name: value for name, (value, _) in members.items()}
    op = given.pop("op", None)
    verb = OPS.get(op) if isinstance(op, str) else None
    if verb is None:
        raise BadRequest(f"op must be one of {', '.join(OPS)}")
    payload, kind = _payload(verb, given, members)
    fields: dict[str, Any] = {} if kind is None else {"type": kind}
    if verb.op == "forget" and "key" in given:
        given["keys"] = [given.pop("key")]
    rows = _rows(verb)
    for name, value in given.items():
        row = rows.get(name)
        if row is None:
            raise BadRequest(f"{verb.op} has no {name!r}; it has {', '.join(rows)}")
        if value is not None:
            put(fields, row.wire, _field(row, name, value))
    needed = {argument.wire for argument in verb.arguments if argument.required or argument.many}
    missing = [name for name, row in rows.items() if row.wire in needed and row.wire not in fields]
    if missing:
        raise BadRequest(f"{verb.op} needs {missing[0]!r}")
    if "memory" in fields:
        readings.complete(fields["memory"])
    return Command(verb.op, fields, payload)


NUMBERS = ("integer", "number", "count", "decimal", "share")  # kinds


def _rows(verb: Verb) -> dict[str, Argument | Option]:
    """The verb's fields by the names they have in a line: those of the wire, without the unit."""
    wires = {row.wire.rpartition(".")[2].removesuffix("_ms"): row for row in verb.rows if row.wire}
    named = {OWN_NAMES.get(name, name): row for name, row in wires.items()}
    if verb.op == "list":
        named["limit"] = LIMIT
    return named


LIMIT = Option("--limit", "number", "At most so many.", "limit")


def _payload(verb: Verb, given: dict[str, Any], members: dict[str, tuple[Any, str]]) -> tuple[bytes, str | None]:
    """The value of a line, JSON as it stands there, and its type; None where there is none."""
    if verb.op not in ("set", "update", "append"):
        return b"", None
    if verb.op == "append":
        if "value" not in given:
            raise BadRequest("append needs 'value'")
        del given["value"]
        return members["value"][1].encode(), None
    if "value_base64" in given:
        try:
            return a2b_base64(str(given.pop("value_base64")), strict_mode=True), "bytes"
        except (Base64Error, ValueError) as error:
            raise BadRequest(f"value_base64: {error}") from None
    if "value" not in given:
        if verb.op == "set" or not given.keys() - {"key", "if_version"}:
            others = "" if verb.op == "set" else " or 'extend' or what it is to be remembered by"
            raise BadRequest(f"{verb.op} needs 'value' or 'value_base64'{others}")
        return b"", None
    value = given.pop("value")
    if isinstance(value, str):
        try:
            return value.encode(), "text"
        except UnicodeEncodeError:
            raise BadRequest("the value is not valid Unicode") from None
    return members["value"][1].encode(), "json"


def _field(row: Argument | Option, name: str, value: Any) -> Any:
    """A member of a line as a field: numbers of a duration count seconds, texts are as on the command line."""
    if row.kind == "flag":
        if not isinstance(value, bool):
            raise BadRequest(f"{name!r} must be true or false")
        return value
    if row.kind in ("pair", "vector"):
        return readings.metadata(name, value) if row.kind == "pair" else readings.vector(name, value)
    if row.many:
        if not (isinstance(value, list) and value):
            raise BadRequest(f"{name!r} must be a list")
        return [_field(Argument(name, row.kind, row.help, choices=row.choices), name, item) for item in value]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{name!r} must be finite")
    if not (isinstance(value, str) or (number and row.kind in (*NUMBERS, "duration", "moment"))):
        raise BadRequest(f"{name!r} must be {'a number' if row.kind in NUMBERS else 'a text'}")
    text = f"{value:.6f}" if isinstance(value, float) and row.kind not in ("decimal", "share") else str(value)
    return read(Argument(name, row.kind, row.help, metavar=name, choices=row.choices), text)  # errors name the member


def _accepted(command: Command, reply: Any, payload: bytes) -> str:
    if command.op == "list":
        rows = ", ".join(render.object_of(render.entry(row)) for row in msgpack.unpackb(payload))
        members = [("entries", f"[{rows}]"), ("cursor", render.dump(reply.get("cursor")))]
    elif command.op == "search":
        members = found_members(command.fields, reply, msgpack.unpackb(payload))
    else:
        members = render.reply(command.op, command.fields, reply, payload)
    return render.object_of([("ok", "true"), *members]) + "\n"


def _refused(problem: StashError) -> str:
    return '{"ok": false, ' + render.error(problem)[1:] + "\n"

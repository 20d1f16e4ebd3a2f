"""The hot verbs. Both ways of reading a command line end here."""

from __future__ import annotations

from stash_cli import render, streams
from stash_protocol.errors import BadRequest, Forbidden, NotFound, Timeout, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from stash_cli.call import Call
    from stash_cli.wire import Connection

MAX_FORGET_KEYS, MAX_PAGE = 256, 1000  # of `operations`, which is too heavy here; a test compares
SMALL = 1 << 16  # bytes of a value that are read before asking what the tier allows
GRACE = 30.0  # seconds a waiting get may take beyond its wait
MAX_COUNTED = 100_000  # entries that are counted before a question; listing that many takes a second
NONE_SUCH = "there are no such entries"


def set_(call: Call) -> None:
    """`stash set`."""
    fields = call.fields()
    given = call.get("value")
    if given is None and fields.get("key") == "-":
        del fields["key"]
    _complete_memory(call, fields)
    value, declared, fields["type"] = typed_value(call, given, "stash set KEY VALUE, or pipe the value in")
    reply = send_value(call, fields, value, declared)
    if call.get("wait_embedding"):
        reply = _settle(call, reply)
    call.print(reply["key"], lambda: render.entry(reply))


def update(call: Call) -> None:
    """`stash update`."""
    fields = call.fields()
    given = call.get("value")
    value, declared = b"", 0
    _complete_memory(call, fields)
    if given is not None or not ("extend_ms" in fields or "memory" in fields):
        value, declared, fields["type"] = typed_value(call, given, "stash update KEY VALUE, or --extend DURATION")
    elif call.get("json_value"):
        raise BadRequest("--json-value: there is no value; say - to read one from stdin")
    reply = send_value(call, fields, value, declared)
    if call.get("wait_embedding"):
        reply = _settle(call, reply)
    call.note_clamped(reply)
    call.print(reply["key"], lambda: render.entry(reply))


def _settle(call: Call, reply: dict[str, Any]) -> dict[str, Any]:
    """What a write was answered with, once the vector it brought about is there, or was given up."""
    if reply.get("embedding_status") not in (None, "pending"):
        _tell_unsettled(call, reply)
        return reply
    key, milliseconds = reply["key"], max(1, round(call.timeout * 1000))
    try:
        settled = call.connect().call("embedded", {"key": key, "wait_ms": milliseconds})[0]
    except Timeout:
        raise Timeout(f"{key} is stored, but its vector was not there in time; it is still to come") from None
    _tell_unsettled(call, settled)
    return {**reply, **settled}


def _tell_unsettled(call: Call, reply: dict[str, Any]) -> None:
    """Why there is no vector."""
    said = {
        "failed": "the embedder gave this text up; stash embed status says why",
        "skipped": "no vector is to come: there is no embedder, or nothing to embed; see stash embed status",
    }.get(reply["embedding_status"])
    if said and not call.as_json:
        streams.say(said)


def _complete_memory(call: Call, fields: dict[str, Any]) -> None:
    if "memory" in fields or "no_embed" in call.values:
        from stash_cli.readings import complete

        if "no_embed" in call.values:
            if "embed" in call.values:
                raise BadRequest("--embed and --no-embed contradict each other; give one")
            fields.setdefault("memory", {})["embed"] = False
        complete(fields["memory"])


def typed_value(call: Call, given: str | None, instead: str) -> tuple[bytes, int, str]:
    """The value, how long it is (more than was read, if too long), and its type."""
    if given is None or given == "-":
        streams.refuse_terminal(instead)
        value, declared = piped_value(call)
    else:
        value = given.encode(errors="surrogateescape")  # the bytes that were typed
        declared = len(value)
    whole = declared == len(value)
    kind = _type_of(value) if whole else "bytes"
    if whole and call.get("json_value"):
        if kind != "text":
            raise BadRequest("--json-value: the value is not UTF-8")
        try:
            render.check_json(value.decode())
        except ValueError as error:
            raise BadRequest(f"--json-value: the value is not JSON: {error}") from None
        kind = "json"
    return value, declared, kind


def piped_value(call: Call) -> tuple[bytes, int]:
    """What stdin has, and how long it is: if the tier does not allow it, more than was read."""
    value = streams.read_stdin(SMALL)
    if len(value) <= SMALL:
        return value, len(value)
    limit: int = call.connect().welcome()["max_value"]
    left = streams.rest_of_stdin()
    if left and len(value) + left > limit:
        return value, len(value) + left
    value += streams.read_stdin(limit - len(value))
    return (value, len(value)) if len(value) <= limit else (b"", limit + 1)  # nobody knows how much is still to come


def _type_of(value: bytes) -> str:
    try:
        value.decode()
    except UnicodeDecodeError:
        return "bytes"
    return "text"


def send_value(call: Call, fields: dict[str, Any], value: bytes, declared: int) -> Any:
    """The reply to the verb's request with its value, which may be too long and then is only declared."""
    connection = call.connect()
    if declared <= SMALL or declared <= connection.welcome()["max_value"]:
        return connection.call(call.verb.op, fields, value)[0]
    # Too large. The daemon refuses by the length alone, counts and audits it; so it is told, and sent nothing more.
    connection.send(connection.frame(call.verb.op, fields, declared)[1])
    try:
        return connection.receive()[0]
    except TooLarge:
        tier, limit = connection.welcome()["tier"], connection.welcome()["max_value"]
        if declared > limit + 1:
            raise
        raise TooLarge(f"the value has more than the {limit:,} bytes tier {tier} allows") from None


def get(call: Call) -> None:
    """`stash get`."""
    wait: int | None = call.get("wait")
    timeout = wait / 1000 + GRACE if wait and call.get("timeout") is None else None
    connection = call.connect(timeout)
    try:
        reply, value = connection.call("get", call.fields())
    except (NotFound, Timeout) as problem:
        in_vain = wait and type(problem) is Timeout  # what the daemon answers; one that does not answer is `Late`
        if call.get("default") is None or not (in_vain or isinstance(problem, NotFound)):
            raise
        _print_default(call)
        return
    if call.as_json:
        streams.emit(render.object_of(render.entry(reply, value)) + "\n")
        return
    emit_value(value)


def _print_default(call: Call) -> None:
    default: str = call.get("default")
    if call.as_json:
        shown = render.shown_value("text", default.encode(errors="surrogateescape"))
        members = [("key", render.dump(call.get("key"))), shown, ("default", "true")]
        streams.emit(render.object_of(members) + "\n")
    else:
        emit_value(default.encode(errors="surrogateescape"))


def emit_value(value: bytes) -> None:
    """A value as it is, with a newline for a person."""
    streams.emit(value)
    if streams.is_terminal(1) and value[-1:] != b"\n":
        streams.emit(b"\n")


def extend(call: Call) -> None:
    """`stash extend`."""
    reply, _ = call.ask()
    call.note_clamped(reply)
    call.print(render.seconds(reply["ttl_ms"]), lambda: render.remaining(reply, call.get("key")))


def ttl(call: Call) -> None:
    """`stash ttl`."""
    reply, _ = call.ask()
    call.print(render.seconds(reply["ttl_ms"]), lambda: render.remaining(reply, call.get("key")))


def exists(call: Call) -> int:
    """`stash exists`."""
    reply, _ = call.ask()
    if call.as_json:
        streams.emit(render.object_of(render.members_of(reply)) + "\n")
    return 0 if reply["exists"] else NotFound.exit_status


def forget(call: Call) -> None:
    """`stash forget`."""
    keys: list[str] = call.get("keys", [])
    chosen = {name: call.get(name) for name in ("prefix", "tag") if call.get(name) is not None}
    if bool(keys) == bool(chosen):
        raise BadRequest("say what to forget: keys, or --prefix, or --tag" + (", not both" if keys else ""))
    if chosen and not call.get("yes"):
        _make_sure(call, chosen)
    connection = call.connect()
    count = connection.call("clear", chosen)[0]["forgotten"] if chosen else forget_keys(connection, {"keys": keys})
    if not count:
        raise NotFound("there is no such entry" if len(keys) == 1 else NONE_SUCH)
    call.print(str(count), lambda: render.members_of({"forgotten": count}))


def forget_keys(connection: Connection, fields: dict[str, Any]) -> int:
    """Delete however many keys, with whatever else the request says of them; how many were there."""
    keys = fields["keys"]
    pages = (keys[start : start + MAX_FORGET_KEYS] for start in range(0, len(keys), MAX_FORGET_KEYS))
    return sum(connection.call("forget", {**fields, "keys": page})[0]["forgotten"] for page in pages)


def _make_sure(call: Call, chosen: dict[str, str]) -> None:
    """Ask a person; and never take an empty prefix, which a script's unset variable is, for a wish."""
    everything = chosen == {"prefix": ""}
    if not streams.is_terminal(0):
        if everything:
            raise BadRequest("--prefix: an empty one means every entry; give --yes too if that is meant")
        return
    words = {"prefix": "whose key starts with {!r}", "tag": "with the tag {!r}"}
    what = " and ".join(words[name].format(text) for name, text in chosen.items())
    if not streams.agrees(f"Forget {_how_many(call, chosen)}{', which is everything' if everything else ' ' + what}?"):
        raise BadRequest("nothing was forgotten")
    call.connect().renew()  # people take their time


def _how_many(call: Call, chosen: dict[str, str]) -> str:
    pages = _Pages(call, chosen, MAX_COUNTED)
    try:
        count = sum(map(len, pages.pages()))
    except Forbidden:  # an API key that may write, and not read
        return "every entry"
    if not count:
        raise NotFound(NONE_SUCH)
    return f"{'more than ' if pages.cursor else ''}{count:,} {'entry' if count == 1 else 'entries'}"


def list_(call: Call) -> None:
    """`stash list`."""
    if call.get("null") and (call.as_json or call.get("long")):
        raise BadRequest("--null goes with neither --long nor --json")
    pages = _Pages(call, call.fields(), call.get("limit"))
    if call.as_json:
        separator = '{"entries": ['
        for row in pages:
            streams.emit(separator + render.object_of(render.entry(row)))
            separator = ", "
        streams.emit(f'{separator if separator != ", " else ""}], "cursor": {render.dump(pages.cursor)}}}\n')
    elif call.get("long"):
        _list_long(pages)
    else:
        end = "\0" if call.get("null") else "\n"
        shown = streams.is_terminal(1) and end == "\n"
        for page in pages.pages():
            keys = (render.printable(row["key"]) if shown else row["key"] for row in page)
            streams.emit("".join([key + end for key in keys]))


def _list_long(pages: _Pages) -> None:
    if streams.is_colourful(1):
        from stash_cli.tables import print_entries

        print_entries(pages)
        return
    head = render.LONG_HEAD + "\n"
    for page in pages.pages():
        streams.emit(head + "".join([render.long_line(row) + "\n" for row in page]))
        head = ""


class _Pages:
    """The entries of a list, page by page.

    Args:
        call: whose.
        fields: which; members of the request.
        most: how many at most; None for all.

    Attributes:
        cursor: where to go on, after the last one; None if there are no more.
    """

    def __init__(self, call: Call, fields: dict[str, Any], most: int | None) -> None:
        self._call = call
        self._fields = fields
        self._most = most
        self.cursor: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """At least one page, which may be empty."""
        import msgpack

        fields, left = dict(self._fields), self._most
        while True:
            fields["limit"] = MAX_PAGE if left is None else min(left, MAX_PAGE)
            reply, payload = self._call.connect().call("list", fields)
            self.cursor = fields["cursor"] = reply.get("cursor")
            page: list[dict[str, Any]] = msgpack.unpackb(payload)
            yield page
            left = None if left is None else left - len(page)
            if self.cursor is None or left == 0:
                return

"""`stash export` and `stash import`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

import msgpack

from stash_cli import portable, render, streams
from stash_cli.call import Call
from stash_cli.outfile import writing
from stash_protocol.errors import BadRequest, StashError

MAX_ROWS = 1000  # of one import request
PAGE = 1 << 20  # bytes of values after which a request is sent: bounds what both sides hold


class Bar(Protocol):
    """What a progress bar is told."""

    def advance(self, count: int) -> None: ...


Exported = tuple[dict[str, Any], bytes, list[str], dict[str, Any] | None]
"""An entry, its value, its tags, and what it is remembered by."""


def export(call: Call) -> None:
    """`stash export`."""
    path: str = call.get("file", "-")
    connection = call.connect()
    watched = streams.is_colourful(2) and not (path == "-" and streams.is_terminal(1))
    total = connection.call("status")[0]["entries"] if watched else 0
    count = 0
    with output(path) as write, progress("export", total, shown=watched) as bar:
        for rows in pages(call, call.get("prefix", "")):
            for row, value, tags, memory in rows:
                write(portable.line_of(row, value, tags, memory))
            count += len(rows)
            bar.advance(len(rows))
    if path != "-" and (call.as_json or streams.is_terminal(2)):
        tell(call, f"exported {count:,} entries to {path}", {"exported": count, "file": path})


def pages(call: Call, prefix: str) -> Iterator[list[Exported]]:
    """All live entries under a prefix, page by page."""
    connection, cursor = call.connect(), ""
    while True:
        connection.renew()
        reply, payload = connection.call("export", {"prefix": prefix, "cursor": cursor})
        yield msgpack.unpackb(payload)
        if reply.get("cursor") is None:
            return
        cursor = reply["cursor"]


@contextmanager
def output(path: str) -> Iterator[Any]:
    """What takes the lines."""
    if path == "-":
        yield streams.emit
        return
    with writing(path) as file:
        yield file.write


def import_(call: Call) -> None:
    """`stash import`."""
    read_in(call, lambda _memory: None)


def read_in(call: Call, check: Callable[[dict[str, Any] | None], None]) -> None:
    """Read entries of which each passes a check of its memory, which raises BadRequest."""
    path: str = call.get("file")
    if path == "-":
        streams.refuse_terminal("name the file, or pipe it in")
    connection = call.connect()
    default_ttl = connection.welcome()["default_ttl_ms"]
    done = {"imported": 0, "skipped": 0, "clamped": 0}
    with _input(path) as file, progress("import", streams.size_of(file.fileno()), shown=streams.is_colourful(2)) as bar:
        for first, rows, size in _batches(file, default_ttl, check):
            connection.renew()
            payload: bytes = msgpack.packb(rows)
            try:
                reply, _ = connection.call("import", call.fields(), payload)
            except StashError as problem:
                raise type(problem)(
                    f"lines {first} on: {problem.message}; {done['imported']:,} entries were imported before",
                    retry_after=problem.retry_after,
                ) from None
            for name in done:
                done[name] += reply[name]
            bar.advance(size)
    tell(call, ", ".join(f"{count:,} {name}" for name, count in done.items() if count or name == "imported"), done)


@contextmanager
def _input(path: str) -> Iterator[IO[bytes]]:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            yield file
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def _batches(
    file: IO[bytes], default_ttl: int, check: Callable[[dict[str, Any] | None], None]
) -> Iterator[tuple[int, list[Any], int]]:
    """Rows for one request, the number of their first line, and how many bytes of the file they took."""
    rows: list[Any] = []
    first, values, size, number = 1, 0, 0, 0
    while line := file.readline(portable.MAX_LINE + 1):
        number += 1
        if len(line) > portable.MAX_LINE:
            raise BadRequest(
                f"line {number} has more than {portable.MAX_LINE:,} bytes; the lines before it were imported"
            )
        if line.strip():
            try:
                row = portable.row_of(line, default_ttl)
                check(row[5])
            except BadRequest as problem:
                raise BadRequest(f"line {number}: {problem.message}; the lines before it were imported") from None
            rows.append(row)
            values += len(row[3])
        size += len(line)
        if len(rows) == MAX_ROWS or values > PAGE:
            yield first, rows, size
            rows, first, values, size = [], number + 1, 0, 0
    if rows:
        yield first, rows, size


@contextmanager
def progress(title: str, total: int, *, shown: bool) -> Iterator[Bar]:
    """A progress bar on stderr; or what takes its place where nobody would see it."""
    if not shown:
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        yield _RichBar(bars, bars.add_task(title, total=total or None))


class _NoBar:
    def advance(self, count: int) -> None:
        pass


class _RichBar:
    def __init__(self, shown: Any, task: Any) -> None:
        self._shown, self._task = shown, task

    def advance(self, count: int) -> None:
        self._shown.advance(self._task, count)


def tell(call: Call, text: str, values: dict[str, Any]) -> None:
    """Say what was done, or answer it as JSON."""
    if call.as_json:
        streams.emit(render.dump(values) + "\n")
    else:
        streams.say(text)

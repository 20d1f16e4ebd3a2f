"""Entries in a file, a JSON line each: what ``stash export`` writes and ``stash import`` reads."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stash_memory.results import ExportedEntry, Portable
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Memory
from stash_protocol.replies import ValueType


class Line(Struct, omit_defaults=True):
    """One entry; times are ISO 8601, ``ttl`` is the seconds it has left."""

    key: str
    ttl: float
    type: ValueType | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    value_base64: str | UnsetType = UNSET
    expires_at: str = ""
    created_at: str = ""
    updated_at: str = ""
    version: int = 0
    size: int = -1
    tags: list[str] = msgspec.field(default_factory=list)
    memory: dict[str, Any] | None = None


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Line).decode
_read_text = msgspec.json.Decoder(str).decode
_read_anything = msgspec.json.Decoder().decode


class Draft:
    """A file that is there whole, once the block has ended, or not at all; what was there before stays until then.

    Attributes:
        count: lines in it.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.count = 0
        self._path = os.path.realpath(path)
        self._draft = f"{self._path}.{os.getpid()}.part"

    def write(self, entries: Iterable[ExportedEntry]) -> None:
        """Add a line for each."""
        for entry in entries:
            self._file.write(_write(line_of(entry)) + b"\n")
            self.count += 1

    def __enter__(self) -> Self:
        self._file = open(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                os.replace(self._draft, self._path)
        finally:
            if os.path.lexists(self._draft):
                os.unlink(self._draft)


def line_of(entry: ExportedEntry) -> Line:
    """An entry as a line; a value that JSON cannot carry to the letter is in base64."""
    value = _value(entry)
    line = Line(
        key=entry.key,
        type=entry.type,
        ttl=entry.ttl,
        expires_at=_moment(entry.expires_at),
        created_at=_moment(entry.created_at),
        updated_at=_moment(entry.updated_at),
        version=entry.version,
        size=entry.size,
        tags=entry.tags,
        memory=None if entry.memory is None else msgspec.to_builtins(entry.memory),  # its vector in base64
    )
    if value is None:
        line.value_base64 = b64encode(entry.raw).decode()
    else:
        line.value = value
    return line


def _value(entry: ExportedEntry) -> Raw | None:
    try:
        if entry.type == "text":
            return Raw(_write(entry.raw.decode()))
        if entry.type == "json" and entry.raw == entry.raw.strip() and b"\n" not in entry.raw:
            _read_anything(entry.raw)
            return Raw(entry.raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        pass
    return None


def _moment(when: Any) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"


def entries_in(path: str | os.PathLike[str]) -> Iterator[tuple[int, Portable]]:
    """The entries of a file, with the numbers of their lines.

    Raises:
        BadRequest: a line is no entry; the message says which and why.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                try:
                    yield number, entry_of(_read(text))
                except (msgspec.DecodeError, UnicodeDecodeError, Base64Error, RecursionError) as error:
                    raise BadRequest(f"line {number} of {os.fspath(path)} is no entry: {error}") from None


def entry_of(line: Line) -> Portable:
    """A line as an entry.

    Raises:
        DecodeError, Base64Error: its value or its memory is not what it should be.
    """
    kind, raw = _typed(line)
    memory = None if line.memory is None else msgspec.convert(line.memory, Memory)
    return Portable(line.key, kind, raw, line.ttl, line.tags, memory)


def _typed(line: Line) -> tuple[ValueType, bytes]:
    if line.value_base64 is not UNSET:
        return line.type or "bytes", b64decode(line.value_base64, validate=True)
    if line.value is UNSET:
        raise msgspec.ValidationError("it has neither value nor value_base64")
    value = bytes(line.value)
    kind = line.type or ("text" if value[:1] == b'"' else "json")
    return kind, value if kind == "json" else _read_text(value).encode()

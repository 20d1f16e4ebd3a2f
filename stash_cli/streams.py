"""Standard input and output as bytes. Light: the hot verbs load it."""

from __future__ import annotations

import os
from errno import EBADF

from stash_protocol.errors import BadRequest, Internal

CHUNK = 1 << 16  # bytes read at once


def emit(data: bytes | str) -> None:
    """Write all of it to stdout, now. A closed pipe raises BrokenPipeError.

    Raises:
        Internal: it cannot be written: stdout is closed, or its disk is full.
    """
    view = memoryview(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Internal(f"stdout cannot be written: {reason(error)}") from None


def reason(error: OSError) -> str:
    """What keeps a file from being read or written."""
    return "it is closed" if error.errno == EBADF else (error.strerror or str(error)).lower()


def say(message: str) -> None:
    """One line for people, on stderr."""
    tell(f"stash: {message}\n")


def tell(text: str) -> None:
    """A text for people, on stderr: help, or a question."""
    try:  # noqa: SIM105  # contextlib takes a millisecond
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody listens, and that is no reason to fail


def agrees(question: str) -> bool:
    """Whether a person, who must be there, says yes; the answer to anything but a yes is no."""
    tell(f"{question} [y/N] ")
    return read_some().strip().lower() in (b"y", b"yes")


def is_terminal(descriptor: int) -> bool:
    """Whether a person is at the other end."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def is_colourful(descriptor: int) -> bool:
    """Whether colours and tables are welcome: a person is there, and has not asked for plain text."""
    return is_terminal(descriptor) and not os.environ.get("NO_COLOR")


def refuse_terminal(instead: str) -> None:
    """Never wait for a person to type a value.

    Raises:
        BadRequest: stdin is a terminal; ``instead`` is what to do.
    """
    if is_terminal(0):
        raise BadRequest(f"no value was given, and stdin is a terminal; {instead}")


def read_stdin(limit: int) -> bytes:
    """What stdin has, up to its end, or up to a little more than ``limit`` bytes.

    Raises:
        BadRequest: it cannot be read.
    """
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        part = read_some()
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def read_some() -> bytes:
    """What stdin has now, waiting for some; empty at its end.

    Raises:
        BadRequest: it cannot be read.
    """
    try:
        return os.read(0, CHUNK)
    except OSError as error:
        raise BadRequest(f"stdin cannot be read: {reason(error)}") from None


def rest_of_stdin() -> int:
    """Bytes a regular file on stdin has left; 0 where nobody can say."""
    try:
        return max(0, size_of(0) - os.lseek(0, 0, os.SEEK_CUR))
    except OSError:
        return 0


def size_of(descriptor: int) -> int:
    """Bytes of an open regular file; 0 for anything else."""
    return os.fstat(descriptor).st_size

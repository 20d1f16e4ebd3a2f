"""Standard input and output as bytes. Light: the hot verbs load it."""

from __future__ import annotations

import os

from stash_protocol.errors import BadRequest

CHUNK = 1 << 16  # bytes read at once


def emit(data: bytes | str) -> None:
    """Write all of it to stdout, now. A closed pipe raises BrokenPipeError."""
    view = memoryview(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
    while view:
        view = view[os.write(1, view) :]


def say(message: str) -> None:
    """One line for people, on stderr."""
    try:  # noqa: SIM105  # contextlib takes a millisecond
        os.write(2, f"stash: {message}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody listens, and that is no reason to fail


def ask(question: str) -> None:
    """A question for people, on stderr; the answer is for `read_some`."""
    os.write(2, question.encode(errors="backslashreplace"))


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
        raise BadRequest(f"stdin cannot be read: {(error.strerror or str(error)).lower()}") from None


def rest_of_stdin() -> int:
    """Bytes a regular file on stdin has left; 0 where nobody can say."""
    try:
        return max(0, size_of(0) - os.lseek(0, 0, os.SEEK_CUR))
    except OSError:
        return 0


def size_of(descriptor: int) -> int:
    """Bytes of an open regular file; 0 for anything else."""
    return os.fstat(descriptor).st_size

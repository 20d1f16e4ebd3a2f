"""Files a verb writes whole: a regular file is replaced in one step, anything else is written straight through."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from stash_cli.streams import reason
from stash_protocol.errors import BadRequest


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """What takes the bytes of a file.

    A regular file keeps its mode and has its old content until the new one is whole; a new file is for its owner alone.
    Symbolic links are followed. A device, a FIFO or a descriptor (``/dev/fd/63``) is written to as it is.

    Raises:
        BadRequest: it cannot be written. A closed pipe raises BrokenPipeError.
    """
    try:
        descriptor, there = _named_descriptor(path), _look_at(path)
        if descriptor is not None:
            with open(os.dup(descriptor), "wb") as file:
                yield file
        elif there is None or stat.S_ISREG(there.st_mode):
            with _replacing(os.path.realpath(path), there) as file:
                yield file
        else:
            with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BadRequest(f"{path} cannot be written: {reason(error)}") from None


def _named_descriptor(path: str) -> int | None:
    """The descriptor that ``/dev/stdout`` or ``/dev/fd/N`` names; opening it anew would lose its place in a file.

    Raises:
        OSError: none of that number was handed to this process. Its own, a socket perhaps, are none of the caller's.
    """
    word = {"/dev/stdout": "1", "/dev/stderr": "2"}.get(path) or path.removeprefix("/dev/fd/")
    if not (word.isascii() and word.isdigit() and len(word) < 8 and path.startswith("/dev/")):
        return None
    if not os.get_inheritable(int(word)):
        raise FileNotFoundError(0, "no such descriptor")
    return int(word)


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


@contextmanager
def _replacing(path: str, there: os.stat_result | None) -> Iterator[IO[bytes]]:
    scratch = f"{path}.{os.getpid()}.part"
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            if there is not None:
                _take_after(file.fileno(), there)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        if os.path.lexists(scratch):
            os.unlink(scratch)


def _take_after(descriptor: int, there: os.stat_result) -> None:
    """Give a file the owner and mode of another; if the owner cannot be had, it stays for whoever runs this alone."""
    with suppress(PermissionError):
        os.fchown(descriptor, there.st_uid, there.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode))

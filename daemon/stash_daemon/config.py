"""The configuration file on disk: read only when it is private, written only whole."""

from __future__ import annotations

import os
import stat
from typing import Any

from stash_protocol.errors import BadRequest, StorageFull

MAX_CONFIG = 4 << 20  # bytes: 10,000 API keys take 3 MiB; nothing a person wrote is longer


def read_text(path: str, *, private: bool = True) -> str | None:
    """The file's text; None where there is none.

    Args:
        path: of the file.
        private: refuse one that is readable for others.

    Raises:
        BadRequest: it is a symlink, somebody else's, readable for others, too long or not UTF-8; one line that says so.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "is a symbolic link; write its target" if os.path.islink(path) else f"cannot be read: {error.strerror}"
        raise BadRequest(f"{path} {reason}") from None
    try:
        _refuse_unsafe(path, os.fstat(descriptor), private=private)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_CONFIG + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_CONFIG:
        raise BadRequest(f"{path} has more than {MAX_CONFIG:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 at byte {error.start}") from None


def _refuse_unsafe(path: str, facts: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise BadRequest(f"{path} is not a regular file")
    if facts.st_uid != os.geteuid():
        raise BadRequest(f"{path} belongs to uid {facts.st_uid}, not to you (uid {os.geteuid()})")
    mode = stat.S_IMODE(facts.st_mode)
    if private and mode & 0o077:
        raise BadRequest(f"{path} has mode {mode:04o}, but may hold API keys: chmod 0600 {path}")


def parse(path: str, text: str) -> dict[str, Any]:
    """The tables in the file.

    Raises:
        BadRequest: not TOML; one line that names the file and the place.
    """
    import tomllib  # 12 ms, and most users have no file

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadRequest(f"{path}: {' '.join(str(error).split()) or 'not TOML'}") from None


def read(path: str, *, private: bool = True) -> dict[str, Any]:
    """The tables in the file, see `read_text`; none where there is no file.

    Raises:
        BadRequest: see `read_text` and `parse`.
    """
    text = read_text(path, private=private)
    return {} if text is None else parse(path, text)


def write(path: str, text: str) -> None:
    """Replace the file, or make it: whoever reads sees the old text or the new, also after a crash.

    Raises:
        StorageFull: the directory cannot be written; the old file stands.
    """
    directory = os.path.dirname(path)
    scratch = path + ".new"  # one owner, so one name: what a killed writer left is overwritten, not piled up
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            _write_through(scratch, text.encode())
            os.rename(scratch, path)
        except BaseException:
            if os.path.lexists(scratch):
                os.unlink(scratch)
            raise
        _sync_directory(directory)
    except OSError as error:
        raise StorageFull(f"{path} cannot be written: {error.strerror}") from error


def _write_through(path: str, data: bytes) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # a stricter umask would leave less
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A file that lines are added to, one process writing: private, rotated, never torn."""

from __future__ import annotations

import os
import re
import stat
import threading
import time

MAX_FILE = 64 << 20  # bytes: what an editor still opens; then the file is rotated within its day
DAY = 86_400_000  # milliseconds

_API_KEY = re.compile(r"sk_[A-Za-z0-9_-]{43}")


def line_of(text: str) -> bytes:
    """One line of a file. API keys in it are blotted out, whatever somebody put them into."""
    return _API_KEY.sub("sk_[hidden]", text).encode("utf-8", "backslashreplace") + b"\n"


def stamp(now: int) -> str:
    """Milliseconds since the epoch as ISO 8601, UTC."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now // 1000))}.{now % 1000:03d}Z"


class LineFile:
    """Appends lines to ``path``; at midnight UTC, or when it is too large, renames it to ``path.2026-11-20``.

    Args:
        path: created with mode 0600 in a directory with mode 0700; a symlink there is refused.
        keep: milliseconds that rotated files stay; None: for good.
        max_bytes: rotate at this size, too.
    """

    def __init__(self, path: str, keep: int | None, max_bytes: int = MAX_FILE) -> None:
        self._path = path
        self._keep = keep
        self._max_bytes = max_bytes
        self._descriptor = -1
        self._inode = (0, 0)
        self._size = 0
        self._day = 0
        self._lock = threading.Lock()  # scans log from their own threads

    def append(self, line: bytes, now: int) -> None:
        """Add one line, whole or not at all.

        Raises:
            OSError: it was not added; nothing of it is in the file.
        """
        with self._lock:
            self._prepare(len(line), now)
            written = 0
            try:
                while written < len(line):
                    written += os.write(self._descriptor, line[written:])
            except OSError:
                if written:
                    os.ftruncate(self._descriptor, self._size)
                raise
            self._size += written

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _prepare(self, coming: int, now: int) -> None:
        if self._descriptor >= 0 and self._moved():
            self._release()
        if self._descriptor < 0:
            self._open()
        if self._size and (now // DAY != self._day or self._size + coming > self._max_bytes):
            self._rotate()
            self._open()
            self._drop_old(now)
        self._day = now // DAY

    def _moved(self) -> bool:
        """Whether somebody renamed or deleted the file under us."""
        try:
            facts = os.lstat(self._path)
        except FileNotFoundError:
            return True
        return (facts.st_dev, facts.st_ino) != self._inode

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            os.close(descriptor)
            raise PermissionError(f"{self._path} is not a regular file of ours")
        os.fchmod(descriptor, 0o600)
        self._descriptor, self._inode = descriptor, (facts.st_dev, facts.st_ino)
        self._size, self._day = facts.st_size, int(facts.st_mtime) * 1000 // DAY

    def _rotate(self) -> None:
        base = f"{self._path}.{stamp(self._day * DAY)[:10]}"
        target, number = base, 1
        while os.path.lexists(target):
            target, number = f"{base}.{number}", number + 1
        os.rename(self._path, target)
        self._release()

    def _drop_old(self, now: int) -> None:
        if self._keep is None:
            return
        oldest = stamp(max(0, now - self._keep))[:10]
        directory, name = os.path.split(self._path)
        rotated = re.compile(re.escape(name) + r"\.(\d{4}-\d\d-\d\d)(\.\d+)?")
        for other in os.listdir(directory):
            match = rotated.fullmatch(other)
            if match and match[1] < oldest:
                os.unlink(os.path.join(directory, other))

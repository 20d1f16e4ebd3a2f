"""Room kept back for deleting: SQLite needs some to delete, and on a full disk there is none.

A file of its own holds it. Once the disk is full the file is emptied; what then still fits is for what frees, and
nothing that grows is written until the file could be filled again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time

LARGEST = 4 << 20  # bytes: some thousand entries deleted between two checkpoints
SMALLEST = 128 << 10  # bytes: a slice of a prune
SHARE = 32  # of a disk: a small one is not for its reserve
LOOK_EVERY = 0.05  # seconds between looks at the disk
TRY_EVERY = 0.25  # seconds between attempts to fill it again


class Reserve:
    """The room kept back beside one database.

    Args:
        path: of the file.

    Attributes:
        spent: it was given up, or could not be had.
    """

    def __init__(self, path: str) -> None:
        self.spent = True
        self._path = path
        self._looked = self._tried = 0.0
        self.refill()

    def low(self) -> bool:
        """Whether so little is left on the disk that the reserve is needed; looks at the disk every now and then."""
        now = time.monotonic()
        if self.spent or now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        available, size = self._disk()
        return available < size

    def spend(self) -> None:
        """Give it up."""
        self.spent = True
        self._tried = time.monotonic()
        with contextlib.suppress(OSError):
            os.truncate(self._path, 0)

    def refill(self) -> bool:
        """Take the room again; whether the disk has as much again beside it."""
        now = time.monotonic()
        if self.spent and now - self._tried < TRY_EVERY:
            return False
        self._tried = now
        available, size = self._disk()
        if available < 2 * size:
            return False
        self.spent = not self._take(size)  # it may not be had where files are limited; then there is none
        return True

    def _take(self, size: int) -> bool:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            allocate(file, size)
            if os.fstat(file).st_blocks * 512 < size:  # there is no fallocate here
                os.pwrite(file, bytes(size), 0)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, 0)
            return False
        finally:
            os.close(file)
        return True

    def remove(self) -> None:
        """The database is closed: its reserve is of no use to anybody."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _disk(self) -> tuple[int, int]:
        """Bytes that are left on the disk, and how large the reserve is there."""
        try:
            disk = os.statvfs(os.path.dirname(self._path))
        except OSError:
            return LARGEST * 4, LARGEST
        total = disk.f_blocks * disk.f_frsize
        return disk.f_bavail * disk.f_frsize, max(SMALLEST, min(LARGEST, total // SHARE))


def allocate(file: int, size: int) -> None:
    """Have a file hold so many bytes on the disk; nothing, where the file system cannot.

    The kernel's own call: SQLite's size hint, and the C library's stand-in where a file system has none, write into
    blocks they believe to be empty, which a checkpoint on another thread may have just filled.

    Raises:
        OSError: there is no room.
    """
    if _fallocate is None:
        return
    if _fallocate(file, 0, 0, size) != 0 and ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)  # Linux only
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

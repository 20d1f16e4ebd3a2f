"""The owner lock: one daemon per data directory, or one program per file, for as long as it lives.

`flock` rather than a pid file: the kernel lets go of it however the owner dies, so nothing here can be stale. The pid
inside the file is for people and for error messages; nobody decides by it.
"""

from __future__ import annotations

import fcntl
import os
import time

from stash_protocol.errors import BadRequest, Busy

PID_PATIENCE = 0.2  # seconds: an owner that took the lock this moment may not have written its pid yet
PID_POLL = 0.01  # seconds


class OwnerLock:
    """The lock beside the data.

    Args:
        path: of the lock file; made with mode 0600, never unlinked: two owners could lock two files.
        claim: what another owner has, as its error begins: "x.db is open in the process".
    """

    def __init__(self, path: str, claim: str) -> None:
        self.path = path
        self._claim = claim
        self._descriptor = -1

    def acquire(self) -> None:
        """Own the data until `release` or the end of the process.

        Raises:
            Busy: another process owns it; the message names its pid.
            BadRequest: the file cannot be opened, or is a symlink.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BadRequest(f"{self.path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise Busy(f"{self._claim} with pid {owner}") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _owner(descriptor: int) -> str:
    """The pid in a lock file somebody else holds, as soon as it is that of a running process."""
    deadline = time.monotonic() + PID_PATIENCE
    while True:
        written = os.pread(descriptor, 32, 0).strip()
        if written.isdigit() and _alive(int(written)):
            return written.decode()
        if time.monotonic() > deadline:
            return "unknown"
        time.sleep(PID_POLL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

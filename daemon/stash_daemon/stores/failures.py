"""What an error of SQLite means to a caller."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from stash_daemon.store import FULL
from stash_protocol.errors import Busy, StashError, StorageDamaged, StorageFull

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a full disk, quota, or file size limit


def translate(error: apsw.Error, system_errno: int = 0) -> StashError:
    """The error of stash that says it; ``system_errno`` is what the file system said, where it was asked."""
    if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and system_errno in NO_ROOM):
        return StorageFull(FULL)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Busy("the database is held by another process; try again", retry_after=1)
    return StorageDamaged(f"the database cannot be used ({error}); run: stash doctor")


def of_system(error: OSError) -> StashError:
    """The same for an error of the file system itself."""
    if error.errno in NO_ROOM:
        return StorageFull(FULL)
    return StorageDamaged(f"the database cannot be written ({error}); run: stash doctor")


@contextmanager
def translated() -> Iterator[None]:
    """Errors of SQLite inside, as errors of stash outside."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error) from error

"""Puts an engine together: the lock, the store, the clock, the API keys, the observer."""

from __future__ import annotations

import json
import os
from pathlib import Path

from stash_daemon.clock import Anchor, Clock, SystemClock
from stash_daemon.engine import CLOCK, Engine
from stash_daemon.keys import ApiKeys
from stash_daemon.lock import OwnerLock
from stash_daemon.observe import Observer
from stash_daemon.settings import Settings
from stash_daemon.stores.sqlite import SqliteStore
from stash_protocol.errors import BadRequest

DATABASE = "stash.db"  # in the data directory, with the lock of its owner beside it
LOCK = "daemon.lock"
RESERVE = "reserve"  # room for deleting on a full disk


def open_engine(settings: Settings, *, clock: Clock | None = None) -> Engine:
    """The daemon's engine, which owns the data directory until it is closed.

    Args:
        settings: ``data_dir`` says where the database lies; ``backend`` and ``durability`` whether it lies anywhere.
        clock: for tests; else the system's, going on from where the last run of this database was.

    Raises:
        Busy: another process owns the directory; the message names it.
        StorageDamaged: the database is not a whole one of ours.
        BadRequest: the directory cannot be made.
    """
    in_memory = settings.backend == "memory" or settings.durability == "memory"
    database = "" if in_memory else f"{settings.data_dir}/{DATABASE}"
    lock = OwnerLock(f"{settings.data_dir}/{LOCK}", f"{settings.data_dir} belongs to the daemon")
    return _open(settings, database, lock, clock, reserve=f"{settings.data_dir}/{RESERVE}" if database else "")


def open_embedded(settings: Settings, path: str, *, clock: Clock | None = None) -> Engine:
    """An engine inside somebody's program; it owns the file at ``path``, or no file when that is empty.

    Raises:
        Busy: another process owns the file; the message names it.
        StorageDamaged: the file is not a whole database of ours.
        BadRequest: there is a directory, or there cannot be a file.
    """
    if os.path.isdir(path):
        raise BadRequest(f"{path} is a directory; the path of a stash is that of its file")
    lock = OwnerLock(path + ".lock", f"{path} is open in the process") if path else None
    return _open(settings, path, lock, clock)


def _open(settings: Settings, database: str, lock: OwnerLock | None, clock: Clock | None, reserve: str = "") -> Engine:
    if lock is not None:
        _make_directory(os.path.dirname(lock.path))
        lock.acquire()
    store: SqliteStore | None = None
    try:
        store = SqliteStore(database, settings.durability, reserve)
        kept = store.load_meta(CLOCK)
        clock = clock or SystemClock(Anchor(*json.loads(kept)) if kept else None)
        engine = Engine(store, clock, settings, ApiKeys(settings, clock), Observer(settings, clock))
        engine.lock = lock
        engine.save_clock()
    except BaseException:
        if store is not None:
            store.close()
        if lock is not None:
            lock.release()
        raise
    return engine


def _make_directory(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"the directory {path} cannot be made: {error.strerror}") from None

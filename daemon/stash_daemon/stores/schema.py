"""The SQLite file: its schema, version by version, and the checks a file must pass before it is believed."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from stash_protocol.errors import StorageDamaged

APPLICATION_ID = 0x73746173  # "stas"; tells our file from any other SQLite file
PAGE_SIZE = 8192  # bytes; 1 KiB values fill 86 % of such pages, but only 74 % of pages of 4,096

MIGRATIONS = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE namespaces (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        floor INTEGER NOT NULL DEFAULT 0  -- the highest version of any deleted entry
    ) STRICT;

    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        namespace INTEGER NOT NULL,
        key TEXT NOT NULL,
        type INTEGER NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        ttl INTEGER NOT NULL,
        version INTEGER NOT NULL,
        size INTEGER NOT NULL,
        tagged INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX entries_by_key ON entries (namespace, key);
    CREATE INDEX entries_by_expiry ON entries (expires, namespace, size);

    CREATE TABLE tags (
        entry INTEGER NOT NULL,
        tag TEXT NOT NULL,
        PRIMARY KEY (entry, tag)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER tags_die_with_their_entry AFTER DELETE ON entries WHEN old.tagged
    BEGIN DELETE FROM tags WHERE entry = old.id; END;
    """,
    # Entries are filed under a time that may lie before their expiry, so that a rewrite need not touch the index.
    """
    CREATE TABLE filed (
        id INTEGER PRIMARY KEY,
        namespace INTEGER NOT NULL,
        key TEXT NOT NULL,
        type INTEGER NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        ttl INTEGER NOT NULL,
        version INTEGER NOT NULL,
        size INTEGER NOT NULL,
        tagged INTEGER NOT NULL,
        due INTEGER NOT NULL,  -- when the sweeper looks at it: never after `expires`
        early INTEGER NOT NULL,  -- 0: `due` is `expires`; 1: that is not known, it may be earlier
        value BLOB NOT NULL
    ) STRICT;
    INSERT INTO filed SELECT id, namespace, key, type, created, updated, expires, ttl, version, size, tagged, expires,
        0, value FROM entries;
    DROP TABLE entries;
    ALTER TABLE filed RENAME TO entries;
    CREATE UNIQUE INDEX entries_by_key ON entries (namespace, key);
    CREATE INDEX entries_by_due ON entries (early, due, namespace, size);
    CREATE TRIGGER tags_die_with_their_entry AFTER DELETE ON entries WHEN old.tagged
    BEGIN DELETE FROM tags WHERE entry = old.id; END;
    """,
    """
    CREATE TABLE memories (
        entry INTEGER PRIMARY KEY,
        namespace INTEGER NOT NULL,
        expires INTEGER NOT NULL,  -- the entry's, so that search need not look at entries
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL,
        "group" TEXT,
        role INTEGER NOT NULL,
        score REAL,
        importance REAL,
        metadata TEXT,
        text TEXT,
        embed INTEGER NOT NULL,
        state INTEGER NOT NULL,
        archived INTEGER,
        words INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX memories_by_expiry ON memories (namespace, expires, bytes);
    CREATE INDEX memories_pending ON memories (due) WHERE state = 1;

    CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        namespace INTEGER NOT NULL,
        name TEXT NOT NULL,
        dimensions INTEGER NOT NULL,
        UNIQUE (namespace, name)
    ) STRICT;
    CREATE TABLE vectors (entry INTEGER PRIMARY KEY, model INTEGER NOT NULL, vector BLOB NOT NULL) STRICT;
    CREATE INDEX vectors_by_model ON vectors (model);

    CREATE VIRTUAL TABLE words USING fts5(terms, content='', contentless_delete=1, tokenize='ascii');
    CREATE VIRTUAL TABLE word_places USING fts5vocab(words, instance);

    DROP TRIGGER tags_die_with_their_entry;
    CREATE TRIGGER tags_die_with_their_entry AFTER DELETE ON entries WHEN old.tagged & 1
    BEGIN DELETE FROM tags WHERE entry = old.id; END;
    CREATE TRIGGER memories_die_with_their_entry AFTER DELETE ON entries WHEN old.tagged & 2
    BEGIN
        DELETE FROM memories WHERE entry = old.id;
        DELETE FROM vectors WHERE entry = old.id;
        DELETE FROM words WHERE rowid = old.id;
    END;
    """,
    """
    CREATE TABLE pieces (value INTEGER NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX pieces_of_a_value ON pieces (value, place);
    CREATE TABLE litter (value INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;  -- values no entry has, or not yet
    """,
    # The words of memories behind this entry are not in the keyword index yet: see stores/words.py.
    """
    INSERT INTO meta SELECT 'worded', ifnull(max(entry), 0) FROM memories;
    """,
)
"""What brings a file from version N to N + 1; `user_version` is the number of those that were applied."""

SCHEMA_VERSION = len(MIGRATIONS)


def create(path: str) -> None:
    """Make a new, private database file.

    It is filled under another name and renamed, so that a file of zero bytes at ``path`` is never one of ours.

    Raises:
        StorageDamaged: the log of another database lies beside it: that one was removed, and its log must not be
            played into this one.
    """
    if Path(path + "-wal").exists():
        raise StorageDamaged(f"{path} is gone but its log {path}-wal is there; restore the one or remove the other")
    draft = path + ".new"
    Path(draft).unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    connection = apsw.Connection(draft)
    connection.execute("PRAGMA synchronous = OFF")  # until it has its name nothing is lost with it: one sync will do
    prepare(connection)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    descriptor = os.open(draft, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(draft, path)


def prepare(connection: apsw.Connection) -> None:
    """Lay out an empty database: what cannot be changed later, then the schema."""
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}; PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(connection)


def migrate(connection: apsw.Connection) -> None:
    """Bring the schema up to date, all of it or nothing."""
    version = _pragma(connection, "user_version")
    with connection:
        for number in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[number])
        if version < SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def verify(connection: apsw.Connection, path: str) -> None:
    """Refuse what is not a whole database of ours.

    Raises:
        StorageDamaged: names the file and what is wrong with it. Nothing was changed.
    """
    if Path(path).stat().st_size == 0:
        raise StorageDamaged(
            f"{path} is empty (0 bytes), which a database of stash never is; restore it or move it away"
        )
    try:
        application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StorageDamaged(f"{path} is not a whole SQLite database ({error}); run: stash doctor") from error
    if application != APPLICATION_ID:
        raise StorageDamaged(f"{path} is a database of something else; move it away or set STASH_HOME")
    if version > SCHEMA_VERSION:
        raise StorageDamaged(
            f"{path} was written by a newer stash (schema {version}, this one knows {SCHEMA_VERSION}); upgrade stash"
        )
    if not {"meta", "namespaces", "entries", "tags"} <= tables:
        raise StorageDamaged(f"{path} lacks tables of its schema; run: stash doctor")


def _pragma(connection: apsw.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchall()[0][0])  # type: ignore[arg-type]  # these are integers

"""Large values in pieces: who owns them, and when they go."""

from __future__ import annotations

from pathlib import Path

import apsw

from stash_daemon.store import LARGE, Fresh
from stash_daemon.stores import schema
from stash_daemon.stores.sqlite import SqliteStore


def fresh(value: bytes) -> Fresh:
    return Fresh(type=0, created=1, updated=1, expires=100, ttl=99, version=1, value=value)


def swept(store: SqliteStore) -> int:
    """Pieces left once nobody needs the others."""
    more = True
    while more:
        store.begin()
        more = store.collect()
        store.commit()
    return int(store._rows("SELECT count(*) FROM pieces")[0][0])


def test_a_large_value_of_the_first_schema_goes_without_the_pieces_of_others(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    old = apsw.Connection(path)
    old.execute(f"PRAGMA page_size = {schema.PAGE_SIZE}; PRAGMA application_id = {schema.APPLICATION_ID}")
    old.execute(schema.MIGRATIONS[0] + "; PRAGMA user_version = 1; INSERT INTO namespaces VALUES (1, 'default', 0)")
    for number, start in enumerate((b"1", b"no number", b"0"), start=1):
        value = start + bytes(LARGE)
        row = (number, f"old{number}", len(value), value)
        old.execute("INSERT INTO entries VALUES (?, 1, ?, 0, 1, 1, 100, 99, 1, ?, 0, ?)", row)
    old.close()
    store, content = SqliteStore(path), bytes(LARGE + 1)
    store.begin()
    store.insert(1, "new", fresh(content))
    store.delete(1, [head for number in (1, 2, 3) if (head := store.head(1, f"old{number}"))])
    store.commit()
    assert swept(store) == 3
    row = store.find(1, "new", 0)
    assert row is not None
    assert bytes(row.value) == content
    store.close()


def test_pieces_are_swept_later_when_sweeping_them_was_undone(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    store.begin()
    namespace = store.create_namespace("default")
    store.insert(namespace, "k", fresh(bytes(LARGE + 1)))
    store.delete(namespace, [head for head in [store.head(namespace, "k")] if head])
    store.commit()
    while store.littered:
        store.begin()
        store.collect()
        if store.littered:
            store.commit()
    store.rollback()  # what a full disk does to the last slice of it
    assert store.littered
    assert swept(store) == 0
    store.close()


def test_the_file_has_room_for_the_pieces_of_a_value_that_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = SqliteStore(str(path))
    store.begin()
    namespace = store.create_namespace("default")
    store.insert(namespace, "k", fresh(bytes(LARGE + 1)))
    store.commit()
    head = store.head(namespace, "k")
    assert head is not None
    store.begin()
    store.replace(namespace, head, fresh(bytes(LARGE + 1)))
    store.commit()
    assert path.stat().st_blocks * 512 > 2 * LARGE
    store.close()

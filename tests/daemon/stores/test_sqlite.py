"""The store keeps its promises in a file and in memory alike; and what only a file can show."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from stash_daemon.store import Fresh, Usage
from stash_daemon.stores import schema
from stash_daemon.stores.space import VACUUM_SLACK
from stash_daemon.stores.sqlite import SqliteStore
from stash_protocol.errors import StorageDamaged, StorageFull


def fresh(value: bytes = b"v", *, expires: int = 100, version: int = 1) -> Fresh:
    return Fresh(type=0, created=1, updated=1, expires=expires, ttl=99, version=version, value=value)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "s.db") if request.param == "file" else "")
    yield store
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s.db")


def fill(store: SqliteStore, count: int = 3, size: int = 10, **fields: int) -> int:
    store.begin()
    namespace = store.create_namespace("default")
    for n in range(count):
        store.insert(namespace, f"k{n}", fresh(b"x" * size, **fields))
    store.commit()
    return namespace


# ── turns ──


def test_a_turn_that_is_rolled_back_leaves_rows_sums_and_names_as_they_were(store: SqliteStore) -> None:
    namespace = fill(store)
    store.begin()
    store.delete(namespace, store.expired(1000, 2))
    store.insert(store.create_namespace("other"), "k", fresh())
    store.rollback()
    assert (store.usage(namespace, 0), store.floor(namespace), store.namespace("other")) == (Usage(3, 30), 0, 0)
    assert store.find(namespace, "k0", 0) is not None


def test_a_savepoint_that_fails_undoes_only_what_was_inside(store: SqliteStore) -> None:
    namespace = fill(store)
    store.begin()
    store.insert(namespace, "before", fresh(b"12345"))
    with suppress(ZeroDivisionError), store.savepoint():
        store.delete(namespace, store.expired(1000, 2))
        raise ZeroDivisionError
    store.commit()
    assert store.usage(namespace, 0) == Usage(4, 35)


def test_sums_agree_with_the_rows_after_every_kind_of_write(store: SqliteStore) -> None:
    namespace = fill(store, 5)
    store.begin()
    head = store.head(namespace, "k1")
    assert head is not None
    store.replace(namespace, head, fresh(b"longer than before"))
    store.retime(head, expires=7, ttl=1, version=3)
    store.delete(namespace, store.expired(7, 10))
    store.commit()
    with store.snapshot() as reads:
        heads, _ = reads.page(namespace, "", "", 100, now=0)
    assert store.usage(namespace, 0) == Usage(len(heads), sum(head.size for head in heads)) == Usage(4, 40)


def test_what_is_over_and_not_deleted_is_in_no_figure(store: SqliteStore) -> None:
    namespace = fill(store, 3, expires=50)
    assert store.usage(namespace, 49) == Usage(3, 30)
    assert store.usage(namespace, 50) == Usage(0, 0)
    assert store.overdue(namespace, 50) == Usage(3, 30)
    assert store.total(50) == (Usage(0, 0), 0)


def test_a_tag_dies_with_its_entry(store: SqliteStore) -> None:
    store.begin()
    namespace = store.create_namespace("default")
    entry = store.insert(namespace, "k", fresh(), ["a", "b"])
    assert store.tags(entry) == ["a", "b"]
    store.delete(namespace, store.expired(1000, 1))
    assert store.tags(entry) == []
    store.commit()


def test_the_earliest_expiry_comes_first(store: SqliteStore) -> None:
    assert store.next_expiry() is None
    namespace = fill(store, 1, expires=300)
    store.begin()
    store.insert(namespace, "soon", fresh(expires=200))
    store.commit()
    assert store.next_expiry() == 200
    assert [row.key for row in store.expired(1000, 10)] == ["soon", "k0"]
    assert [row.key for row in store.soonest(namespace, 200, 10)] == ["k0"]


# ── the file ──


def test_another_run_finds_everything_the_last_one_committed(path: str) -> None:
    first = SqliteStore(path)
    namespace = fill(first)
    first.begin()
    first.delete(namespace, first.expired(1000, 1))
    first.commit()
    first.save_meta("clock", "now")
    first.close()
    second = SqliteStore(path)
    assert (second.usage(namespace, 0), second.floor(namespace)) == (Usage(2, 20), 1)
    assert (second.namespace("default"), second.load_meta("clock")) == (namespace, "now")
    second.close()


def test_the_file_and_its_log_are_private_whatever_the_umask(path: str) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        fill(store)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in Path(path).parent.iterdir()}
    finally:
        os.umask(before)
    store.close()
    assert modes == {0o600}


def test_a_snapshot_sees_one_moment_while_writes_go_on(path: str) -> None:
    store = SqliteStore(path)
    namespace = fill(store)
    with store.snapshot() as reads:
        first, _ = reads.page(namespace, "", "", 100, now=0)
        store.begin()
        store.delete(namespace, store.expired(1000, 100))
        store.commit()
        assert reads.page(namespace, "", "", 100, now=0)[0] == first
    with store.snapshot() as reads:
        assert reads.page(namespace, "", "", 100, now=0)[0] == []
    store.close()


def test_deleted_bytes_are_in_no_file_any_more_and_the_file_shrinks(path: str) -> None:
    store = SqliteStore(path)
    namespace = fill(store, 2000, 1000)
    store.begin()
    store.insert(namespace, "secret", fresh(b"canary-in-the-mine" * 50))
    store.commit()
    store.checkpoint(truncate=True)
    full = Path(path).stat().st_size
    store.begin()
    store.delete(namespace, store.expired(1000, 10_000))
    while store.tidy():
        pass
    store.commit()
    store.checkpoint(truncate=True)
    files = {file.name: file.read_bytes() for file in Path(path).parent.iterdir()}
    store.close()
    assert len(files["s.db"]) <= (VACUUM_SLACK + 24) * schema.PAGE_SIZE < full
    assert not [name for name, content in files.items() if b"canary" in content]


def test_no_other_process_can_open_the_file_meanwhile(path: str) -> None:
    store = SqliteStore(path)
    fill(store)
    reading = f"import sqlite3; sqlite3.connect({path!r}, timeout=0).execute('SELECT * FROM entries')"
    other = subprocess.run([sys.executable, "-c", reading], capture_output=True, text=True, check=False)
    store.close()
    assert "database is locked" in other.stderr


def test_a_turn_on_a_file_that_was_removed_is_refused(path: str) -> None:
    store = SqliteStore(path)
    fill(store)
    Path(path).unlink()
    with pytest.raises(StorageDamaged, match="removed"):
        store.begin()
    with pytest.raises(StorageDamaged, match="removed"):
        store.probe()
    store.close()


def test_a_full_disk_is_named_reads_go_on_and_writes_resume(path: str) -> None:
    store = SqliteStore(path)
    namespace = fill(store)
    store._connection.execute("PRAGMA max_page_count = 1")
    store.begin()
    with pytest.raises(StorageFull):
        store.insert(namespace, "big", fresh(b"x" * 1_000_000))
    store.rollback()
    assert store.find(namespace, "k0", 0) is not None
    assert store.usage(namespace, 0) == Usage(3, 30)
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.begin()
    store.insert(namespace, "big", fresh(b"x" * 1_000_000))
    store.commit()
    store.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes"),
        (b"not a database, but long enough to be read as one " * 100, "not a whole SQLite database"),
    ],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: str, content: bytes, said: str) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(StorageDamaged, match=said):
        SqliteStore(path)
    assert Path(path).read_bytes() == content


def test_a_database_of_something_else_is_refused(path: str) -> None:
    apsw.Connection(path).execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageDamaged, match="something else"):
        SqliteStore(path)


def test_a_database_of_a_newer_stash_is_refused(path: str) -> None:
    SqliteStore(path).close()
    apsw.Connection(path).execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(StorageDamaged, match="newer stash"):
        SqliteStore(path)


def test_a_draft_that_a_crash_left_behind_does_not_hinder_the_next_start(path: str) -> None:
    Path(path + ".new").write_bytes(b"half")
    SqliteStore(path).close()
    assert not Path(path + ".new").exists()


def test_a_new_file_begins_with_a_log_so_that_opening_it_syncs_nothing(path: str) -> None:
    schema.create(path)
    assert Path(path).read_bytes()[18:20] == b"\2\2"  # the versions a file with a log needs for writing and reading
    assert [entry.name for entry in Path(path).parent.iterdir()] == ["s.db"]


def test_every_probe_writes(path: str) -> None:
    store = SqliteStore(path)
    lengths = []
    for _ in range(3):
        store.probe()
        lengths.append(store.log_pages)
    assert lengths == [lengths[0], lengths[0] + 1, lengths[0] + 2]
    store.close()


def test_a_renewed_log_has_its_first_page_and_grows_no_longer(path: str) -> None:
    store = SqliteStore(path)
    fill(store, 300, 1000)
    long, size = store.log_pages, Path(path + "-wal").stat().st_size
    assert [store.renew_log(), store.renew_log()] == [1, 1]
    namespace = store.namespace("default")
    for row in store.expired(1000, 20):
        store.begin()
        store.retime(store.head(namespace, row.key), expires=200, ttl=1, version=2)  # type: ignore[arg-type]
        store.commit()
    assert 20 < store.log_pages < long
    assert Path(path + "-wal").stat().st_size == size
    store.close()


def test_a_log_somebody_reads_from_is_not_renewed_and_nothing_is_lost(path: str) -> None:
    store = SqliteStore(path)
    namespace = fill(store)
    with store.snapshot() as reads:
        assert reads.usage(namespace, 0).entries == 3
        store.begin()
        store.delete(namespace, store.expired(1000, 1))
        store.commit()
        assert store.renew_log() == store.log_pages > 1
        assert reads.usage(namespace, 0).entries == 3
    assert store.usage(namespace, 0).entries == 2
    assert store.renew_log() == 1
    store.close()


def test_the_log_of_a_database_that_was_removed_is_not_played_into_a_new_one(path: str) -> None:
    Path(path + "-wal").write_bytes(b"what was written before")
    with pytest.raises(StorageDamaged, match="gone"):
        SqliteStore(path)
    assert not Path(path).exists()


def test_a_symlink_in_place_of_the_file_is_refused(path: str, tmp_path: Path) -> None:
    SqliteStore(str(tmp_path / "real.db")).close()
    Path(path).symlink_to(tmp_path / "real.db")
    with pytest.raises(StorageDamaged):
        SqliteStore(path)


def test_a_sync_has_the_disk_take_the_log(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    store = SqliteStore(path)
    fill(store)
    with monkeypatch.context() as patched:
        fsync = os.fsync
        patched.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino) or fsync(descriptor))
        store.sync()
    assert synced == [os.stat(path + "-wal").st_ino, os.stat(os.path.dirname(path)).st_ino]
    store.begin()  # the locks are still held
    store.commit()
    os.rename(path + "-wal", path + "-moved")
    with pytest.raises(StorageDamaged):
        store.sync()
    os.rename(path + "-moved", path + "-wal")
    store.close()


def test_a_snapshot_counts_what_the_store_counts(store: SqliteStore) -> None:
    for name, expires in (("a", 50), ("a", 60), ("b", 50)):
        namespace = store.namespace(name)
        store.begin()
        namespace = namespace or store.create_namespace(name)
        store.insert(namespace, f"k{expires}", Fresh(0, 0, 0, expires, 50, 1, b"xyz"))
        store.commit()
    for now, usage, total in ((49, Usage(2, 6), (Usage(3, 9), 2)), (50, Usage(1, 3), (Usage(1, 3), 1))):
        assert (store.usage(1, now), store.total(now)) == (usage, total)
        with store.snapshot() as reads:
            assert (reads.usage(1, now), reads.total(now)) == (usage, total)

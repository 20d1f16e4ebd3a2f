"""Rows may be filed under a time before their expiry; nobody who asks when they expire can tell."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from stash_daemon.store import Fresh, Usage
from stash_daemon.stores import schema
from stash_daemon.stores.sqlite import SqliteStore

OTHER = "other"


def fresh(expires: int, size: int = 10, *, now: int = 1) -> Fresh:
    return Fresh(type=0, created=now, updated=now, expires=expires, ttl=99, version=1, value=b"x" * size)


def put(store: SqliteStore, namespace: int, key: str, new: Fresh) -> None:
    store.begin()
    head = store.head(namespace, key)
    if head is None:
        store.insert(namespace, key, new)
    else:
        store.replace(namespace, head, new)
    store.commit()


def namespace_of(store: SqliteStore, name: str = "default") -> int:
    store.begin()
    number = store.create_namespace(name)
    store.commit()
    return number


def filed(store: SqliteStore, key: str) -> tuple[int, int]:
    return store._rows("SELECT due, early FROM entries WHERE key = ?", (key,))[0]  # type: ignore[no-any-return]


def test_a_rewrite_that_lasts_longer_leaves_the_index_alone_and_its_log_one_page_longer(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    namespace = namespace_of(store)
    for key in ("k", "l"):
        put(store, namespace, key, fresh(100))
    put(store, namespace, "k", fresh(200))
    before = store.log_pages
    put(store, namespace, "k", fresh(300))
    assert (store.log_pages - before, filed(store, "k")) == (1, (100, 1))
    store.close()


def test_a_rewrite_that_is_over_sooner_is_filed_under_that() -> None:
    store = SqliteStore()
    namespace = namespace_of(store)
    for expires in (100, 200, 50):
        put(store, namespace, "k", fresh(expires))
    assert (filed(store, "k"), store.next_expiry()) == ((50, 0), 50)


def test_what_takes_the_place_of_a_row_that_was_due_is_filed_anew() -> None:
    store = SqliteStore()
    namespace = namespace_of(store)
    put(store, namespace, "k", fresh(100))
    put(store, namespace, "k", fresh(300, now=150))
    assert filed(store, "k") == (300, 0)


def test_the_soonest_are_the_soonest_whatever_they_are_filed_under() -> None:
    store = SqliteStore()
    namespace, other = namespace_of(store), namespace_of(store, OTHER)
    for number in range(20):
        put(store, namespace, f"k{number}", fresh(100 + number))
        put(store, other, f"k{number}", fresh(90))
    for number in range(0, 20, 2):
        put(store, namespace, f"k{number}", fresh(200 - number))
        put(store, other, f"k{number}", fresh(95))
    soonest = [row.key for row in store.soonest(namespace, 50, 12)]
    assert soonest == [*(f"k{number}" for number in range(1, 20, 2)), "k18", "k16"]


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_is_that_of_the_expiries_after_any_history(seed: int) -> None:
    chance, store = random.Random(seed), SqliteStore()
    namespaces = [namespace_of(store), namespace_of(store, OTHER)]
    model: dict[tuple[int, str], tuple[int, int]] = {}
    for now in range(1, 400):
        place = namespaces[chance.randrange(2)], f"k{chance.randrange(30)}"
        new = fresh(now + chance.randrange(1, 60), chance.choice((10, 10, 20)), now=now)
        head = store.head(*place)
        store.begin()
        if head is not None and head.expires > now and chance.random() < 0.3:
            store.retime(head, expires=new.expires, ttl=1, version=2)
            model[place] = new.expires, head.size
        elif head is not None:
            store.replace(place[0], head, new)
            model[place] = new.expires, len(new.value)
        else:
            store.insert(*place, new)
            model[place] = new.expires, len(new.value)
        if now % 7 == 0:
            while store.refile(now, 4) == 4:
                pass
            for namespace in namespaces:
                gone = store.expired(now, 100, namespace)
                store.delete(namespace, gone)
                over = {key for (where, key), (expires, _) in model.items() if where == namespace and expires <= now}
                assert {row.key for row in gone} == over
            model = {where: entry for where, entry in model.items() if entry[0] > now}
        store.commit()
        compare(store, namespaces, model, now)


def compare(store: SqliteStore, namespaces: list[int], model: dict[tuple[int, str], tuple[int, int]], now: int) -> None:
    due = store.next_expiry()
    assert due is None if not model else due is not None and due <= min(expires for expires, _ in model.values())
    for namespace in namespaces:
        rows = [entry for (where, _), entry in model.items() if where == namespace]
        alive, over = ([size for expires, size in rows if (expires > now) is live] for live in (True, False))
        assert store.usage(namespace, now) == Usage(len(alive), sum(alive))
        assert store.overdue(namespace, now) == Usage(len(over), sum(over))


def test_a_snapshot_counts_what_is_alive_by_its_expiry(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    namespace = namespace_of(store)
    for key, expiries in {"over": (100,), "early": (100, 200, 300), "later": (400,)}.items():
        for expires in expiries:
            put(store, namespace, key, fresh(expires))
    with store.snapshot() as reads:
        assert reads.usage(namespace, 250) == Usage(2, 20)
        assert reads.total(300) == (Usage(1, 10), 1)
    store.close()


def test_a_file_of_the_first_schema_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    connection = apsw.Connection(path)
    connection.execute(f"PRAGMA page_size = {schema.PAGE_SIZE}; PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(
        f"PRAGMA application_id = {schema.APPLICATION_ID}; {schema.MIGRATIONS[0]}; PRAGMA user_version = 1"
    )
    connection.execute("INSERT INTO namespaces VALUES (1, 'default', 7)")
    connection.execute("INSERT INTO entries VALUES (5, 1, 'k', 1, 2, 3, 400, 99, 8, 2, 1, x'6869')")
    connection.execute("INSERT INTO tags VALUES (5, 'a')")
    connection.close()
    store = SqliteStore(path)
    row = store.find(1, "k", 399)
    assert row is not None
    assert (row.id, row.type, row.created, row.updated, row.ttl, row.version, row.value) == (5, 1, 2, 3, 99, 8, b"hi")
    assert (store.tags(5), store.usage(1, 399), store.next_expiry()) == (["a"], Usage(1, 2), 400)
    store.begin()
    store.delete(1, store.expired(400, 1))
    store.commit()
    assert store.tags(5) == []
    store.close()

"""Collision: a key that the daemon makes is nobody's yet; after three that are taken it is a UUID."""

from __future__ import annotations

import secrets
import string
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stash_daemon.engine import entries
from stash_protocol import operations as op
from stash_protocol import replies
from tests.support.daemon import RunningDaemon
from tests.support.engine import Bench
from tests.support.tenants import answer, exported, framed, tenant, unframed

BASE62 = set(string.ascii_letters + string.digits)
CONNECTIONS, SETS = 16, 200


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()


def throw(monkeypatch: pytest.MonkeyPatch, *letters: str) -> Iterator[str]:
    """Load the dice: each made key is eight times the next letter."""
    thrown = iter("".join(letter * entries.MADE_KEY_LENGTH for letter in letters))
    monkeypatch.setattr(secrets, "choice", lambda _alphabet: next(thrown))
    return thrown


def made(bench: Bench, value: bytes = b"new") -> str:
    entry = bench.ask(op.Set(), value).body
    assert isinstance(entry, replies.Entry)
    assert bench.get(entry.key) == value
    return entry.key


def test_a_made_key_is_eight_base62_characters(bench: Bench) -> None:
    keys = {made(bench) for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 8 and set(key) <= BASE62 for key in keys)


@pytest.mark.parametrize("taken", ["a", "ab"])
def test_what_is_taken_is_passed_over(bench: Bench, monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    for letter in taken:
        bench.set(letter * 8, letter.encode())
    throw(monkeypatch, *taken, "z")
    assert made(bench) == "z" * 8
    assert [bench.get(letter * 8) for letter in taken] == [letter.encode() for letter in taken]


def test_after_three_that_are_taken_it_is_a_uuid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for letter in "abc":
        bench.set(letter * 8, letter.encode(), ttl_ms=5000)
    before = [bench.ask(op.Ttl(key=letter * 8)).body for letter in "abc"]
    rest = throw(monkeypatch, "a", "b", "c")
    key = made(bench)
    assert (str(uuid.UUID(key)), uuid.UUID(key).version) == (key, 4)
    assert next(rest, None) is None, "fewer than three tries"
    assert [bench.get(letter * 8) for letter in "abc"] == [b"a", b"b", b"c"]
    assert [bench.ask(op.Ttl(key=letter * 8)).body for letter in "abc"] == before


def test_the_same_collision_three_times_is_three_collisions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set("a" * 8, b"old")
    throw(monkeypatch, "a", "a", "a")
    assert len(made(bench)) == 36
    assert bench.get("a" * 8) == b"old"


def test_a_made_key_that_expired_may_be_made_again_or_not_but_is_never_revived(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.set("a" * 8, b"old", ttl_ms=10)
    bench.clock.advance(ms=10)
    throw(monkeypatch, "a", "b")
    entry = bench.ask(op.Set(), b"new").body
    assert isinstance(entry, replies.Entry)
    assert (entry.created_at, bench.keys()) == (bench.clock.now(), [entry.key])


def test_made_keys_collide_with_given_ones_alike_in_a_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    throw(monkeypatch, "a", "a", "b")
    replies = unframed(bench.ask(op.Batch(), framed((op.Set(id=1), b"1"), (op.Set(id=2), b"2"))).payload)
    assert [envelope["reply"]["key"] for envelope, _ in replies] == ["a" * 8, "b" * 8]


def test_made_keys_of_many_connections_are_all_different(daemon: RunningDaemon) -> None:
    def make(number: int) -> dict[str, bytes]:
        values = [f"{number}/{n}".encode() for n in range(SETS)]
        with tenant(daemon, "makers") as line:
            ids = {line.send(op.Set(), value): value for value in values}
            replies = [line.read()[0] for _ in ids]
        return {envelope["reply"]["key"]: ids[envelope["id"]] for envelope in replies}

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        lots = list(pool.map(make, range(CONNECTIONS)))
    keys = Counter(key for lot in lots for key in lot)
    assert (len(keys), max(keys.values())) == (CONNECTIONS * SETS, 1)
    with tenant(daemon, "makers") as line:
        assert answer(line, op.GetStatus())["entries"] == len(keys)
        held = {entry["key"]: value for entry, value, *_ in exported(line)}
    assert held == {key: value for lot in lots for key, value in lot.items()}

"""Update: the value, the time, or both, of a live entry, in one step that nobody sees half of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.tenants import answer, refusal, tenant, value

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
MAX_TTL = 7 * DAY  # of tier enterprise


@pytest.fixture
def line(daemon: RunningDaemon) -> Iterator[Line]:
    with tenant(daemon) as line:
        answer(line, op.Set(key="k", ttl_ms=HOUR, type="text", tags=["t"]), b"old")
        yield line


def test_the_value_changes_and_the_time_stays(line: Line) -> None:
    before = answer(line, op.Ttl(key="k"))
    changed = answer(line, op.Update(key="k", type="json"), b'"new"')
    assert (changed["expires_at"], changed["version"]) == (before["expires_at"], before["version"] + 1)
    envelope, payload = line.call(op.Get(key="k"))
    assert (envelope["reply"]["type"], payload) == ("json", b'"new"')
    assert answer(line, op.Ttl(key="k"))["expires_at"] == before["expires_at"]


def test_the_time_changes_and_the_value_stays(line: Line) -> None:
    before = line.call(op.Get(key="k"))
    changed = answer(line, op.Update(key="k", extend_ms=MINUTE))
    after = line.call(op.Get(key="k"))
    assert changed["expires_at"] == after[0]["reply"]["expires_at"] == before[0]["reply"]["expires_at"] + MINUTE
    assert (after[0]["reply"]["type"], after[0]["reply"]["updated_at"], after[1]) == (
        "text", before[0]["reply"]["updated_at"], b"old",
    )  # fmt: skip


def test_both_change_together(line: Line) -> None:
    before = answer(line, op.Ttl(key="k"))
    answer(line, op.Update(key="k", type="text", extend_ms=MINUTE), b"new")
    envelope, payload = line.call(op.Get(key="k"))
    assert (envelope["reply"]["expires_at"], payload) == (before["expires_at"] + MINUTE, b"new")


def test_creation_tags_and_the_entrys_own_ttl_stay(line: Line) -> None:
    created = line.call(op.Get(key="k"))[0]["reply"]["created_at"]
    answer(line, op.Update(key="k", type="text", extend_ms=DAY), b"new")
    assert line.call(op.Get(key="k"))[0]["reply"]["created_at"] == created
    assert answer(line, op.List(tag="t"))["count"] == 1
    touched = answer(line, op.Get(key="k", touch=True))
    assert touched["ttl_ms"] > DAY, "a touch restores the hour it was given, and never shortens"


def test_an_empty_value_is_a_value_too(line: Line) -> None:
    assert answer(line, op.Update(key="k", type="bytes"))["size"] == 0
    assert value(line, "k") == b""


@pytest.mark.parametrize("request_", [op.Update(key="k"), op.Update(key="k", if_version=1)])
def test_one_of_the_two_must_be_given(line: Line, request_: op.Update) -> None:
    request_.id = 0
    assert refusal(line, request_)["code"] == "bad_request"


def test_a_value_without_its_type_is_refused(line: Line) -> None:
    assert refusal(line, op.Update(key="k", extend_ms=MINUTE), b"new")["code"] == "bad_request"
    assert value(line, "k") == b"old"


def test_what_is_not_there_is_not_made(line: Line) -> None:
    assert refusal(line, op.Update(key="none", type="text", extend_ms=1), b"v")["code"] == "not_found"
    answer(line, op.Forget(keys=["k"]))
    assert refusal(line, op.Update(key="k", type="text"), b"v")["code"] == "not_found"
    assert answer(line, op.GetStatus())["entries"] == 0


def test_what_has_ended_is_not_revived(line: Line) -> None:
    answer(line, op.Set(key="short", ttl_ms=30), b"v")
    eventually(lambda: value(line, "short") is None)
    for request, payload in (
        (op.Update(key="short", type="text", extend_ms=HOUR), b"v"),
        (op.Update(key="short", extend_ms=HOUR), b""),
    ):
        assert refusal(line, request, payload)["code"] == "not_found"
    assert value(line, "short") is None


def test_the_tiers_maximum_clamps_the_time_and_the_reply_says_so(line: Line) -> None:
    changed = answer(line, op.Update(key="k", type="text", extend_ms=30 * DAY), b"new")
    assert changed["clamped"]
    assert MAX_TTL - MINUTE < changed["ttl_ms"] <= MAX_TTL
    assert "clamped" not in answer(line, op.Update(key="k", type="text"), b"newer")


def test_another_version_changes_nothing(line: Line) -> None:
    version = answer(line, op.Ttl(key="k"))["version"]
    for stale in (version - 1, version + 1):
        request = op.Update(key="k", type="text", extend_ms=MINUTE, if_version=stale or 99)
        assert refusal(line, request, b"new")["code"] == "conflict"
    envelope, payload = line.call(op.Get(key="k"))
    assert (envelope["reply"]["version"], payload) == (version, b"old")
    assert answer(line, op.Update(key="k", type="text", if_version=version), b"new")["version"] == version + 1


def test_a_value_that_is_too_large_changes_not_even_the_time(daemon: RunningDaemon) -> None:
    with tenant(daemon, tier="free") as line:
        answer(line, op.Set(key="k", ttl_ms=MINUTE), b"old")
        before = answer(line, op.Ttl(key="k"))
        big = op.Update(key="k", type="bytes", extend_ms=MINUTE)
        assert refusal(line, big, b"x" * (1 << 20) + b"x")["code"] == "too_large"
        after = answer(line, op.Ttl(key="k"))
        assert (after["expires_at"], after["version"]) == (before["expires_at"], before["version"])


def test_a_reader_never_sees_the_value_without_its_time(daemon: RunningDaemon) -> None:
    """Every update adds as many milliseconds as its value says; each look must find a pair that belongs together."""
    namespace, updates = "one step", 300
    done = threading.Event()

    def look() -> int:
        looks = 0
        with tenant(daemon, namespace) as reader:
            while not done.is_set() or not looks:
                envelope, payload = reader.call(op.Get(key="k"))
                steps = int(payload)
                entry = envelope["reply"]
                assert (entry["version"], entry["expires_at"]) == (1 + steps, ends + 10 * steps)
                looks += 1
        return looks

    with tenant(daemon, namespace) as writer, ThreadPoolExecutor(3) as pool:
        ends = answer(writer, op.Set(key="k", ttl_ms=HOUR), b"0")["expires_at"]
        readers = [pool.submit(look) for _ in range(3)]
        try:
            for n in range(1, updates + 1):
                answer(writer, op.Update(key="k", type="text", extend_ms=10), str(n).encode())
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_of_many_who_saw_the_same_version_one_succeeds(daemon: RunningDaemon) -> None:
    namespace, rivals, rounds = "rivals", 8, 20

    def compete(number: int) -> int:
        won = 0
        with tenant(daemon, namespace) as line:
            for version in range(1, rounds + 1):
                start.wait(timeout=20)
                mine = op.Update(key="k", type="text", if_version=version)
                envelope, _ = line.call(mine, str(number).encode())
                won += "reply" in envelope
                assert "reply" in envelope or envelope["error"]["code"] == "conflict"
        return won

    start = threading.Barrier(rivals)
    with tenant(daemon, namespace) as line, ThreadPoolExecutor(rivals) as pool:
        answer(line, op.Set(key="k"), b"")
        assert sum(pool.map(compete, range(rivals))) == rounds
        assert answer(line, op.Ttl(key="k"))["version"] == rounds + 1

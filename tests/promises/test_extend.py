"""Extend: adds to the time that is left; concurrent ones add up; what is over stays over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.errors import NotFound
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.engine import Bench
from tests.support.tenants import answer, framed, refusal, tenant, value

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds


@pytest.fixture
def line(daemon: RunningDaemon) -> Iterator[Line]:
    with tenant(daemon) as line:
        yield line


def test_it_adds_to_what_is_left_and_not_to_the_ttl(line: Line) -> None:
    ends = answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")["expires_at"]
    extended = answer(line, op.Extend(key="k", by_ms=MINUTE))
    assert extended["expires_at"] == ends + MINUTE
    assert 0 <= HOUR + MINUTE - extended["ttl_ms"] < MINUTE
    assert answer(line, op.Ttl(key="k"))["expires_at"] == ends + MINUTE
    assert value(line, "k") == b"v"


def test_each_one_is_a_new_version(line: Line) -> None:
    answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")
    assert answer(line, op.Extend(key="k", by_ms=1))["version"] == 2
    assert refusal(line, op.Set(key="k", if_version=1), b"w")["code"] == "conflict"


def test_the_tiers_maximum_clamps_it_and_the_reply_says_so(daemon: RunningDaemon) -> None:
    with tenant(daemon, tier="free") as line:
        answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")
        extended = answer(line, op.Extend(key="k", by_ms=DAY))
        assert extended["clamped"]
        assert HOUR - MINUTE < extended["ttl_ms"] <= HOUR
        assert refusal(line, op.Set(key="k", ttl_ms=HOUR + 1), b"v")["code"] == "bad_request", "a set is refused"
        assert "clamped" not in answer(line, op.Ttl(key="k"))


def test_the_maximum_of_a_smaller_tier_shortens_nothing(daemon: RunningDaemon) -> None:
    with tenant(daemon, "large and small") as large, tenant(daemon, "large and small", tier="free") as small:
        ends = answer(large, op.Set(key="k", ttl_ms=DAY), b"v")["expires_at"]
        extended = answer(small, op.Extend(key="k", by_ms=MINUTE))
        assert (extended["expires_at"], extended["clamped"]) == (ends, True)


@pytest.mark.parametrize("by", [0, -1, 2**63])
def test_only_a_time_that_is_one_is_added(line: Line, by: int) -> None:
    ends = answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")["expires_at"]
    assert refusal(line, op.Extend(key="k", by_ms=by))["code"] == "bad_request"
    assert answer(line, op.Ttl(key="k"))["expires_at"] == ends


def test_a_hundred_concurrent_extends_add_up_exactly(daemon: RunningDaemon) -> None:
    connections, each = 20, 5

    def extend(number: int) -> None:
        with tenant(daemon, "summands") as line:
            start.wait(timeout=20)
            for n in range(each):
                line.send(op.Extend(key="k", by_ms=1000 + number * each + n))
            for _ in range(each):
                assert "reply" in line.read()[0]

    start = threading.Barrier(connections)
    with tenant(daemon, "summands") as line, ThreadPoolExecutor(connections) as pool:
        ends = answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")["expires_at"]
        list(pool.map(extend, range(connections)))
        left = answer(line, op.Ttl(key="k"))
    assert left["expires_at"] == ends + sum(1000 + n for n in range(100))
    assert left["version"] == 101


def test_extends_of_a_batch_add_up_or_none_does(line: Line) -> None:
    ends = answer(line, op.Set(key="k", ttl_ms=HOUR), b"v")["expires_at"]
    lot = [(op.Extend(key="k", by_ms=1000), b"")] * 10
    answer(line, op.Batch(), framed(*lot))
    assert answer(line, op.Ttl(key="k"))["expires_at"] == ends + 10_000
    assert refusal(line, op.Batch(), framed(*lot, (op.Extend(key="none", by_ms=1), b"")))["code"] == "not_found"
    assert answer(line, op.Ttl(key="k"))["expires_at"] == ends + 10_000


# ── what is over stays over ──


def test_what_has_ended_or_never_was_cannot_be_extended(line: Line) -> None:
    never = refusal(line, op.Extend(key="k", by_ms=HOUR))
    answer(line, op.Set(key="k", ttl_ms=20), b"v")
    eventually(lambda: value(line, "k") is None)
    assert refusal(line, op.Extend(key="k", by_ms=HOUR)) == never
    assert never["code"] == "not_found"
    assert value(line, "k") is None


def test_at_its_last_millisecond_it_can_and_at_its_end_it_cannot() -> None:
    bench = Bench()
    for key in ("in time", "too late"):
        bench.set(key, ttl_ms=MINUTE)
    bench.clock.advance(ms=MINUTE - 1)
    assert bench.ask(op.Extend(key="in time", by_ms=1)).body == replies.Remaining(2, bench.clock.now() + 2, 2)
    bench.clock.advance(ms=1)
    with pytest.raises(NotFound):
        bench.ask(op.Extend(key="too late", by_ms=HOUR))
    assert bench.keys() == ["in time"]
    bench.engine.close()


def test_racing_the_end_an_extend_either_comes_in_time_or_not_at_all(daemon: RunningDaemon) -> None:
    """Several connections together add less than passes meanwhile, until they come too late."""
    rivals, rounds, by, pause = 4, 6, 2, 15  # 8 ms are added in 15

    def race(key: str) -> list[int]:
        granted: list[int] = []
        with tenant(daemon, "race") as line:
            start.wait(timeout=20)
            while True:
                before = answer(line, op.Ping())["now"]
                envelope, _ = line.call(op.Extend(key=key, by_ms=by))
                if "error" in envelope:
                    assert envelope["error"]["code"] == "not_found"
                    return granted
                granted.append(envelope["reply"]["expires_at"])
                assert envelope["reply"]["expires_at"] > before + by
                line.call(op.Get(key="nothing", wait_ms=pause))

    with ThreadPoolExecutor(rivals) as pool, tenant(daemon, "race") as watcher:
        for number in range(rounds):
            key, begun = f"k{number}", list[int]()
            new = op.Set(key=key, ttl_ms=60)
            start = threading.Barrier(rivals, lambda: begun.append(answer(watcher, new, b"v")["expires_at"]))  # noqa: B023
            ends = sorted(end for granted in pool.map(race, [key] * rivals) for end in granted)
            assert ends == [begun[0] + by * n for n in range(1, len(ends) + 1)], "each was granted upon the one before"
            assert ends
            for _ in range(5):
                assert refusal(watcher, op.Extend(key=key, by_ms=HOUR))["code"] == "not_found"
            assert value(watcher, key) is None

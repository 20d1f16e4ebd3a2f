"""Flood: a tier's burst is exactly that many requests, and its rate refills it exactly; there is no second budget."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon.keys import Caller, Peer
from stash_daemon.limits import RateLimiter
from stash_daemon.settings import SHIPPED_TIERS, Settings, Tier
from stash_protocol import operations as op
from stash_protocol.errors import RateLimited
from stash_protocol.operations import OPERATIONS, Access
from tests.support.cases import AIMED
from tests.support.clock import ManualClock
from tests.support.daemon import Line, RunningDaemon
from tests.support.engine import tier
from tests.support.tenants import answer, framed, issue, refusal, value

BURST, RATE = 10, 60  # of the shipped tier free
PEER = Peer(name="uid:1000")


def spend(line: Line, count: int) -> None:
    for _ in range(count):
        answer(line, op.Ping())


def spent(line: Line) -> float:
    """The budget is used up: seconds until it is not."""
    error = refusal(line, op.Ping())
    assert error["code"] == "rate_limited"
    assert 0 < error["retry_after"] <= 60 / RATE
    return float(error["retry_after"])


# ── over the socket ──


def test_the_burst_is_exact(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        rates = [line.call(op.Ping())[0]["rate"] for _ in range(BURST)]
        spent(line)
    assert [(rate["limit"], rate["remaining"]) for rate in rates] == [(RATE, BURST - n) for n in range(1, BURST + 1)]
    assert 0 < rates[0]["reset_ms"] <= 60_000 / RATE
    assert rates[-1]["reset_ms"] <= BURST * 60_000 / RATE


def test_a_pipelined_flood_gets_no_more(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        for _ in range(5 * BURST):
            line.send(op.Set(key="k"), b"v")
        replies = sorted((line.read()[0] for _ in range(5 * BURST)), key=lambda reply: reply["id"])
    said = [reply["error"]["code"] if "error" in reply else "done" for reply in replies]
    assert said == ["done"] * BURST + ["rate_limited"] * (4 * BURST)


def test_what_is_refused_is_not_done_and_does_not_make_it_worse(daemon: RunningDaemon) -> None:
    api_key = issue(daemon, "flooded", tier="free")
    with daemon.connect(api_key=api_key) as line, daemon.connect(api_key=issue(daemon, "flooded")) as other:
        spend(line, BURST)
        first = spent(line)
        for _ in range(20):
            assert refusal(line, op.Set(key="k"), b"v")["code"] == "rate_limited"
        assert value(other, "k") is None
        assert spent(line) <= first


def test_reconnecting_gives_no_second_budget(daemon: RunningDaemon) -> None:
    api_key = issue(daemon, tier="free")
    for _ in range(BURST):
        with daemon.connect(api_key=api_key) as line:
            answer(line, op.Ping())
    with daemon.connect(api_key=api_key) as line:
        spent(line)


def test_a_second_connection_has_no_budget_of_its_own(daemon: RunningDaemon) -> None:
    api_key = issue(daemon, tier="free")
    with daemon.connect(api_key=api_key) as one, daemon.connect(api_key=api_key) as other:
        for n in range(BURST):
            answer((one, other)[n % 2], op.Ping())
        spent(one)
        spent(other)


def test_another_api_key_of_the_same_namespace_has_its_own(daemon: RunningDaemon) -> None:
    keys = [issue(daemon, "crowded", tier="free") for _ in range(2)]
    with daemon.connect(api_key=keys[0]) as one, daemon.connect(api_key=keys[1]) as other, daemon.connect() as local:
        spend(one, BURST)
        spent(one)
        spend(other, BURST)
        spend(local, 5 * BURST)


def test_a_refusal_says_how_the_budget_stands_too(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        spend(line, BURST - 1)
        refused = line.call(op.Set(key="k"), b"x" * (1 << 21))[0]
        assert (refused["error"]["code"], refused["rate"]["remaining"]) == ("too_large", 0)
        refused = line.call(op.Ping())[0]
        assert (refused["error"]["code"], refused["rate"]["limit"]) == ("rate_limited", RATE)
        assert (refused["rate"]["remaining"], refused["rate"]["reset_ms"] > 0) == (0, True)


def lot(size: int) -> bytes:
    return framed(*((op.Incr(key="n"), b"") for _ in range(size)))


def test_a_batch_costs_what_it_holds(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        envelope, _ = line.call(op.Batch(), lot(BURST - 2))
        assert ("reply" in envelope, envelope["rate"]["remaining"]) == (True, 2)
        assert refusal(line, op.Batch(), lot(3))["code"] == "rate_limited"
        assert value(line, "n") == str(BURST - 2).encode()


def test_a_batch_as_large_as_the_burst_fits_into_a_full_budget(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        assert "reply" in line.call(op.Batch(), lot(BURST))[0]
        spent(line)


def test_a_batch_larger_than_the_burst_is_refused_for_good(daemon: RunningDaemon) -> None:
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        error = refusal(line, op.Batch(), lot(BURST + 1))
        assert (error["code"], "retry_after" in error) == ("rate_limited", False)
        assert value(line, "n") is None


@pytest.mark.parametrize(
    "operation",
    [row for row in OPERATIONS.values() if row.access in (Access.READ, Access.WRITE)],
    ids=lambda row: row.name,
)
def test_every_operation_is_counted_and_refused(daemon: RunningDaemon, operation: op.Operation) -> None:
    """On a bucket of one: the first request of any kind empties it, and no kind gets past an empty one."""
    request, payload = AIMED[operation.request][0]
    with daemon.connect(api_key=issue(daemon, tier="free")) as line:
        spend(line, BURST - 1)
        request.id = 0
        line.call(request, payload)
        request.id = 0
        assert refusal(line, request, payload)["code"] == "rate_limited"


# ── in process, to the millisecond ──


class Flood:
    """A limiter with its clock in the test's hand."""

    def __init__(self, rate: int | None = RATE, burst: int = BURST, **settings: int) -> None:
        self.clock = ManualClock()
        self.limiter = RateLimiter(Settings(**settings), self.clock)  # type: ignore[arg-type]
        self.caller = self.someone("one", rate, burst)

    def someone(self, name: str, rate: int | None = RATE, burst: int = BURST) -> Caller:
        return Caller(namespace="n", tier=tier(rate=rate, burst=burst), scopes=frozenset({"read"}), api_key_name=name)

    def allowed(self, caller: Caller | None = None, peer: Peer = PEER) -> bool:
        try:
            self.limiter.take(caller or self.caller, peer)
        except RateLimited:
            return False
        return True

    def drain(self, most: int = 1000) -> int:
        """How many are allowed at this very moment."""
        return next(n for n in range(most) if not self.allowed())


@pytest.mark.parametrize("shipped", [row for row in SHIPPED_TIERS if row.rate], ids=lambda row: row.name)
def test_the_shipped_tiers_refill_exactly(shipped: Tier) -> None:
    flood = Flood(shipped.rate, shipped.burst)
    assert shipped.rate
    step = 60_000 // shipped.rate
    assert flood.drain() == shipped.burst
    flood.clock.advance(ms=step - 1)
    assert flood.drain() == 0
    flood.clock.advance(ms=1)
    assert flood.drain() == 1
    flood.clock.advance(ms=60_000)
    assert flood.drain() == min(shipped.burst, shipped.rate)


def test_retry_after_is_the_very_moment() -> None:
    flood = Flood(rate=7, burst=3)
    flood.drain()
    with pytest.raises(RateLimited) as refused:
        flood.limiter.take(flood.caller, PEER)
    wait = round((refused.value.retry_after or 0) * 1000)
    flood.clock.advance(ms=wait - 1)
    assert not flood.allowed()
    flood.clock.advance(ms=1)
    assert flood.allowed()


@pytest.mark.parametrize("cost", [2, 5, BURST])
def test_a_batch_that_waited_as_it_was_told_fits(cost: int) -> None:
    flood = Flood()

    def whole() -> None:
        flood.limiter.take(flood.caller, PEER)  # its envelope
        flood.limiter.take(flood.caller, PEER, cost, paid=1)

    for _ in range(BURST + 1 - cost):
        assert flood.allowed()
    with pytest.raises(RateLimited) as refused:
        whole()
    flood.clock.advance(ms=round((refused.value.retry_after or 0) * 1000))
    whole()


@given(rate=st.integers(1, 10_000), burst=st.integers(1, 50), pauses=st.lists(st.integers(0, 70_000), max_size=40))
def test_whatever_the_pattern_the_bucket_is_the_one_of_the_textbook(rate: int, burst: int, pauses: list[int]) -> None:
    flood, tokens = Flood(rate, burst), Fraction(burst)
    for pause in pauses:
        flood.clock.advance(ms=pause)
        tokens = min(Fraction(burst), tokens + Fraction(pause * rate, 60_000))
        assert flood.allowed() == (tokens >= 1)
        tokens -= tokens >= 1


def test_a_peer_has_a_budget_beside_its_api_keys() -> None:
    flood = Flood(peer_rate=60, peer_burst=15)
    others = [flood.someone(f"key-{n}") for n in range(3)]
    assert sum(flood.allowed(other) for other in others for _ in range(BURST)) == 15
    assert flood.allowed(others[2], Peer(name="uid:2"))


def test_every_caller_without_an_api_key_is_counted_by_its_peer() -> None:
    flood = Flood(peer_rate=60, peer_burst=5)
    local = Caller(namespace="default", tier=tier(), scopes=frozenset({"read"}))
    assert [flood.allowed(local) for _ in range(6)] == [True] * 5 + [False]
    assert flood.allowed(local, Peer(name="uid:7"))

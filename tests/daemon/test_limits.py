from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon import limits
from stash_daemon.keys import Caller, Peer
from stash_daemon.limits import AuthThrottle, RateLimiter
from stash_daemon.settings import HOUR, MIB, Settings, Tier
from stash_protocol.errors import RateLimited, Unauthenticated
from stash_protocol.replies import Rate
from tests.support.clock import ManualClock

HERE, THERE = Peer("uid:1000", 1000, 1), Peer("10.0.0.2")


def caller(name: str | None = "ci", rate: int | None = 60, burst: int = 10) -> Caller:
    tier = Tier(name="t", max_value=MIB, default_ttl=HOUR, max_ttl=HOUR, rate=rate, burst=burst, quota=MIB)
    return Caller(namespace="n", tier=tier, scopes=frozenset({"read"}), api_key_name=name)


class House:
    """A limiter, its clock, and whom it warned about."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.clock = ManualClock()
        self.warned: list[tuple[str | None, str, int]] = []
        self.limiter = RateLimiter(settings or Settings(), self.clock, self._warn)

    def _warn(self, who: Caller, peer: Peer, rate: Rate) -> None:
        self.warned.append((who.api_key_name, peer.name, rate.remaining))

    def take(self, who: Caller, peer: Peer = HERE) -> bool:
        try:
            self.limiter.take(who, peer)
        except RateLimited:
            return False
        return True

    def count(self, who: Caller, peer: Peer = HERE) -> int:
        """Requests in a row until one is refused."""
        done = 0
        while self.take(who, peer):
            done += 1
        return done


def test_the_burst_is_exact() -> None:
    assert House().count(caller(burst=10)) == 10


def test_the_refill_is_exact() -> None:
    house, who = House(), caller(rate=60, burst=10)
    house.count(who)
    house.clock.advance(ms=999)
    assert not house.take(who)
    house.clock.advance(ms=1)
    assert house.take(who)
    assert not house.take(who)
    house.clock.advance(seconds=3600)
    assert house.count(who) == 10


def test_refilling_in_small_steps_loses_nothing() -> None:
    house, who = House(), caller(rate=7, burst=2)
    house.count(who)
    passed = 0
    for _ in range(60_000):
        house.clock.advance(ms=1)
        passed += house.take(who)
    assert passed == 7


def test_each_reply_says_what_is_left() -> None:
    house, who = House(), caller(rate=60, burst=3)
    assert house.limiter.take(who, HERE) == Rate(60, 2, 1000)
    house.clock.advance(ms=400)
    assert house.limiter.take(who, HERE) == Rate(60, 1, 1600)
    house.clock.advance(ms=1600)
    assert house.limiter.take(who, HERE) == Rate(60, 2, 1000)


def test_a_refusal_says_when_the_next_one_passes() -> None:
    house, who = House(), caller(rate=7, burst=1)
    house.count(who)
    with pytest.raises(RateLimited) as caught:
        house.limiter.take(who, HERE)
    wait = caught.value.retry_after
    assert wait == math.ceil(Fraction(60_000, 7)) / 1000
    house.clock.advance(ms=round(wait * 1000) - 1)
    assert not house.take(who)
    house.clock.advance(ms=1)
    assert house.take(who)


def test_a_refused_request_costs_nothing() -> None:
    house, who = House(), caller(rate=60, burst=1)
    house.take(who)
    for _ in range(100):
        assert not house.take(who)
    house.clock.advance(seconds=1)
    assert house.take(who)


def test_several_requests_that_came_as_one_cost_as_many_or_nothing() -> None:
    house, who = House(), caller(rate=60, burst=10)
    house.limiter.take(who, HERE, 8)
    with pytest.raises(RateLimited) as refused:
        house.limiter.take(who, HERE, 3)
    assert refused.value.retry_after == 1
    with pytest.raises(RateLimited, match="never fit"):
        house.limiter.take(who, HERE, 11)
    assert house.count(who) == 2


def test_one_budget_for_all_connections_and_doors_of_an_api_key() -> None:
    house = House()
    assert house.count(caller("ci"), HERE) == 10
    assert house.count(caller("ci"), THERE) == 0
    assert house.count(caller("other"), HERE) == 10


def test_local_callers_without_an_api_key_have_a_budget_per_peer() -> None:
    house = House()
    assert [house.count(caller(None), HERE), house.count(caller(None), THERE)] == [10, 10]
    assert house.count(caller(HERE.name), HERE) == 10


def test_a_tier_without_a_rate_has_no_limit_and_no_figure() -> None:
    house = House()
    assert {house.limiter.take(caller(rate=None), HERE) for _ in range(1000)} == {None}


def test_another_tier_holds_from_the_next_request_without_a_new_burst() -> None:
    house, who = House(), caller(burst=10)
    house.count(who)
    who.tier = caller(rate=600, burst=50).tier
    house.clock.advance(ms=0)
    assert not house.take(who)
    house.clock.advance(ms=100)
    assert house.count(who) == 1


def test_the_peers_limit_holds_beside_the_api_keys() -> None:
    house = House(Settings(peer_rate=60, peer_burst=4))
    assert house.count(caller("a"), THERE) == 4
    assert house.count(caller("b"), THERE) == 0
    assert house.count(caller("b", rate=None), THERE) == 0
    assert house.count(caller("b"), HERE) == 4
    house.clock.advance(seconds=4)
    assert house.count(caller("a", burst=2), HERE) == 2


def test_whoever_is_refused_by_one_limit_is_not_charged_by_the_other() -> None:
    house = House(Settings(peer_rate=60, peer_burst=4))
    house.count(caller("a", burst=2), HERE)
    assert house.count(caller("b"), HERE) == 2
    assert house.count(caller("b"), THERE) == 4
    assert house.count(caller("b"), Peer("third")) == 4


def test_a_warning_comes_at_80_percent_and_once_a_minute() -> None:
    house, who = House(), caller(rate=60, burst=10)
    for _ in range(7):
        house.take(who)
    assert house.warned == []
    house.take(who)
    assert house.warned == [("ci", HERE.name, 2)]
    house.count(who)
    house.clock.advance(ms=59_999)
    house.count(who)
    assert len(house.warned) == 1
    house.clock.advance(seconds=1)
    house.take(who)
    assert len(house.warned) == 2


def test_full_buckets_are_dropped_and_empty_ones_are_not() -> None:
    house, busy = House(), caller("busy", rate=1, burst=10)
    house.count(busy)
    for number in range(5_000):
        house.take(caller(f"k{number}", rate=60_000, burst=1))
        house.clock.advance(ms=1)
    assert len(house.limiter._callers) <= limits.SWEEP_AT
    assert house.count(busy) == 0


def test_peers_cannot_fill_the_memory() -> None:
    house = House(Settings(peer_rate=1, peer_burst=2))
    who = caller(rate=None)
    for number in range(limits.MAX_BUCKETS * 2):
        house.take(who, Peer(f"10.{number}"))
    assert len(house.limiter._peers) <= limits.MAX_BUCKETS
    last = Peer(f"10.{limits.MAX_BUCKETS * 2 - 1}")
    assert house.count(who, last) == 1


steps = st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 5)), max_size=60)


@given(rate=st.integers(1, 500), burst=st.integers(1, 20), steps=steps)
def test_a_bucket_does_what_fractions_say(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    house, who, tokens = House(), caller(rate=rate, burst=burst), Fraction(burst)
    for wait, tries in steps:
        house.clock.advance(ms=wait)
        tokens = min(Fraction(burst), tokens + Fraction(wait * rate, 60_000))
        for _ in range(tries):
            passes = tokens >= 1
            assert house.take(who) == passes
            tokens -= passes


@given(rate=st.integers(1, 500), burst=st.integers(1, 20), steps=steps)
def test_no_minute_passes_more_than_the_burst_and_the_rate(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    house, who, passed = House(), caller(rate=rate, burst=burst), Counter[int]()
    for wait, tries in steps:
        house.clock.advance(ms=wait)
        passed[house.clock.now()] += sum(house.take(who) for _ in range(tries))
    for start in passed:
        within = sum(count for moment, count in passed.items() if start <= moment < start + 60_000)
        assert within <= burst + rate


class Guess:
    """A throttle and how long it makes a peer wait."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.throttle = AuthThrottle(self.clock)

    def wait(self, peer: Peer = THERE) -> float:
        try:
            self.throttle.check(peer)
        except Unauthenticated as error:
            return error.retry_after or 0
        return 0


def test_the_first_failures_are_free_then_each_doubles_the_wait() -> None:
    guess, waits = Guess(), []
    for _ in range(9):
        guess.throttle.failed(THERE)
        waits.append(guess.wait())
    assert waits == [0, 0, 0, 0, 0, 0.5, 1, 2, 4]


def test_the_wait_ends_exactly_and_never_grows_beyond_its_bound() -> None:
    guess = Guess()
    for _ in range(200):
        guess.throttle.failed(THERE)
    assert guess.wait() == limits.LONGEST_DELAY / 1000
    guess.clock.advance(ms=limits.LONGEST_DELAY - 1)
    assert guess.wait() == 0.001
    guess.clock.advance(ms=1)
    assert guess.wait() == 0


def test_a_slow_guesser_never_gets_faster_than_the_waits_allow() -> None:
    guess, tried = Guess(), 0
    for _ in range(3600):
        if not guess.wait():
            tried += 1
            guess.throttle.failed(THERE)
        guess.clock.advance(seconds=1)
    assert tried <= 30


def test_other_peers_are_not_touched() -> None:
    guess = Guess()
    for _ in range(50):
        guess.throttle.failed(THERE)
    assert guess.wait(HERE) == 0


def test_a_success_or_a_quiet_while_forgives() -> None:
    guess = Guess()
    for _ in range(7):
        guess.throttle.failed(THERE)
    guess.throttle.succeeded(THERE)
    guess.throttle.failed(THERE)
    assert guess.wait() == 0
    for _ in range(6):
        guess.throttle.failed(THERE)
    assert guess.wait() > 0
    guess.clock.advance(ms=limits.FORGIVEN_AFTER)
    guess.throttle.failed(THERE)
    assert guess.wait() == 0


def test_the_table_of_guessers_is_bounded_and_keeps_the_latest() -> None:
    guess = Guess()
    for number in range(limits.MAX_THROTTLED + 100):
        guess.throttle.failed(Peer(f"10.{number}"))
    assert len(guess.throttle) == limits.MAX_THROTTLED
    for _ in range(6):
        guess.throttle.failed(Peer("latest"))
    assert guess.wait(Peer("latest")) == 0.5

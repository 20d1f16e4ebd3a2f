"""How often: token buckets for requests, and a brake for whoever guesses API keys.

A bucket counts in parts of a token: what a rate of one request a minute adds in a millisecond. So all arithmetic is in
integers, and a bucket refilled in a thousand small steps holds exactly what one long step would have given it.
"""

from __future__ import annotations

from collections.abc import Callable

from stash_daemon.clock import Clock
from stash_daemon.keys import Caller, Peer
from stash_daemon.settings import Settings
from stash_protocol.errors import RateLimited, Unauthenticated
from stash_protocol.replies import Rate

TOKEN = 60_000  # parts: one request; a minute's milliseconds, so that a rate per minute is parts per millisecond
WARN_AT = 80  # percent of the bucket used
WARN_WINDOW = 60_000  # milliseconds: one warning a minute and bucket
MAX_BUCKETS = 16_384  # of peers: a few MiB; API keys are as many as the configuration has
SWEEP_AT = 1_024  # buckets: fewer are not worth looking through for idle ones

FREE_FAILURES = 5  # a person's typos, a script with yesterday's API key
FIRST_DELAY = 500  # milliseconds; doubles with each further failure
LONGEST_DELAY = 300_000  # milliseconds
FORGIVEN_AFTER = 900_000  # milliseconds without a failure: longer than the longest delay
MAX_THROTTLED = 16_384  # peers: a few MiB

Warn = Callable[[Caller, Peer, Rate], None]


class _Bucket:
    """What is left of one budget. Starts full."""

    __slots__ = ("capacity", "parts", "rate", "seen", "warned")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self.rate = rate  # parts a millisecond
        self.capacity = burst * TOKEN
        self.parts = self.capacity
        self.seen = now
        self.warned = now - WARN_WINDOW

    def refill(self, rate: int, burst: int, now: int) -> None:
        self.parts = min(self.capacity, self.parts + (now - self.seen) * self.rate)
        self.seen = now
        if (rate, burst * TOKEN) != (self.rate, self.capacity):  # the API key was moved to another tier
            self.rate, self.capacity = rate, burst * TOKEN
            self.parts = min(self.parts, self.capacity)

    def missing(self, cost: int) -> int:
        """Milliseconds until there are so many tokens."""
        return -((self.parts - cost * TOKEN) // self.rate) if self.parts < cost * TOKEN else 0

    def full(self, now: int) -> bool:
        return self.parts + (now - self.seen) * self.rate >= self.capacity

    def state(self) -> Rate:
        return Rate(self.rate, self.parts // TOKEN, -((self.parts - self.capacity) // self.rate))


class RateLimiter:
    """The requests per minute of every API key, across all connections and doors, and of every peer.

    Args:
        settings: whether and how peers are limited beside their API keys.
        clock: refills.
        warn: told once a minute and bucket when 80 % of it are used.
    """

    def __init__(self, settings: Settings, clock: Clock, warn: Warn | None = None) -> None:
        self._clock = clock
        self._warn = warn
        self._peer_rate, self._peer_burst = settings.peer_rate, settings.peer_burst
        self._callers = _Buckets(None)
        self._peers = _Buckets(MAX_BUCKETS)

    def take(self, caller: Caller, peer: Peer, cost: int = 1, paid: int = 0) -> Rate | None:
        """Count a request, or several that came as one.

        Args:
            caller: whose API key.
            peer: where it came from.
            cost: how many requests it is.
            paid: how many of them were counted before; who tries again has to pay for them again.

        Returns:
            What is left of the caller's budget; None for a tier without a rate.

        Raises:
            RateLimited: the API key's or the peer's budget is used up; neither was charged.
        """
        rate = caller.tier.rate
        if rate is None and self._peer_rate is None:
            return None
        now = self._clock.now()
        own = peers = None
        if rate is not None:
            name = caller.api_key_name
            own = self._callers.bucket((name, "" if name else peer.name), rate, caller.tier.burst, now)
            _refuse_empty(own, cost, paid, f"tier {caller.tier.name} allows {rate:,} requests a minute")
        if self._peer_rate is not None:
            peers = self._peers.bucket((None, peer.name), self._peer_rate, self._peer_burst, now)
            _refuse_empty(peers, cost, paid, f"a peer may send {self._peer_rate:,} requests a minute")
            peers.parts -= (cost - paid) * TOKEN
            self._consider(peers, caller, peer)
        if own is None:
            return None
        own.parts -= (cost - paid) * TOKEN
        self._consider(own, caller, peer)
        return own.state()

    def look(self, caller: Caller, peer: Peer) -> Rate | None:
        """What `take` would have returned, had it cost nothing."""
        rate, name = caller.tier.rate, caller.api_key_name
        if rate is None:
            return None
        owner = (name, "" if name else peer.name)
        return self._callers.bucket(owner, rate, caller.tier.burst, self._clock.now()).state()

    def _consider(self, bucket: _Bucket, caller: Caller, peer: Peer) -> None:
        used = bucket.capacity - bucket.parts
        if self._warn is None or used * 100 < bucket.capacity * WARN_AT or bucket.seen - bucket.warned < WARN_WINDOW:
            return
        bucket.warned = bucket.seen
        self._warn(caller, peer, bucket.state())


def _refuse_empty(bucket: _Bucket, cost: int, paid: int, limit: str) -> None:
    if cost * TOKEN > bucket.capacity:
        raise RateLimited(f"{limit}, {bucket.capacity // TOKEN:,} at once; a batch of {cost:,} never fits")
    if bucket.missing(cost - paid):
        raise RateLimited(limit, retry_after=bucket.missing(cost) / 1000)


class _Buckets:
    """Buckets by whose they are. Full ones are dropped: a new one would say the same."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._sweep_at = SWEEP_AT
        self._by_owner: dict[tuple[str | None, str], _Bucket] = {}

    def __len__(self) -> int:
        return len(self._by_owner)

    def bucket(self, owner: tuple[str | None, str], rate: int, burst: int, now: int) -> _Bucket:
        bucket = self._by_owner.get(owner)
        if bucket is None:
            if len(self._by_owner) >= self._sweep_at:
                self._sweep(now)
            bucket = self._by_owner[owner] = _Bucket(rate, burst, now)
        else:
            bucket.refill(rate, burst, now)
        return bucket

    def _sweep(self, now: int) -> None:
        kept = {owner: bucket for owner, bucket in self._by_owner.items() if not bucket.full(now)}
        if self._most is not None and len(kept) >= self._most:  # as many at once: those idle longest go, a half of them
            idle_first = sorted(kept, key=lambda owner: kept[owner].seen)
            for owner in idle_first[: self._most // 2]:
                del kept[owner]
        self._by_owner = kept
        self._sweep_at = max(SWEEP_AT, 2 * len(kept))
        if self._most is not None:
            self._sweep_at = min(self._sweep_at, self._most)


class AuthThrottle:
    """Slows down a peer whose authentications fail, and nobody else.

    Args:
        clock: what the delays are counted by.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, int]] = {}  # peer: how many, and when the last; the latest at the end

    def __len__(self) -> int:
        return len(self._failures)

    def check(self, peer: Peer) -> None:
        """Refuse to even look at an API key.

        Raises:
            Unauthenticated: the peer has to wait; ``retry_after`` says how long.
        """
        count, last = self._failures.get(peer.name, (0, 0))
        if count <= FREE_FAILURES:
            return
        delay = min(LONGEST_DELAY, FIRST_DELAY << min(count - FREE_FAILURES - 1, 32))
        left = last + delay - self._clock.now()
        if left > 0:
            raise Unauthenticated("too many failed authentications from here; wait", retry_after=left / 1000)

    def failed(self, peer: Peer) -> None:
        """Count a failed authentication."""
        now = self._clock.now()
        count, last = self._failures.pop(peer.name, (0, now))
        if now - last >= FORGIVEN_AFTER:
            count = 0
        while self._failures and len(self._failures) >= MAX_THROTTLED:
            del self._failures[next(iter(self._failures))]
        self._failures[peer.name] = (count + 1, now)

    def succeeded(self, peer: Peer) -> None:
        """Forget a peer's failures."""
        self._failures.pop(peer.name, None)

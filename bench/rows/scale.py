"""A million entries, and a year of replacing them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.measure import Figure, compare_latency, in_turns
from bench.rows import row
from bench.setting import KIB, TTL, VALUE, Bench, check, fill, key, settle, some_keys
from stash_memory import Stash

FEW = 1_000
ROUNDS = 20
SETTLING = 30.0  # seconds for the log to go into the file once nothing is written any more


@row("million", "1,000,000 live entries")
def million(bench: Bench) -> Iterator[Figure]:
    """Two daemons in turns, one with 1,000 entries and one with a million."""
    many = bench.size(1_000_000, 100_000)
    bench.fewer("million", 1_000_000, many, "entries")
    count = bench.size(10_000, 2_000)
    with bench.stash(FEW) as (_, small), bench.stash(many) as (daemon, large):
        disk = settle(daemon, int(1.2 * many * KIB), SETTLING)
        keys = list(zip(some_keys(count, FEW), some_keys(count, many), strict=True))
        against = f"{FEW:,} entries"
        gets = in_turns({"few": lambda pair: small.get(pair[0]), "many": lambda pair: large.get(pair[1])}, keys,
                        rounds=ROUNDS)  # fmt: skip
        check(large.get(key(many - 1)), VALUE)
        yield from compare_latency("get among many", gets["many"], gets["few"], against, p99=1.5)
        sets = in_turns({"few": lambda pair: _store(small, pair[0]), "many": lambda pair: _store(large, pair[1])}, keys,
                        rounds=ROUNDS)  # fmt: skip
        yield from compare_latency("set among many", sets["many"], sets["few"], against, p99=1.5)
    yield Figure(name="disk", unit="MB", ours=disk / 1e6, against="payload", theirs=many * KIB / 1e6,
                 ratio=disk / (many * KIB), at_most=1.4)  # fmt: skip


def _store(stash: Stash, name: str) -> None:
    stash.set(name, VALUE, ttl=TTL)


@row("churn", "100 rounds that replace a random tenth")
def churn(bench: Bench) -> Iterator[Figure]:
    """In each round a random tenth is forgotten, and as many of other keys and sizes take its place."""
    entries, rounds = 10_000, bench.size(100, 25)
    bench.fewer("churn", 100, rounds, "rounds")
    chance = random.Random(3)
    alive = list(range(entries))
    with bench.daemon() as daemon, Stash(socket=daemon.socket) as stash:
        fill(stash, alive)
        first = settle(daemon, int(1.3 * entries * KIB), SETTLING)
        largest = 0
        for number in range(rounds):
            with stash.pipeline() as pipeline:
                for place in chance.sample(range(entries), entries // 10):
                    pipeline.forget(key(alive[place]))
                    alive[place] = entries + number * entries + place
                    size = chance.randrange(KIB // 2, KIB + KIB // 2)  # 1 KiB on average, as at first
                    pipeline.set(key(alive[place]), (VALUE + VALUE)[:size], ttl=TTL)
            largest = max(largest, daemon.database.stat().st_size)
        after = settle(daemon, first, SETTLING)
    for name, size in (("file, at its largest", largest), ("file and log, afterwards", after)):
        yield Figure(name=name, unit="MB", ours=size / 1e6, against="its first size", theirs=first / 1e6,
                     ratio=size / first, at_most=2.0)  # fmt: skip

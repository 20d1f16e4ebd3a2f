"""One client that waits for every reply."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import Figure, compare_latency, in_turns
from bench.rows import row
from bench.setting import TTL, VALUE, Bench, check, key, some_keys

ENTRIES = 1_000
ROUNDS = 20
AGAINST = "redis-py"


@row("get", "get, one synchronous client, Unix socket")
def get(bench: Bench) -> Iterator[Figure]:
    """Read entries at random."""
    with bench.stash(ENTRIES) as (_, stash), bench.redis() as redis:
        operations = {"stash": stash.get}
        if redis:
            redis.client.mset({key(number): VALUE for number in range(ENTRIES)})
            operations[AGAINST] = redis.client.get
        for operation in operations.values():
            check(operation(key(0)), VALUE)
        spans = in_turns(operations, some_keys(bench.size(10_000, 2_000), ENTRIES), rounds=ROUNDS)
        yield from compare_latency("get", spans["stash"], spans.get(AGAINST), AGAINST, p50=0.8, p99=1.2)


@row("set", "set, acknowledged after commit")
def set_(bench: Bench) -> Iterator[Figure]:
    """Replace entries at random; Redis with AOF everysec."""
    with bench.stash(ENTRIES) as (_, stash), bench.redis() as redis:
        operations = {"stash": lambda name: stash.set(name, VALUE, ttl=TTL)}
        if redis:
            operations[AGAINST] = lambda name: redis.client.set(name, VALUE, ex=TTL)
        spans = in_turns(operations, some_keys(bench.size(10_000, 2_000), ENTRIES), rounds=ROUNDS)
        check(stash.get(key(0)), VALUE)
        yield from compare_latency("set", spans["stash"], spans.get(AGAINST), AGAINST, p50=0.9, p99=1.5)

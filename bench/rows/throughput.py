"""Many requests in flight, many clients, large values."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bench.contenders import PATIENCE, Daemon, Redis, environment, stop
from bench.measure import Figure, compare, rates
from bench.rows import row
from bench.setting import KIB, TTL, VALUE, Bench, check, key, some_keys
from stash_memory import Stash
from stash_memory.collect import Collector

ENTRIES = 1_000
IN_FLIGHT = 64
CLIENTS = 16
NOTICE = 0.1  # seconds from the command to the start, for all to be there
LARGE = KIB * KIB
LARGE_ENTRIES = 8
AGAINST = "redis-py"


@row("pipeline", "64 in flight (client pipeline / batch)")
def pipeline(bench: Bench) -> Iterator[Figure]:
    """Send 64 requests, read 64 replies."""
    rounds = bench.size(200, 25)
    with bench.stash(ENTRIES) as (_, stash), bench.redis() as redis:
        if redis:
            redis.client.mset({key(number): VALUE for number in range(ENTRIES)})
        for work in ("sets", "gets"):
            operations = _pipelines(stash, redis, work)
            for operation in operations.values() if work == "gets" else ():
                check(operation(), [VALUE] * IN_FLIGHT)
            found = rates(operations, IN_FLIGHT, rounds=rounds)
            for way in ("pipeline", "batch"):
                yield compare(f"{work}, {way}", "/s", found[way], found.get(AGAINST), AGAINST, at_least=1.3)


def _pipelines(stash: Stash, redis: Redis | None, work: str) -> dict[str, Callable[[], object]]:
    operations: dict[str, Callable[[], object]] = {
        "pipeline": lambda: _through(stash.pipeline(), work),
        "batch": lambda: _through(stash.batch(), work),
    }
    if redis:
        operations[AGAINST] = lambda: _through_redis(redis, work)
    return operations


KEYS = some_keys(IN_FLIGHT, ENTRIES)


def _through(collector: Collector, work: str) -> list[object]:
    for name in KEYS:
        if work == "sets":
            collector.set(name, VALUE, ttl=TTL)
        else:
            collector.get(name)
    return collector.run()


def _through_redis(redis: Redis, work: str) -> object:
    pipe = redis.client.pipeline(transaction=False)
    for name in KEYS:
        if work == "sets":
            pipe.set(name, VALUE, ex=TTL)
        else:
            pipe.get(name)
    return pipe.execute()


# ── many clients ──


@row("clients", "16 client processes at once")
def clients(bench: Bench) -> Iterator[Figure]:
    """The replies all of them get together, each waiting for its own."""
    seconds = bench.size(10, 4) / 10
    with bench.stash(ENTRIES) as (daemon, _), bench.redis() as redis, _crowd(daemon, redis) as crowd:
        if redis:
            redis.client.mset({key(number): VALUE for number in range(ENTRIES)})
        for work in ("get", "set"):
            found: dict[str, list[float]] = {name: [] for name in (("stash", "redis") if redis else ("stash",))}
            for repeat in range(6):
                for name, totals in found.items():
                    total = _go(crowd, f"{name} {work}", seconds)
                    if repeat:  # the first was to connect
                        totals.append(total)
            yield compare(
                f"{work}s, {CLIENTS} clients", "/s", found["stash"], found.get("redis"), AGAINST, at_least=0.7
            )


@contextmanager
def _crowd(daemon: Daemon, redis: Redis | None) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "bench.crowd", daemon.socket, redis.socket if redis else "-"]
    with ExitStack() as stack:
        crowd = []
        for _ in range(CLIENTS):
            client = subprocess.Popen(
                command, env=environment(daemon.home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(stop, client)
            crowd.append(client)
        for client in crowd:
            check(_line(client), "ready")
        yield crowd


def _line(client: subprocess.Popen[str]) -> str:
    import select

    assert client.stdout is not None
    if not select.select([client.stdout], [], [], PATIENCE)[0]:
        raise SystemExit("a client process does not answer")
    return client.stdout.readline().strip()


def _go(crowd: list[subprocess.Popen[str]], command: str, seconds: float) -> float:
    """Replies a second, all together, in one stretch of time that begins once everyone knows of it."""
    start = time.monotonic() + NOTICE
    for client in crowd:
        assert client.stdin is not None
        client.stdin.write(f"{command} {start} {start + seconds}\n")
        client.stdin.flush()
    return sum(int(_line(client)) for client in crowd) / seconds


# ── large values ──


@row("large", "1 MiB values")
def large(bench: Bench) -> Iterator[Figure]:
    """Megabytes a second, one value at a time."""
    value = random.Random(2).randbytes(LARGE)
    rounds = bench.size(10, 5)
    names = [f"large:{number}" for number in range(LARGE_ENTRIES)]

    def all_of(operation: Callable[[str], object]) -> Callable[[], object]:
        return lambda: [operation(name) for name in names]

    with bench.stash() as (_, stash), bench.redis() as redis:
        for work in ("sets", "gets"):
            operations = {"stash": _large(stash, work, value)}
            if redis:
                operations[AGAINST] = _large_redis(redis, work, value)
            for operation in operations.values() if work == "gets" else ():
                check(operation(names[0]), value)
            chosen = {name: all_of(operation) for name, operation in operations.items()}
            found = rates(chosen, LARGE_ENTRIES * LARGE / 1e6, rounds=rounds)
            yield compare(f"{work} of 1 MiB", "MB/s", found["stash"], found.get(AGAINST), AGAINST, at_least=0.7)


def _large(stash: Stash, work: str, value: bytes) -> Callable[[str], object]:
    return stash.get if work == "gets" else lambda name: stash.set(name, value, ttl=TTL)


def _large_redis(redis: Redis, work: str, value: bytes) -> Callable[[str], object]:
    return redis.client.get if work == "gets" else lambda name: redis.client.set(name, value, ex=TTL)

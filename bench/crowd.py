"""One client of many: ``python -m bench.crowd STASH_SOCKET REDIS_SOCKET``.

Reads ``CONTENDER get|set SECONDS`` on stdin, works so long, prints its replies a second, and goes on to the next line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import perf_counter

from bench.contenders import redis_client
from bench.setting import TTL, VALUE, some_keys
from stash_memory import Stash

CHUNK = 16  # calls between two looks at the clock


def work(operation: Callable[[str], object], seconds: float, keys: list[str]) -> float:
    """Calls a second, for so many seconds."""
    started = perf_counter()
    done = 0
    while (taken := perf_counter() - started) < seconds:
        for name in keys[:CHUNK]:
            operation(name)
        done += CHUNK
    return done / taken


def main(stash_socket: str, redis_socket: str) -> None:
    """Serve the commands until there are no more."""
    keys = some_keys(CHUNK, 1_000, seed=os.getpid())
    stash = Stash(socket=stash_socket)
    operations: dict[str, Callable[[str], object]] = {
        "stash get": stash.get,
        "stash set": lambda name: stash.set(name, VALUE, ttl=TTL),
    }
    if redis_socket != "-":
        redis = redis_client(redis_socket)
        operations["redis get"] = redis.get
        operations["redis set"] = lambda name: redis.set(name, VALUE, ex=TTL)
    print("ready", flush=True)
    for line in sys.stdin:
        name, _, seconds = line.strip().rpartition(" ")
        print(work(operations[name], float(seconds), keys), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One client of many: ``python -m bench.crowd STASH_SOCKET REDIS_SOCKET``.

Reads ``CONTENDER get|set START END`` on stdin, works from one moment to the other, prints how many replies it got, and
goes on to the next line. All clients are told the same moments: rates of times that do not overlap must not be added.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable

from bench.contenders import redis_client
from bench.setting import TTL, VALUE, some_keys
from stash_memory import Stash

KEYS = 64


def work(operation: Callable[[str], object], start: float, end: float, keys: list[str]) -> int:
    """The calls that are answered between two moments of the clock that all processes share."""
    time.sleep(max(0.0, start - time.monotonic()))
    for done, name in enumerate(itertools.cycle(keys)):
        if time.monotonic() >= end:
            return done
        operation(name)
    raise AssertionError("a cycle has no end")


def main(stash_socket: str, redis_socket: str) -> None:
    """Serve the commands until there are no more."""
    keys = some_keys(KEYS, 1_000, seed=os.getpid())
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
        name, start, end = line.strip().rsplit(" ", 2)
        print(work(operations[name], float(start), float(end), keys), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

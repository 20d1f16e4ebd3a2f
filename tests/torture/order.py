"""Order: eight clients on the same few keys, some of which expire meanwhile; what they saw must have an order."""

from __future__ import annotations

import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import monotonic_ns
from typing import Any

from stash_protocol import operations as op
from stash_protocol.operations import Request
from tests.support.daemon import Line, RunningDaemon
from tests.support.linear import Call, linearizable

CLIENTS = 8
WINDOW = 3  # calls of each client under way at once: they overlap with the others' and with its own
CALLS_A_KEY = 60
MILLISECOND = 1_000_000  # nanoseconds
TTLS = (8, 15, 40, 60_000)  # milliseconds: most end while the others look

Histories = defaultdict[str, list[Call]]


class Client:
    """Does this and that to the keys, and notes what came of it."""

    def __init__(self, name: int, keys: list[str], seed: int) -> None:
        self.histories: Histories = defaultdict(list)
        self._keys = keys
        self._random = random.Random(seed * 1000 + name)
        self._name = name
        self._serial = 0

    def work(self, daemon: RunningDaemon, calls: int) -> None:
        """So many calls."""
        waiting: dict[int, tuple[str, Call]] = {}
        with daemon.connect() as line:
            for _ in range(calls):
                key, request, payload, call = self._choose()
                call = call._replace(called=monotonic_ns())
                waiting[line.send(request, payload)] = (key, call)
                if len(waiting) >= WINDOW:
                    self._note(line, waiting)
            while waiting:
                self._note(line, waiting)

    def _choose(self) -> tuple[str, Request, bytes, Call]:
        self._serial += 1
        key, ttl = self._random.choice(self._keys), self._random.choice(TTLS)
        counter = key.startswith("n")
        value = str(self._random.randint(-5, 5)).encode() if counter else b"%d/%d" % (self._name, self._serial)
        kinds = ("get", "get", "set", "add", "update", "forget", *(["incr"] * 4 if counter else []))
        kind = self._random.choice(kinds)
        requests: dict[str, Request] = {
            "get": op.Get(key=key),
            "set": op.Set(key=key, ttl_ms=ttl),
            "add": op.Set(key=key, ttl_ms=ttl, if_absent=True),
            "update": op.Update(key=key, type="bytes"),
            "forget": op.Forget(keys=[key]),
            "incr": op.Incr(key=key, by=int(value) if counter else 0, ttl_ms=ttl),
        }
        payload = value if kind in ("set", "add", "update") else b""
        return key, requests[kind], payload, Call(0, 0, kind, None, value, ttl * MILLISECOND)

    def _note(self, line: Line, waiting: dict[int, tuple[str, Call]]) -> None:
        envelope, payload = line.read()
        returned = monotonic_ns()
        key, call = waiting.pop(envelope["id"])
        self.histories[key].append(call._replace(returned=returned, outcome=outcome(call.kind, envelope, payload)))


def outcome(kind: str, envelope: dict[str, Any], payload: bytes) -> bytes | int | bool | None:
    """What came of a call, as `Call` has it; only an absent key and a condition may be in its way."""
    reply = envelope.get("reply")
    if reply is None:
        assert envelope["error"]["code"] in ("not_found", "conflict"), envelope
        return None if kind == "get" else False
    if kind == "incr":
        return int(reply["number"])
    if kind == "forget":
        return bool(reply["forgotten"])
    return payload if kind == "get" else True


def histories(daemon: RunningDaemon, keys: list[str], seed: int) -> Histories:
    """What eight clients saw of each key."""
    clients = [Client(name, keys, seed) for name in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(client.work, daemon, len(keys) * CALLS_A_KEY // CLIENTS) for client in clients]
        for job in jobs:
            job.result()
    merged: Histories = defaultdict(list)
    for client in clients:
        for key, calls in client.histories.items():
            merged[key] += calls
    return merged


def run(daemon: RunningDaemon, seed: int, keys: int = 24) -> int:
    """One run on fresh keys; how many calls it had.

    Raises:
        AssertionError: there is no order, or there was too little to put in order.
    """
    names = [f"{'kn'[number % 2]}/{seed}/{number}" for number in range(keys)]
    seen = histories(daemon, names, seed)
    for key in names:
        calls = seen[key]
        assert len(calls) >= CALLS_A_KEY // 3, f"{key}: {len(calls)} calls show nothing"
        assert linearizable(calls), "\n".join([f"{key} has no order:", *map(str, sorted(calls))])
    overlapping = sum(1 for calls in seen.values() for one, two in pairwise(sorted(calls)) if two.called < one.returned)
    assert overlapping >= keys, f"only {overlapping} pairs of calls overlapped"
    assert sum(call.outcome is None for calls in seen.values() for call in calls), "nothing was ever absent"
    return sum(map(len, seen.values()))

"""An engine with its clock in the test's hand, and short words to call it by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from stash_daemon.assembly import open_embedded
from stash_daemon.engine import Engine, Reply, Step
from stash_daemon.keys import Caller
from stash_daemon.settings import HOUR, MIB, Settings, Tier
from stash_protocol import operations as op
from stash_protocol import replies
from stash_protocol.memories import Found, Hit
from stash_protocol.operations import OPERATIONS, Pace, Request
from tests.support.clock import ManualClock

ALL_SCOPES: frozenset[replies.Scope] = frozenset({"read", "write", "admin"})


def tier(**changes: Any) -> Tier:
    """A tier with room for a test, but for what the test is about."""
    fields = {"name": "test", "max_value": MIB, "default_ttl": HOUR, "max_ttl": 24 * HOUR, "quota": 8 * MIB}
    return Tier(**{**fields, **changes})


class Finding(NamedTuple):
    """What a search found."""

    found: Found
    hits: list[Hit]

    @property
    def keys(self) -> list[str]:
        return [hit.entry.key for hit in self.hits]


_hits = msgspec.msgpack.Decoder(list[Hit]).decode


class Bench:
    """One engine, driven turn by turn.

    Attributes:
        clock: moves only when told to.
        caller: who asks, unless a call names another.
    """

    def __init__(self, path: str = "", **tier_changes: Any) -> None:
        self.clock = ManualClock()
        self.engine: Engine = open_embedded(Settings(backend="memory"), path, clock=self.clock)
        self.caller = self.someone("default", **tier_changes)

    def someone(self, namespace: str, scopes: frozenset[replies.Scope] = ALL_SCOPES, **tier_changes: Any) -> Caller:
        return Caller(namespace=namespace, tier=tier(**tier_changes), scopes=scopes)

    def ask(self, request: Request, payload: bytes = b"", caller: Caller | None = None) -> Reply:
        """Admit and carry out one request in a turn of its own."""
        who = caller or self.caller
        self.engine.admit(request, len(payload), who)
        pace = OPERATIONS[type(request)].pace
        if pace in (Pace.SCAN, Pace.SEARCH):
            return self.engine.scan(request, who)
        if not self.engine.needs_turn(request):
            return self.engine.execute(request, payload, who)
        self.engine.begin()
        try:
            if pace is Pace.STEPS:
                reply = self._last(self.engine.steps(request, payload, who))
            else:
                reply = self.engine.execute(request, payload, who)
        finally:
            self.engine.commit()
        return reply

    def _last(self, steps: Iterator[Step]) -> Reply:
        """The reply at the end of the steps; what is put aside sees what was written before it."""
        for step in steps:
            if isinstance(step, Reply):
                return step
            if step is not None:
                self.engine.commit()
                step.work()
                self.engine.begin()
        raise AssertionError("there was no reply")

    def set(self, key: str, value: bytes = b"v", caller: Caller | None = None, **fields: Any) -> replies.Entry:
        body = self.ask(op.Set(key=key, **fields), value, caller).body
        assert isinstance(body, replies.Entry)
        return body

    def get(self, key: str, caller: Caller | None = None) -> bytes:
        return bytes(self.ask(op.Get(key=key), caller=caller).payload)

    def keys(self, caller: Caller | None = None, **fields: Any) -> list[str]:
        reply = self.ask(op.List(**fields), caller=caller)
        return [row["key"] for row in msgspec.msgpack.decode(reply.payload)]

    def find(self, query: str | None = None, caller: Caller | None = None, **fields: Any) -> Finding:
        """Search; the hits and what is said of them."""
        reply = self.ask(op.Search(query=query, **fields), caller=caller)
        assert isinstance(reply.body, Found)
        return Finding(reply.body, _hits(reply.payload))

    def archive(self, key: str) -> None:
        """Take a memory of the namespace ``default`` out of search, as retention does."""
        namespace = self.engine.store.namespace("default")
        head = self.engine.store.head(namespace, key)
        assert head is not None
        self.engine.begin()
        self.engine.store.archive(namespace, head.id, self.clock.now())
        self.engine.commit()

    def sweep(self) -> None:
        """Delete all that is expired."""
        more = True
        while more:
            self.engine.begin()
            more = self.engine.sweep()
            self.engine.commit()

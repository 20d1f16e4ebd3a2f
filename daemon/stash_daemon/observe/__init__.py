"""What happened: one facade over the log, the audit and the figures. It never sees a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from stash_daemon.clock import Clock
from stash_daemon.keys import Caller, Peer
from stash_daemon.observe import lines, prometheus
from stash_daemon.observe.audit import Audit
from stash_daemon.observe.files import stamp
from stash_daemon.observe.logs import LEVELS, Log
from stash_daemon.observe.metrics import NOBODY, OK, RETAINED, Embedding, Meter, Sums, Totals
from stash_daemon.observe.usage import DAY, HOUR, History
from stash_daemon.settings import Settings
from stash_protocol.analytics import Usage
from stash_protocol.errors import StashError
from stash_protocol.operations import OPERATIONS, Batch, Extend, Import, Request, Set, Update
from stash_protocol.replies import Entry, Rate, Remaining
from stash_protocol.retention import Retained

MAX_REFUSALS = 100  # lines a second about refused requests: a flood must not become a flood of the log
MAX_BATCHES = 1_024  # in one turn: more than its bytes allow; a bound all the same
LARGE = 80  # percent of the tier's largest value
ABOUT_TO_EXPIRE = 10_000  # milliseconds an extended entry had left

_GIVES_TTL = frozenset((Set, Update, Extend))
_WRITES = frozenset(request for request, operation in OPERATIONS.items() if operation.writes)
_INFO, _DEBUG = LEVELS["INFO"], LEVELS["DEBUG"]


class Observer:
    """Told of every request once, after its commit and before its reply leaves.

    Attributes:
        connections: open ones; the doors keep it.
        embedding: the queue's figures; the queue keeps them.

    Raises:
        BadRequest: the audit is required and its file cannot be written.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._log = Log(settings, clock)
        self._audit = Audit(settings, clock.now()) if settings.audit_log else None
        self._audit_required = settings.audit_required
        self._meters: dict[str, Meter] = {}
        self._totals = Totals()
        self._history = History()
        self._second = 0
        self._refusals = 0
        self._parts: dict[int, list[dict[str, Any]]] = {}  # by the identity of a request that is still to be served

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._totals.connections

    @connections.setter
    def connections(self, count: int) -> None:
        self._totals.connections = count

    @property
    def embedding(self) -> Embedding:
        """Figures of the queue."""
        return self._totals.embedding

    # ── requests ──

    def require_audit(self) -> None:
        """Make sure, before a write, that it will be in the audit, where the settings ask for that.

        Raises:
            StorageFull: there is no room for the audit.
            Busy: the audit cannot be written for another reason.
        """
        if self._audit is not None and self._audit_required:
            self._audit.require(self._clock.now())

    def consists_of(self, request: Request, parts: Sequence[Request]) -> None:
        """Keep for the audit what a batch holds, until it is served.

        Args:
            request: the batch.
            parts: the requests in it.
        """
        if self._audit is not None:
            while len(self._parts) >= MAX_BATCHES:
                del self._parts[next(iter(self._parts))]
            self._parts[id(request)] = [lines.part(each) for each in parts]

    def served(
        self,
        request: Request | None,
        caller: Caller | None,
        peer: Peer,
        *,
        request_id: lines.RequestId,
        reply: Struct | None,
        error: StashError | None,
        payload_bytes: int,
        duration_ns: int,
    ) -> None:
        """Take note of one request that was carried out or refused.

        Args:
            request: None when it could not be read.
            caller: None when it is not known.
            peer: where it came from.
            request_id: the same in log and audit; made into text only for a line of them.
            reply: what is about to be sent; None with an error.
            error: what is about to be sent; None with a reply.
            payload_bytes: of the request's payload, or of the reply's where the request has none.
            duration_ns: from its arrival to now, nanoseconds.
        """
        kind = None if request is None else request.__class__
        outcome = OK if error is None else error.code
        namespace, tier = (NOBODY, "") if caller is None else (caller.namespace, caller.tier.name)
        meter = self._meters.get(namespace)
        if meter is None:
            meter = self._meters[namespace] = Meter()
        meter.count((kind, tier, outcome), duration_ns, payload_bytes)
        if kind in _GIVES_TTL and isinstance(reply, (Entry, Remaining)):
            meter.ttl.add(reply.ttl_ms)
        if error is not None or self._audit is not None or self._log.threshold <= _INFO:
            self._tell(lines.Served(request, caller, peer, request_id, reply, error, payload_bytes, duration_ns))
        if error is None and caller is not None and kind in _WRITES:
            self._warn(request, caller, reply, payload_bytes, request_id)

    def _tell(self, served: lines.Served) -> None:
        if self._audit is not None:
            now = self._clock.now()
            parts = self._parts.pop(id(served.request), None) if self._parts else None
            self._audit.record({"ts": stamp(now), **lines.audited(served), **({"parts": parts} if parts else {})}, now)
        if served.error is not None:
            self._log_refused(served, served.error)
        else:
            self._log_done(served)

    def _warn(
        self,
        request: Request | None,
        caller: Caller,
        reply: Struct | None,
        payload_bytes: int,
        request_id: lines.RequestId,
    ) -> None:
        limit = caller.tier.max_value
        if payload_bytes * 100 >= limit * LARGE and not isinstance(request, Import | Batch):
            self.log(
                "WARNING",
                "large_value",
                request_id=lines.name_of(request_id),
                namespace=caller.namespace,
                key=getattr(request, "key", None),
                payload_bytes=payload_bytes,
                tier=caller.tier.name,
                limit_bytes=limit,
            )
        if isinstance(request, Extend) and isinstance(reply, Remaining) and not reply.clamped:
            before = reply.ttl_ms - request.by_ms
            if before <= ABOUT_TO_EXPIRE:
                self.log(
                    "WARNING",
                    "extended_late",
                    request_id=lines.name_of(request_id),
                    namespace=caller.namespace,
                    key=request.key,
                    left_seconds=before / 1000,
                    ttl_seconds=reply.ttl_ms / 1000,
                    tier=caller.tier.name,
                )

    def _log_done(self, served: lines.Served) -> None:
        level, event = lines.event_of(served)
        if LEVELS[level] >= self._log.threshold:
            self._log.write(level, event, lines.logged(served))
        if self._log.threshold <= _DEBUG:
            self._log.write("DEBUG", "timing", lines.logged(served))

    def _log_refused(self, served: lines.Served, error: StashError) -> None:
        level, event = lines.REFUSALS.get(error.code, ("INFO", "refused"))
        if LEVELS[level] < self._log.threshold:
            return
        second = self._clock.now() // 1000
        if second != self._second:
            if self._refusals > MAX_REFUSALS:
                self._log.write("WARNING", "lines_left_out", {"count": self._refusals - MAX_REFUSALS})
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            self._log.write(level, event, {**lines.logged(served), "code": error.code})

    # ── all else ──

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Anything else worth a line.

        Args:
            level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``, in any case.
            event: what happened; a fixed text.
            fields: what else. Never a value, never an API key.
        """
        self._log.write(level, event, fields)

    def rate_warning(self, caller: Caller, peer: Peer, rate: Rate) -> None:
        """80 % of a rate are used; what `RateLimiter` wants as ``warn``."""
        self.log(
            "WARNING",
            "rate_near_limit",
            namespace=caller.namespace,
            tier=caller.tier.name,
            api_key_name=caller.api_key_name,
            peer=peer.name,
            limit=rate.limit,
            remaining=rate.remaining,
        )

    def auth_failed(self, peer: Peer) -> None:  # noqa: ARG002 (told by `served`; counted here)
        """Count a refused API key."""
        self._totals.auth_failures += 1

    def swept(self, count: int, bytes: int) -> None:  # noqa: A002 (the name says what is counted)
        """Count entries deleted after their time."""
        self._totals.expired += count
        self._totals.expired_bytes += bytes
        if count:
            self.log("DEBUG", "swept", count=count, bytes=bytes)

    def pruned(self, count: int) -> None:
        """Count live entries that prune's policies deleted."""
        self._totals.pruned += count

    def retained(self, namespace: str, done: Retained) -> None:
        """Note a run of retention: logged and counted; audited if nobody asked for it, for a request is anyway."""
        self._totals.retention.add(done)
        counts = {name: getattr(done, name) for name in RETAINED}
        self.log("INFO", "retention", namespace=namespace, scheduled=done.scheduled, bytes=done.bytes, **counts)
        if self._audit is not None and done.scheduled:
            now = self._clock.now()
            line = {"ts": stamp(now), "request_id": None, "namespace": namespace, "api_key_name": None, "peer": None}
            what = {"op": "retention_run", "key": None, "outcome": OK, "bytes": done.bytes}
            self._audit.record({**line, **what, **counts}, now)

    def evicted(self, namespace: str, key: str, size: int) -> None:
        """Note a live entry that was deleted to make room: logged and audited.

        Args:
            namespace: whose.
            key: which.
            size: bytes of its value.
        """
        self._totals.evicted += 1
        self.log("WARNING", "evicted", namespace=namespace, key=key, payload_bytes=size)
        if self._audit is not None:
            now = self._clock.now()
            line = {"ts": stamp(now), "request_id": None, "namespace": namespace, "api_key_name": None, "peer": None}
            self._audit.record({**line, "op": "evict", "key": key, "outcome": OK, "bytes": size}, now)

    # ── figures ──

    def figures(self, namespace: str | None) -> dict[str, Any]:
        """Counts since the start; docs/observability.md has the names.

        Args:
            namespace: whose; None: everybody's, and those of the daemon as a whole.
        """
        if namespace is not None:
            return Sums([self._meters.get(namespace, Meter())]).figures()
        totals = self._totals
        return {
            **Sums(list(self._meters.values())).figures(),
            "namespaces": {
                name: sum(series.latency.count for series in list(meter.series.values()))
                for name, meter in sorted(self._meters.items())
                if name != NOBODY
            },
            "expired": totals.expired,
            "expired_bytes": totals.expired_bytes,
            "pruned": totals.pruned,
            "evicted": totals.evicted,
            "retention": totals.retention.figures(),
            "authentication_failures": totals.auth_failures,
            "connections": totals.connections,
            "embedding": totals.embedding.figures(),
            "lines_lost": self._lost(),
        }

    def look(self) -> None:
        """File what was counted since the last look under the hour it is now; from any thread."""
        self._history.look(self._meters, self._clock.now())

    def usage(self, namespace: str | None) -> tuple[list[Usage], list[Usage]]:
        """Requests by hour and by day; of a namespace, or None: of all together."""
        self.look()
        now = self._clock.now()
        return self._history.usage(namespace, HOUR, now), self._history.usage(namespace, DAY, now)

    def prometheus(self, alive: Mapping[str, int], waiting: int) -> str:
        """All figures as Prometheus reads them.

        Args:
            alive: ``entries``, ``bytes`` and ``namespaces`` the store holds.
            waiting: gets and watches that wait.
        """
        return prometheus.render(Sums(list(self._meters.values())), self._totals, alive, waiting, self._lost())

    def close(self) -> None:
        """Write what is held and let go of the files."""
        if self._audit is not None:
            self._audit.close(self._clock.now())
        self._log.close()

    def _lost(self) -> dict[str, int]:
        return {"log": self._log.lost, "audit": self._audit.lost if self._audit else 0}

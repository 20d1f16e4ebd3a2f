"""Counters and histograms since the start, per namespace; everything of the daemon as a whole is their sum.

One request costs one dictionary look-up for its namespace, one for its series and a few additions; whatever can be
derived from that (hits, misses, refusals, latency per operation) is derived when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from stash_protocol.operations import OPERATIONS, Request
from stash_protocol.retention import Retained
from stash_protocol.types import SIZES, UNITS

_US, _K, _M = 1_000, SIZES["K"], SIZES["M"]

LATENCY_BOUNDS = tuple(
    us * _US for us in (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000)
)  # nanoseconds
PAYLOAD_BOUNDS = (64, 256, _K, 4 * _K, 16 * _K, 64 * _K, 256 * _K, _M, 4 * _M, 16 * _M, 64 * _M, 256 * _M)  # bytes
TTL_BOUNDS = tuple(
    UNITS[unit] * count
    for count, unit in ((1, "s"), (10, "s"), (1, "m"), (10, "m"), (1, "h"), (6, "h"), (1, "d"), (7, "d"), (30, "d"))
)  # milliseconds

NOBODY = ""  # the namespace of requests whose caller is not known (yet)
OK = "ok"
RETAINED = ("archived", "deleted", "extended")  # what runs of retention are counted by


class Histogram:
    """How many values were at most each bound, and their sum. The last count is of those above every bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def add(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, other: Histogram) -> None:
        """Add what another histogram with the same bounds counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    @property
    def count(self) -> int:
        """Of all values."""
        return sum(self.counts)

    def quantile(self, part: float) -> float:
        """The bound that ``part`` of the values do not exceed; the last bound for what lies above it."""
        wanted, seen = part * self.count, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.bounds[-1]

    def cumulative(self) -> Iterator[tuple[int, int]]:
        """Each bound, and how many values did not exceed it."""
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            yield bound, seen


class Label(NamedTuple):
    """What requests are told apart by, within a namespace."""

    request: type[Request] | None  # None: it could not be read
    tier: str
    outcome: str  # ``ok`` or an error's code

    @property
    def op(self) -> str:
        """The name on the wire; ``unreadable`` for a request that was not one."""
        return "unreadable" if self.request is None else OPERATIONS[self.request].name


class Series:
    """The requests of one label."""

    __slots__ = ("latency", "payload")

    def __init__(self) -> None:
        self.latency = Histogram(LATENCY_BOUNDS)
        self.payload = Histogram(PAYLOAD_BOUNDS)


class Meter:
    """The requests of one namespace."""

    __slots__ = ("series", "ttl")

    def __init__(self) -> None:
        self.series: dict[tuple[type[Request] | None, str, str], Series] = {}
        self.ttl = Histogram(TTL_BOUNDS)

    def count(self, label: tuple[type[Request] | None, str, str], duration_ns: int, payload_bytes: int) -> None:
        """Count one request; the label is `Label`'s fields, as a plain tuple because that is faster."""
        series = self.series.get(label)
        if series is None:
            series = self.series[label] = Series()
        series.latency.add(duration_ns)
        if payload_bytes:
            series.payload.add(payload_bytes)


class Embedding:
    """The queue of texts that wait for a vector, and its calls; `search.backfill` keeps it.

    Attributes:
        queue: memories that wait, counted once a second.
        completed, failed: memories that got a vector, and that were given up.
        failed_calls: of the embedder.
    """

    __slots__ = ("completed", "failed", "failed_calls", "latency", "queue")

    def __init__(self) -> None:
        self.queue = 0
        self.completed = 0
        self.failed = 0
        self.failed_calls = 0
        self.latency = Histogram(LATENCY_BOUNDS)

    def called(self, duration_ns: int, *, failed: bool) -> None:
        """Count one call of the embedder."""
        self.latency.add(duration_ns)
        self.failed_calls += failed

    def figures(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "queue": self.queue,
            "completed": self.completed,
            "failed": self.failed,
            "failed_calls": self.failed_calls,
            "latency_ms": _shown(self.latency, 1_000_000),
        }


class Retention:
    """The runs of retention, one for each namespace, and what they did."""

    __slots__ = (*RETAINED, "runs")

    def __init__(self) -> None:
        self.runs = self.archived = self.deleted = self.extended = 0

    def add(self, done: Retained) -> None:
        """Count one run."""
        self.runs += 1
        self.archived += done.archived
        self.deleted += done.deleted
        self.extended += done.extended

    def figures(self) -> dict[str, int]:
        """As plain data."""
        return {name: getattr(self, name) for name in ("runs", *RETAINED)}


class Totals:
    """What is counted for the daemon as a whole only."""

    __slots__ = ("auth_failures", "connections", "embedding", "evicted", "expired", "expired_bytes", "pruned",
                 "retention")  # fmt: skip

    def __init__(self) -> None:
        self.connections = 0
        self.expired = 0
        self.expired_bytes = 0
        self.pruned = 0
        self.evicted = 0
        self.auth_failures = 0
        self.embedding = Embedding()
        self.retention = Retention()


class Sums:
    """Some namespaces' meters, added up for showing."""

    def __init__(self, meters: Iterable[Meter]) -> None:
        self.requests: Counter[Label] = Counter()
        self.latency: dict[str, Histogram] = {}
        self.payload: dict[str, Histogram] = {}
        self.ttl = Histogram(TTL_BOUNDS)
        for meter in meters:
            self.ttl.merge(meter.ttl)
            for key, series in list(meter.series.items()):
                label = Label(*key)
                self.requests[label] += series.latency.count
                self.latency.setdefault(label.op, Histogram(LATENCY_BOUNDS)).merge(series.latency)
                if series.payload.count:
                    self.payload.setdefault(label.op, Histogram(PAYLOAD_BOUNDS)).merge(series.payload)

    def count(self, *, op: str | None = None, outcome: str) -> int:
        """Requests with this outcome, of one operation or of all."""
        return sum(n for label, n in self.requests.items() if label.outcome == outcome and op in (None, label.op))

    def figures(self) -> dict[str, Any]:
        """The same as plain data; docs/observability.md has the names."""
        return {
            "requests": [
                {"op": label.op, "tier": label.tier, "outcome": label.outcome, "count": count}
                for label, count in sorted(self.requests.items(), key=lambda item: (item[0].op, *item[0][1:]))
            ],
            "latency_ms": {op: _shown(histogram, 1_000_000) for op, histogram in sorted(self.latency.items())},
            "payload_bytes": {op: _shown(histogram, 1) for op, histogram in sorted(self.payload.items())},
            "ttl_seconds": _shown(self.ttl, 1_000),
            "hits": self.count(op="get", outcome=OK),
            "misses": self.count(op="get", outcome="not_found"),
            "rate_limited": self.count(outcome="rate_limited"),
        }


def _shown(histogram: Histogram, unit: int) -> dict[str, Any]:
    count = histogram.count
    return {
        "count": count,
        "mean": histogram.total / unit / count if count else 0.0,
        "p50": histogram.quantile(0.5) / unit if count else 0.0,
        "p99": histogram.quantile(0.99) / unit if count else 0.0,
        "buckets": [[bound / unit, below] for bound, below in histogram.cumulative()],
    }

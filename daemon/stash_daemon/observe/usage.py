"""Usage over time: requests per hour for a week and per day for a quarter, of each namespace and of all together.

Nothing is counted twice: a look compares the meters with what they were at the last look, and files the difference
under the hour it is made in. So requests cost nothing more, and an hour is as exact as looks are frequent. It is kept
in memory: a restart begins anew, and what must outlast it belongs into Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING

from stash_protocol.analytics import Usage
from stash_protocol.operations import OPERATIONS, Access, Request, Search

if TYPE_CHECKING:
    from stash_daemon.observe.metrics import Meter

HOUR, DAY = 3_600_000, 86_400_000  # milliseconds
KEPT = {HOUR: 7 * DAY, DAY: 90 * DAY}
"""How long the counts of a span are kept, milliseconds."""

MAX_NAMESPACES = 1_000  # with a history of their own, some 50 KiB each; of all others only the sum is kept
ALL = None  # in place of a namespace: all together

Counts = tuple[int, int, int, int]
NONE: Counts = (0, 0, 0, 0)


class History:
    """Usage over time; may be asked by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: dict[str, Counts] = {}  # by namespace, at the last look
        self._kept: dict[str | None, dict[int, dict[int, Counts]]] = {ALL: {HOUR: {}, DAY: {}}}

    def look(self, meters: Mapping[str, Meter], now: int) -> None:
        """File what was counted since the last look."""
        with self._lock:
            for namespace, meter in list(meters.items()):
                counts = _counts(meter)
                more = _combined(counts, self._seen.get(namespace, NONE), -1)
                if any(more):
                    self._seen[namespace] = counts
                    self._file(namespace, more, now)
                    self._file(ALL, more, now)

    def usage(self, namespace: str | None, span: int, now: int) -> list[Usage]:
        """The hours or days that had any requests, oldest first.

        Args:
            namespace: whose; None: all together.
            span: `HOUR` or `DAY`.
            now: milliseconds since the epoch.
        """
        with self._lock:
            spans = dict(self._kept.get(namespace, {}).get(span, {}))
        return [Usage(at, *counts) for at, counts in sorted(spans.items()) if at > now - KEPT[span]]

    def _file(self, namespace: str | None, more: Counts, now: int) -> None:
        if namespace not in self._kept:
            if len(self._kept) > MAX_NAMESPACES:
                return
            self._kept[namespace] = {HOUR: {}, DAY: {}}
        for span, spans in self._kept[namespace].items():
            at = now - now % span
            if at not in spans:
                for old in [old for old in spans if old <= now - KEPT[span]]:
                    del spans[old]
            spans[at] = _combined(spans.get(at, NONE), more, 1)


def _counts(meter: Meter) -> Counts:
    """Reads, writes, searches and refusals so far."""
    found = [0, 0, 0, 0]
    for (request, _, outcome), series in list(meter.series.items()):
        place = _PLACES.get(request) if request is not None and outcome == "ok" else 3
        if place is not None:
            found[place] += series.latency.count
    return found[0], found[1], found[2], found[3]


def _combined(counts: Counts, others: Counts, sign: int) -> Counts:
    a, b, c, d = (mine + sign * other for mine, other in zip(counts, others, strict=True))
    return a, b, c, d


_PLACES: dict[type[Request], int] = {
    request: 2 if request is Search else {Access.READ: 0, Access.WRITE: 1}[row.access]
    for request, row in OPERATIONS.items()
    if row.access in (Access.READ, Access.WRITE)
}
"""What a request counts as; what has to do with the connection, the daemon or its API keys is no usage."""

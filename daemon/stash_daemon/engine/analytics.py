"""How a namespace is used, and what its memories are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stash_daemon.engine.core import Core
from stash_daemon.memory_store import KINDS, ROLES, STATES
from stash_daemon.observe.usage import DAY, HOUR
from stash_daemon.store import Reads
from stash_protocol.analytics import Analytics, Day, ModelUse, Talk, Trend, Usage

STORED_DAYS = 30  # of memories
TOP = 10  # conversations
TRENDS = (1, 7)  # days


def analytics(core: Core, reads: Reads, namespace: str, now: int, *, everyone: bool) -> Analytics:
    """What can be said of a namespace.

    Args:
        core: the engine.
        reads: a snapshot.
        namespace: the caller's.
        now: milliseconds since the epoch.
        everyone: whether usage is that of all namespaces together.
    """
    today = now - now % DAY
    census = reads.census(reads.namespace(namespace), now, since=today - (STORED_DAYS - 1) * DAY, top=TOP)
    kinds: Counter[str] = Counter()
    roles: Counter[str] = Counter()
    states: Counter[str] = Counter()
    archived = 0
    for kind, role, state, is_archived, count in census.memories:
        kinds[KINDS[kind]] += count
        roles[ROLES[role] or "none"] += count
        states[STATES[state]] += count
        archived += count * is_archived
    hours, days = core.observer.usage(None if everyone else namespace)
    stored = [Day(at, count) for at, count in census.days]
    return Analytics(
        now=now,
        since=core.started,
        hours=hours,
        days=days,
        trends=_trends(hours, days, stored, now),
        memories=kinds.total(),
        archived=archived,
        kinds=dict(kinds),
        roles=dict(roles),
        stored=stored,
        conversations=[Talk(*row) for row in census.conversations],
        embedding=dict(states),
        models=[ModelUse(*row) for row in census.models],
    )


def _trends(hours: Sequence[Usage], days: Sequence[Usage], stored: Sequence[Day], now: int) -> list[Trend]:
    """Of late, and as long before: a day by its hours, a week by its days, today being one of them."""
    found = []
    for length in TRENDS:
        spans, span = (hours, HOUR) if length == 1 else (days, DAY)
        requests = [(each.at, each.reads + each.writes + each.searches) for each in spans]
        found.append(_trend("requests", length, requests, now - now % span + span))
    tomorrow = now - now % DAY + DAY
    return found + [
        _trend("memories", length, [(day.at, day.memories) for day in stored], tomorrow) for length in TRENDS
    ]


def _trend(what: str, length: int, counts: Sequence[tuple[int, int]], end: int) -> Trend:
    begin = end - length * DAY
    last = sum(count for at, count in counts if begin <= at < end)
    return Trend(what, length, last, sum(count for at, count in counts if begin - length * DAY <= at < begin))

"""retention: old memories that matter little make room by themselves.

A run walks the memories of one namespace in the order in which they expire. A piece at a time is judged off the loop,
on a snapshot; what was chosen is then done in slices, each row only if it still is what was judged. It never gives
life back: what is expired is no candidate, and more time comes within the tier's maximum.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from stash_daemon.engine.conversations import outlive
from stash_daemon.engine.core import Aside, Core, Reply, Step
from stash_daemon.keys import Caller
from stash_daemon.memory_store import MAX_PLACE, ROLES, Candidate, Place
from stash_daemon.settings import Settings
from stash_daemon.store import Head
from stash_protocol.operations import GetRetention, RetentionRun
from stash_protocol.reader import Payload
from stash_protocol.retention import (
    MAX_CHOSEN,
    Chosen,
    Retained,
    RetentionAction,
    RetentionRule,
    RetentionState,
)

LOOKS = 500  # memories judged at once, off the loop: some 5 ms
SLICE = 8  # rows changed in one turn, as for prune
LAST_RUN = "retention_at"  # when the daemon began its last run over all namespaces, milliseconds since the epoch

_pack = msgspec.msgpack.Encoder().encode
_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Retained).decode


class Owner(NamedTuple):
    """Whose memories a run is about.

    Attributes:
        max_ttl: how long they may have left at most, milliseconds.
    """

    namespace: str
    max_ttl: int


class Intent(NamedTuple):
    """What is to become of one memory, as it was when it was judged.

    Attributes:
        expires: of an extended one, from now on.
        bytes: of its value and what search keeps of it.
    """

    entry: int
    key: str
    version: int
    action: RetentionAction
    rule: str
    expires: int
    bytes: int


class Walk(NamedTuple):
    """One run over one namespace.

    Attributes:
        done: what it did so far.
        chosen: the first `MAX_CHOSEN` memories.
        extended: entries: they expire later now, so the walk comes by them once more.
    """

    core: Core
    owner: Owner
    done: Retained
    chosen: list[Chosen]
    extended: set[int]


class Piece(NamedTuple):
    """What was judged at once.

    Attributes:
        after: where to go on; None: that was all.
    """

    looked: int
    intents: list[Intent]
    after: Place | None


# ── what is asked for ──


def retention_run(core: Core, caller: Caller, request: RetentionRun, _payload: Payload) -> Iterator[Step]:
    """Carry out the rules in the caller's namespace."""
    owner = Owner(caller.namespace, caller.tier.max_ttl)
    walk = Walk(core, owner, Retained(began_at=core.clock.now()), [], set())
    yield from _run(walk, dry_run=request.dry_run)
    yield Reply(walk.done, _pack(walk.chosen) if request.report else b"")


def retention(core: Core, caller: Caller, _request: GetRetention, _payload: Payload) -> Reply:
    """The rules, and the last run."""
    kept = core.store.load_meta(_name(core.store.namespace(caller.namespace)))
    due = next_run(core)
    state = RetentionState(
        rules=rules_of(core.settings),
        every_ms=core.settings.retention_every,
        next_at=None if due is None else max(due, core.clock.now()),
        last=_read(kept) if kept else None,
    )
    return Reply(state)


def scheduled(core: Core) -> Iterator[Step]:
    """Carry out the rules in all namespaces that have memories."""
    began = core.clock.now()
    for namespace in core.store.remembering():
        core.observer.require_audit()
        name = core.store.namespace_name(namespace)
        done = Retained(began_at=core.clock.now(), scheduled=True)
        yield from _run(Walk(core, Owner(name, _longest_ttl(core, name)), done, [], set()), dry_run=False)
    core.store.save_meta(LAST_RUN, str(began))
    yield None


def next_run(core: Core) -> int | None:
    """When the daemon is to run it, milliseconds since the epoch; None: not by itself."""
    if core.settings.retention_every is None:
        return None
    last = core.store.load_meta(LAST_RUN)
    return core.started if last is None else int(last) + core.settings.retention_every


def rules_of(settings: Settings) -> list[RetentionRule]:
    """All rules, in the order in which they are tried: those somebody wrote, then the two that always stand."""
    rules = [
        RetentionRule(
            rule.name,
            rule.action,
            older_than_ms=rule.older_than,
            importance_below=rule.importance_below,
            importance_from=rule.importance_from,
            roles=list(rule.roles),
            tags=list(rule.tags),
            groups=list(rule.groups),
            keep_ms=rule.keep,
        )
        for rule in settings.rules
    ]
    if settings.retention_archive_after is not None:
        below = settings.retention_archive_below
        old = settings.retention_archive_after
        rules.append(RetentionRule("archive_after", "archive", older_than_ms=old, importance_below=below))
    if settings.retention_delete_after is not None:
        rules.append(RetentionRule("delete_after", "delete", archived_for_ms=settings.retention_delete_after))
    return rules


# ── judge ──


def _judge(walk: Walk, after: Place, found: list[Piece]) -> None:
    """Find what the rules choose of the next memories. From any thread."""
    core, now = walk.core, walk.done.began_at
    rules = rules_of(core.settings)
    with core.store.snapshot() as reads:
        read = reads.candidates(reads.namespace(walk.owner.namespace), after, LOOKS)
    candidates = [candidate for candidate in read if candidate.column.id not in walk.extended]
    intents = []
    for candidate, important in zip(candidates, _importances(candidates, now, core.settings.half_life), strict=True):
        rule = next((rule for rule in rules if fits(rule, candidate, important, now)), None)
        if rule is not None:
            target = now + min(rule.keep_ms, walk.owner.max_ttl) if rule.keep_ms is not None else 0
            if rule.action != "extend" or candidate.column.expires < target:
                intents.append(_intent(candidate, rule, target))
    found.append(Piece(len(candidates), intents, read[-1].place if len(read) == LOOKS else None))


def fits(rule: RetentionRule, candidate: Candidate, importance: float, now: int) -> bool:
    """Whether all conditions of a rule hold."""
    memory = candidate.column
    if rule.action == "archive" and memory.archived is not None:
        return False
    if rule.archived_for_ms is not None and (memory.archived is None or memory.archived >= now - rule.archived_for_ms):
        return False
    return (
        (rule.older_than_ms is None or memory.at < now - rule.older_than_ms)
        and (rule.importance_below is None or importance < rule.importance_below)
        and (rule.importance_from is None or importance >= rule.importance_from)
        and (not rule.roles or ROLES[memory.role] in rule.roles)
        and (not rule.groups or memory.group in rule.groups)
        and (not rule.tags or any(tag in rule.tags for tag in memory.tags))
    )


def _importances(candidates: Sequence[Candidate], now: int, half_life: int) -> list[float]:
    """How important memories are, by the formula of search."""
    if not candidates:
        return []
    from stash_daemon.search.index import Index  # numpy: 100 ms and 20 MiB that only those who have memories pay for
    from stash_daemon.search.ranking import importance

    index = Index()
    index.put([candidate.column for candidate in candidates])
    places = index.places(candidate.column.id for candidate in candidates)
    found: list[float] = importance(index, places, now, half_life)[0].tolist()
    return found


def _intent(candidate: Candidate, rule: RetentionRule, target: int) -> Intent:
    size = candidate.size + candidate.bytes
    return Intent(candidate.column.id, candidate.key, candidate.version, rule.action, rule.name, target, size)


# ── do ──


def _run(walk: Walk, *, dry_run: bool) -> Generator[Step]:
    core, owner, done = walk.core, walk.owner, walk.done
    namespace = core.store.namespace(owner.namespace)
    after: Place | None = (done.began_at, MAX_PLACE, 0) if namespace in core.store.remembering() else None
    while after is not None:
        found: list[Piece] = []
        yield Aside(partial(_judge, walk, after, found))
        looked, intents, after = found[0]
        done.looked += looked
        size = LOOKS if dry_run else SLICE
        for start in range(0, len(intents), size):
            for intent in intents[start : start + size]:
                if dry_run or _carry_out(core, owner, intent):
                    _count(walk, intent)
                else:
                    done.skipped += 1
            yield None
    if not dry_run:
        if namespace:
            core.store.save_meta(_name(namespace), _write(done).decode())
        core.observer.retained(owner.namespace, done)


def _carry_out(core: Core, owner: Owner, intent: Intent) -> bool:
    """Do to a memory what was meant for it, if it still is the one that was judged."""
    store, now = core.store, core.clock.now()
    namespace = store.namespace(owner.namespace)
    head = store.head(namespace, intent.key)
    if head is None or (head.id, head.version) != (intent.entry, intent.version) or head.expires <= now:
        return False
    if intent.action == "archive":
        memory = store.memory(head.id)
        if memory is None or memory.archived is not None:
            return False
        store.archive(namespace, head.id, now)
    elif intent.action == "delete":
        store.delete(namespace, [head])
        core.tell(owner.namespace, "forget", head.key, at=now, version=head.version, expires=head.expires)
    else:
        _extend(core, owner, head, intent.expires, now)
        outlive(core, owner.namespace, store.memory(head.id), expires=intent.expires, now=now)
    return True


def _extend(core: Core, owner: Owner, head: Head, expires: int, now: int) -> None:
    """Give a live memory more time; one that was extended beyond that meanwhile would have another version."""
    version = head.version + 1
    core.store.retime(head, expires=expires, ttl=head.ttl, version=version)
    core.tell(owner.namespace, "extend", head.key, at=now, version=version, expires=expires)


def _count(walk: Walk, intent: Intent) -> None:
    done = walk.done
    done.rules[intent.rule] = done.rules.get(intent.rule, 0) + 1
    if intent.action == "archive":
        done.archived += 1
    elif intent.action == "delete":
        done.deleted += 1
        done.bytes += intent.bytes
    else:
        done.extended += 1
        walk.extended.add(intent.entry)
    if len(walk.chosen) < MAX_CHOSEN:
        walk.chosen.append(Chosen(intent.key, intent.action, intent.rule))


def _name(namespace: int) -> str:
    """Under which the last run of a namespace is kept."""
    return f"retention/{namespace}"


def _longest_ttl(core: Core, namespace: str) -> int:
    """What all tiers allow that open a namespace, milliseconds; 0: nobody can come into it any more."""
    now = core.clock.now()
    tiers = [
        core.settings.tiers[info.tier]
        for info in core.keys.list().keys
        if info.namespace == namespace and (info.expires_at is None or info.expires_at > now)
    ]
    local = core.keys.local_caller()
    if local.namespace == namespace and not core.settings.require_api_key:
        tiers.append(local.tier)
    return min((tier.max_ttl for tier in tiers), default=0)

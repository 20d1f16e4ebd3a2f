"""The engine: the meaning of every operation. Plain synchronous functions over rows; no sockets, no SQL, no waiting.

Whoever calls it (a door, or the library in process) decides how to wait, and groups writes into turns: `begin`, any
number of `execute`, `commit`; only then may the replies leave.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from stash_daemon.clock import SystemClock
from stash_daemon.engine import about, access, batch, conversations, embedding, listing, pruning, retention, search
from stash_daemon.engine.batch import MAX_BULK, MEMBERS, run_batch
from stash_daemon.engine.core import Aside, Core, Reply, Step, check_size, permit, writes
from stash_daemon.engine.drafts import Draft
from stash_daemon.keys import Caller
from stash_daemon.lock import OwnerLock
from stash_daemon.store import FULL, LARGE, LOG_PAGES, Large, Value
from stash_protocol.errors import STORAGE_ERRORS, BadRequest, StashError, StorageFull, Unauthenticated
from stash_protocol.frames import MAX_ENVELOPE
from stash_protocol.operations import (
    OPERATIONS,
    Append,
    Batch,
    Cargo,
    Checkpoint,
    Clear,
    Conversations,
    Embedded,
    EmbedRebuild,
    EmbedRetry,
    Export,
    GetEmbedding,
    GetRetention,
    GetStats,
    GetStatus,
    Import,
    Incr,
    KeyCreate,
    KeyList,
    KeyRevoke,
    KeyRotate,
    List,
    Ping,
    Prune,
    Ready,
    Request,
    RetentionRun,
    Search,
    Set,
    Update,
)
from stash_protocol.reader import Payload

__all__ = ["INLINE", "LARGE", "SCANS", "STEPS", "Aside", "Engine", "Large", "Reply", "Step", "Value"]

CLOCK = "clock"  # the name its anchor has in the store
LONG_LOG = 4 * LOG_PAGES  # 32 MiB: every commit takes half as long again
CLOCK_SAVED_EVERY = 60_000  # milliseconds: what a reboot beside a wall clock set back can give back at most

INLINE: dict[type[Request], Callable[[Core, Caller, Any, Any], Reply]] = {
    **MEMBERS,
    Batch: run_batch,
    Ping: about.ping,
    Ready: about.ready,
    GetStatus: about.status,
    GetRetention: retention.retention,
    Embedded: embedding.embedded,
    KeyCreate: access.key_create,
    KeyList: access.key_list,
    KeyRotate: access.key_rotate,
    KeyRevoke: access.key_revoke,
}

STEPS: dict[type[Request], Callable[[Core, Caller, Any, Payload], Iterator[Step]]] = {
    Clear: pruning.clear,
    Import: listing.import_entries,
    Prune: pruning.prune,
    RetentionRun: retention.retention_run,
    EmbedRetry: embedding.embed_retry,
    EmbedRebuild: embedding.embed_rebuild,
}

SCANS: dict[type[Request], Callable[[Core, Caller, Any], Reply]] = {
    List: listing.list_entries,
    Search: search.search,
    Conversations: conversations.conversations,
    Export: listing.export_entries,
    GetStats: about.stats,
    GetEmbedding: embedding.embedding,
    Checkpoint: about.checkpoint,
}


GROWING = frozenset((Set, Update, Incr, Append, Batch, Import))
"""What a full disk has no room for; all else reads or frees."""


class Engine(Core):
    """One database and what can be done with it. One thread uses an engine, but for `scan`."""

    lock: OwnerLock | None = None  # what makes this engine the only one on its database; released last
    _clock_saved = 0  # milliseconds since the epoch

    # ── may they ──

    def admit(self, request: Request, payload_length: int, caller: Caller) -> None:
        """Judge a request before any of its payload is kept.

        Raises:
            Unauthenticated: the API key was revoked or is over.
            Forbidden: its scopes do not cover the operation.
            BadRequest: a payload where none belongs.
            TooLarge, OverQuota: the payload cannot be stored whatever it is.
            StorageFull: it grows, and the disk is full.
            StorageFull, Busy: a write that cannot be audited, where it must be.
        """
        if caller.revoked or (caller.expires_at is not None and caller.expires_at <= self.clock.now()):
            raise Unauthenticated("this API key was revoked or has expired; ask for a new one")
        if permit(request, payload_length, caller) == "write":
            self.observer.require_audit()
        if self.store.full and type(request) in GROWING and not self.store.recover():
            raise StorageFull(FULL)
        if payload_length:
            self._admit_payload(request, OPERATIONS[type(request)].cargo, payload_length, caller)

    def _admit_payload(self, request: Request, cargo: Cargo, length: int, caller: Caller) -> None:
        if cargo in (Cargo.VALUE, Cargo.ITEM):
            check_size(caller.tier, length)
        elif length > max(MAX_BULK, caller.tier.max_value + MAX_ENVELOPE):  # a value, and what a row says beside it
            raise BadRequest(f"{length:,} bytes at once; send parts of at most {MAX_BULK:,}")
        if type(request) is Set and request.key and caller.tier.evict == "refuse":
            namespace = self.store.namespace(caller.namespace)
            if self.store.held(namespace) + length > caller.tier.quota:
                self._admit_beside_what_it_replaces(request.key, namespace, length, caller)

    def _admit_beside_what_it_replaces(self, key: str, namespace: int, length: int, caller: Caller) -> None:
        now, head = self.clock.now(), self.store.head(namespace, key)
        growth = length - (head.size if head and head.expires > now else 0)
        self.make_room(caller, namespace, growth, now=now)

    def needs_turn(self, request: Request) -> bool:
        """Whether the request writes, and so belongs into a turn."""
        return writes(request)

    def weight(self, request: Request, payload: Payload) -> int:
        """How many requests this one counts as where requests are counted."""
        return max(1, batch.weight(payload)) if type(request) is Batch else 1

    # ── turns ──

    def begin(self) -> None:
        """Open a turn: everything until `commit` is one transaction."""
        self.store.begin()
        now = self.clock.now()
        if now - self._clock_saved > CLOCK_SAVED_EVERY:
            try:
                self.save_clock()
            except StashError:
                self.rollback()
                raise
            self._clock_saved = now

    def commit(self) -> None:
        """Make the turn durable, then tell watchers.

        Raises:
            StorageFull, Busy, StorageDamaged: nothing of the turn was kept.
        """
        try:
            self.store.commit()
        except StashError:
            self.rollback()
            raise
        self.publish()

    def rollback(self) -> None:
        """Undo the turn."""
        self.store.rollback()
        self.discard()

    # ── do it ──

    def execute(self, request: Request, payload: Value, caller: Caller) -> Reply:
        """Carry out an operation whose pace is INLINE."""
        return INLINE[type(request)](self, caller, request, payload)

    def steps(self, request: Request, payload: Payload, caller: Caller) -> Iterator[Step]:
        """Carry out an operation whose pace is STEPS: every item ends a slice, and the last one is the reply."""
        return STEPS[type(request)](self, caller, request, payload)

    def scan(self, request: Request, caller: Caller) -> Reply:
        """Carry out an operation whose pace is SCAN; from any thread, unless `scans_inline`."""
        return SCANS[type(request)](self, caller, request)

    @property
    def scans_inline(self) -> bool:
        """Whether scans must run on the engine's own thread: a store in memory has one connection."""
        return not self.store.off_thread

    # ── large values ──

    def draft(self, value: Payload) -> Draft:
        """Begin to write a large value, for an `execute` that is given it as ``Draft.value()``."""
        return Draft(self, value)

    def pin(self, value: Large) -> None:
        """Keep a large value that is being read, whatever becomes of its entry, until `unpin`."""
        self.store.pin(value)

    def unpin(self, number: int) -> None:
        """It was read: ``number`` is `Large.number`."""
        self.store.unpin(number)

    @property
    def log_is_long(self) -> bool:
        """Whether whoever writes much should wait until the log was moved."""
        return self.store.log_pages > LONG_LOG

    # ── time ──

    def sweep(self) -> bool:
        """Within a turn: delete a slice of what is expired; True when there may be more."""
        return pruning.sweep(self)

    def next_expiry(self) -> int | None:
        """When the next entry expires, milliseconds since the epoch."""
        return 0 if self.store.littered else self.store.next_expiry()

    def retain(self) -> Iterator[Step]:
        """Retention in all namespaces: as `steps`, but without a reply."""
        return retention.scheduled(self)

    def next_retention(self) -> int | None:
        """When `retain` is due, milliseconds since the epoch; None: never by itself."""
        return retention.next_run(self)

    def save_clock(self) -> None:
        """Keep what the next run needs so that no entry's time comes back."""
        if isinstance(self.clock, SystemClock):
            self.store.save_meta(CLOCK, json.dumps(self.clock.anchor()))

    def close(self) -> None:
        """Leave everything as the next run wants to find it, as far as the storage lets us."""
        try:
            with suppress(*STORAGE_ERRORS):  # the anchor of a minute ago will do
                self.save_clock()
            self.store.close()
        finally:
            self.observer.close()
            if self.lock is not None:
                self.lock.release()

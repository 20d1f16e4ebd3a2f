"""What can be asked of retention, and what it answers."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from stash_protocol.memories import Role
from stash_protocol.request import Request

MAX_CHOSEN = 1_000  # rows in the payload of one run: what a person reads at most

RetentionAction = Literal["archive", "delete", "extend"]


class RetentionRun(Request, tag="retention_run"):
    """Carry out the rules of retention in the caller's namespace, now, in slices.

    ``dry_run`` changes nothing; ``report`` puts the first 1,000 memories it chose into the payload, an array of
    `Chosen`.
    """

    dry_run: bool = False
    report: bool = False


class GetRetention(Request, tag="retention"):
    """The rules of retention in the order in which they are tried, and the last run in the caller's namespace."""


class Chosen(Struct, array_like=True):
    """One memory that a rule chose: its key, what became of it, and the rule's name."""

    key: str
    action: RetentionAction
    rule: str


class Retained(Struct, omit_defaults=True):
    """What a run of retention did, or would do.

    Attributes:
        looked: live memories it looked at.
        archived: taken out of search, unless it asks for archived ones.
        deleted: before their time.
        extended: given more time.
        skipped: chosen, but written or gone before they were reached: they are judged anew by the next run.
        bytes: of the deleted, their values and what search kept of them.
        rules: how many each rule chose, by its name.
        began_at: milliseconds since the epoch.
        scheduled: the daemon began it by itself.
    """

    looked: int = 0
    archived: int = 0
    deleted: int = 0
    extended: int = 0
    skipped: int = 0
    bytes: int = 0
    rules: dict[str, int] = msgspec.field(default_factory=dict)
    began_at: int = 0
    scheduled: bool = False


class RetentionRule(Struct, omit_defaults=True):
    """One rule: all of its conditions must hold, and the first rule that fits decides.

    Attributes:
        name: what reports call it.
        older_than_ms: it happened longer ago.
        importance_below: less important than that.
        importance_from: as important as that, or more.
        archived_for_ms: it was archived longer ago.
        roles, tags, groups: any of these.
        keep_ms: what an extended memory has left afterwards.
    """

    name: str
    action: RetentionAction
    older_than_ms: int | None = None
    importance_below: float | None = None
    importance_from: float | None = None
    archived_for_ms: int | None = None
    roles: list[Role] = msgspec.field(default_factory=list)
    tags: list[str] = msgspec.field(default_factory=list)
    groups: list[str] = msgspec.field(default_factory=list)
    keep_ms: int | None = None


class RetentionState(Struct, omit_defaults=True):
    """What retention does, and did.

    Attributes:
        rules: in the order in which they are tried.
        every_ms: between two runs by the daemon; None: only when somebody asks.
        next_at: when the daemon runs it next, or now if that is due, milliseconds since the epoch.
        last: the last run in the caller's namespace that was not dry.
    """

    rules: list[RetentionRule]
    every_ms: int | None = None
    next_at: int | None = None
    last: Retained | None = None

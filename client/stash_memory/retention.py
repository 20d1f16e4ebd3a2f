"""Retention: what becomes of old memories, and when."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from stash_memory.api_keys import AsyncRun, Run
from stash_memory.calls import Call
from stash_protocol import operations
from stash_protocol.reader import Payload
from stash_protocol.retention import Chosen, RetentionState
from stash_protocol.retention import Retained as Report


class Retained(NamedTuple):
    """What a run did, or would do.

    Attributes:
        looked: live memories it looked at.
        archived: taken out of search, unless it asks for archived ones.
        deleted, extended: how many.
        skipped: chosen, but written or gone before they were reached.
        bytes: of the deleted, their values and what search kept of them.
        rules: how many each rule chose, by its name.
        chosen: key, action and rule of the first 1,000 memories, with ``report``.
    """

    looked: int
    archived: int
    deleted: int
    extended: int
    skipped: int
    bytes: int
    rules: dict[str, int]
    chosen: list[Chosen]


_chosen = msgspec.msgpack.Decoder(list[Chosen]).decode


def _retained(body: Report, payload: Payload) -> Retained:
    counts = (body.looked, body.archived, body.deleted, body.extended, body.skipped, body.bytes)
    return Retained(*counts, body.rules, _chosen(payload) if payload else [])


def _state(body: RetentionState, _payload: Payload) -> RetentionState:
    return body


def retention_run(*, dry_run: bool, report: bool) -> Call[Retained]:
    """The call behind `Retention.run`."""
    return Call(operations.RetentionRun(dry_run=dry_run, report=report), _retained)


def retention_show() -> Call[RetentionState]:
    """The call behind `Retention.show`."""
    return Call(operations.GetRetention(), _state)


class Retention:
    """What becomes of old memories of the caller's namespace."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, *, dry_run: bool = False, report: bool = False, timeout: float | None = None) -> Retained:
        """Carry out the rules now.

        Args:
            dry_run: change nothing.
            report: say which memories were chosen.
            timeout: seconds; what was done by then stays done.

        Raises:
            StashError: as every call.
        """
        return self._run(retention_run(dry_run=dry_run, report=report), timeout)

    def show(self, *, timeout: float | None = None) -> RetentionState:
        """The rules in the order in which they are tried, the last run, and when the daemon runs it next.

        Raises:
            StashError: as every call.
        """
        return self._run(retention_show(), timeout)


class AsyncRetention:
    """`Retention`, awaited."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def run(self, *, dry_run: bool = False, report: bool = False, timeout: float | None = None) -> Retained:
        """See `Retention.run`."""
        return await self._run(retention_run(dry_run=dry_run, report=report), timeout)

    async def show(self, *, timeout: float | None = None) -> RetentionState:
        """See `Retention.show`."""
        return await self._run(retention_show(), timeout)

"""Pruning, as both clients have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from stash_memory import calls
from stash_memory.calls import Call
from stash_memory.memories import Filters, filter_of
from stash_memory.results import Pruned
from stash_memory.values import Duration, milliseconds
from stash_protocol import operations

Result = TypeVar("Result")


class Pruning:
    """The part of `Stash` that prunes."""

    if TYPE_CHECKING:

        def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_newest: int | None = None,
        keep_highest_score: int | None = None,
        prefix: str = "",
        tag: str | None = None,
        among: Filters | None = None,
        dry_run: bool = False,
        report: bool = False,
        timeout: float | None = None,
    ) -> Pruned:
        """Delete what is expired, then what any of the policies chooses.

        Args:
            older_than: entries last written before that.
            keep_newest: all but so many, by their last write.
            keep_highest_score: all but so many of the memories with a score; those without stay.
            prefix: only entries under it.
            tag: only entries with it.
            among: only these memories; older and newer then go by when they happened. See `Filters`.
            dry_run: delete nothing, only say what would be.
            report: say which keys.
            timeout: seconds the call may take.
        """
        call = pruned(
            older_than=older_than, keep_newest=keep_newest, keep_highest_score=keep_highest_score, prefix=prefix,
            tag=tag, among=among, dry_run=dry_run, report=report,
        )  # fmt: skip
        return self._run(call, timeout)


class AsyncPruning:
    """The part of `AsyncStash` that prunes."""

    if TYPE_CHECKING:

        async def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    async def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_newest: int | None = None,
        keep_highest_score: int | None = None,
        prefix: str = "",
        tag: str | None = None,
        among: Filters | None = None,
        dry_run: bool = False,
        report: bool = False,
        timeout: float | None = None,
    ) -> Pruned:
        """See `Stash.prune`."""
        call = pruned(
            older_than=older_than, keep_newest=keep_newest, keep_highest_score=keep_highest_score, prefix=prefix,
            tag=tag, among=among, dry_run=dry_run, report=report,
        )  # fmt: skip
        return await self._run(call, timeout)


def pruned(
    *,
    older_than: Duration | None,
    keep_newest: int | None,
    keep_highest_score: int | None,
    prefix: str = "",
    tag: str | None = None,
    among: Filters | None,
    dry_run: bool,
    report: bool,
) -> Call[Pruned]:
    """The call behind `Stash.prune`."""
    request = operations.Prune(
        older_than_ms=milliseconds(older_than),
        keep_newest=keep_newest,
        keep_highest_score=keep_highest_score,
        prefix=prefix,
        tag=tag,
        filter=None if among is None else filter_of(among),
        dry_run=dry_run,
        report=report,
    )
    return calls.prune(request)

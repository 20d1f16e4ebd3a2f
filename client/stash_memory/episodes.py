"""Episodes: what an agent went through, and what came of it. A typed view of memories of kind ``episode``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

from stash_memory import calls, lines, results
from stash_memory.api_keys import AsyncRun, Run
from stash_memory.calls import Call
from stash_memory.conditions import Where
from stash_memory.memories import (
    Filters,
    Findings,
    Hit,
    MemoryFields,
    Moment,
    Vector,
    memory_of,
    search_request,
)
from stash_memory.pruning import pruned
from stash_memory.results import Entry, ExportedEntry
from stash_memory.values import Duration
from stash_protocol import memories
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Order
from stash_protocol.reader import Payload


class Episode(Hit):
    """One episode that was found; `Stash.get` of its key has its value."""

    __slots__ = ()

    @property
    def task_id(self) -> str | None:
        """Of which task it is one."""
        return self.group

    @property
    def timestamp(self) -> datetime:
        """When it happened."""
        return self.created_at


class EpisodeHits(Findings[Episode]):
    """The episodes a query found, best first."""

    def __init__(self, body: memories.Found, payload: Payload) -> None:
        super().__init__(body, payload, Episode)


class EpisodeFields(TypedDict, total=False):
    """What makes an episode.

    Attributes:
        task_id: of which task it is one.
        value: what to keep: str, bytes or anything JSON can say; ``content``, unless given.
        content: what it is found by in words.
        state_embedding: a vector of the state it began in.
        model: what made that vector; vectors of different models are never compared.
        reward: what came of it; other memories call it their score.
        metadata: anything JSON can say, to filter by.
        timestamp: when it happened; now, unless given.
        tags: names to find it by.
        key: of the entry; made, unless given.
        ttl: how long it lives; 90 days unless the daemon is set otherwise, within the tier's maximum.
    """

    task_id: Required[str]
    value: object
    content: str
    state_embedding: Vector
    model: str
    reward: float
    metadata: Mapping[str, Any]
    timestamp: Moment
    tags: Sequence[str]
    key: str
    ttl: Duration


class EpisodeFilters(TypedDict, total=False):
    """Which episodes are meant; all of it must hold.

    Attributes:
        task_id, task_id_prefix: of this task, of tasks whose id starts so.
        min_reward: has a reward, at least this.
        tags_any, tags_all: any of these tags, all of these.
        time_after, time_before: when it happened; the first is included.
        where: conditions on metadata, as `Stash.search` takes them.
    """

    task_id: str
    task_id_prefix: str
    min_reward: float
    tags_any: Sequence[str]
    tags_all: Sequence[str]
    time_after: Moment
    time_before: Moment
    where: Where


FIELDS = {"content": "text", "state_embedding": "embedding", "reward": "score", "timestamp": "at", "task_id": "group"}
FILTERS = {
    "task_id": "group", "task_id_prefix": "group_prefix", "min_reward": "min_score", "time_after": "after",
    "time_before": "before",
}  # fmt: skip
"""What is called otherwise where it is not about episodes."""


class Episodes:
    """The episodes of a namespace."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def add(self, *, timeout: float | None = None, **episode: Unpack[EpisodeFields]) -> Entry:
        """Store an episode; see `EpisodeFields`.

        Raises:
            BadRequest: a vector, a reward or metadata that is none.
            StashError: as `Stash.set`.
        """
        return self._run(_add(episode), timeout)

    def add_many(self, episodes: Iterable[EpisodeFields], *, timeout: float | None = None) -> list[Entry]:
        """Store up to 1,000 episodes, all or none."""
        return self._run(calls.batch([_add(episode) for episode in episodes]), timeout)

    def query(
        self,
        query_embedding: Vector | None = None,
        *,
        query: str | None = None,
        top_k: int = 10,
        offset: int = 0,
        order: Order | None = None,
        importance_weight: float = 0.0,
        model: str | None = None,
        timeout: float | None = None,
        **filters: Unpack[EpisodeFilters],
    ) -> EpisodeHits:
        """Find episodes: the nearest first, or the newest where there is nothing to be near to.

        Args:
            query_embedding: the state to be near to.
            query: words to be found by.
            top_k: episodes at most, 1 to 4,096.
            offset: episodes to leave out first.
            order: otherwise than so: ``"newest"``, ``"oldest"``, ``"score"`` (by reward), ``"importance"``.
            importance_weight: 0 to 1: what recency and content count beside nearness.
            model: what made ``query_embedding``.
            timeout: seconds the call may take.
            filters: see `EpisodeFilters`.
        """
        return self._run(
            _query(
                query_embedding, query=query, k=top_k, offset=offset, order=order,
                importance_weight=importance_weight, model=model, filters=filters,
            ),
            timeout,
        )  # fmt: skip

    def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_newest: int | None = None,
        keep_highest_reward: int | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        **filters: Unpack[EpisodeFilters],
    ) -> results.Pruned:
        """Delete those episodes that any of the policies chooses; what was deleted, with the keys.

        Args:
            older_than: what happened longer ago.
            keep_newest: all but so many.
            keep_highest_reward: all but so many of those with a reward; those without stay.
            dry_run: delete nothing, only say what would be.
            timeout: seconds the call may take.
            filters: the episodes the policies choose among; see `EpisodeFilters`.
        """
        call = _prune(older_than, keep_newest, keep_highest_reward, dry_run=dry_run, filters=filters)
        return self._run(call, timeout)

    def save(self, path: str | os.PathLike[str], *, task_id_prefix: str = "", timeout: float | None = None) -> int:
        """Write episodes to a file, a JSON line each, as ``stash export`` does; how many.

        The file is there whole or not at all, and on the disk when this returns. What is added meanwhile may be in it.

        Raises:
            OSError: the file cannot be written.
            StashError: as every call.
        """
        with lines.Draft(path) as draft:
            cursor: str | None = ""
            while cursor is not None:
                page, cursor = self._run(calls.export_page("", cursor), timeout)
                draft.write(_chosen(page, task_id_prefix))
        return draft.count

    def load(
        self, path: str | os.PathLike[str], *, replace: bool = False, timeout: float | None = None
    ) -> results.Imported:
        """Read episodes that `save` wrote, each with the time it had left; what exists stays, unless ``replace``.

        Raises:
            BadRequest: a line is no episode; those before it may have been read.
            OSError: the file cannot be read.
            StashError: as every call.
        """
        total = results.Imported(0, 0, 0)
        for call in calls.import_pages(_episodes_in(path), replace=replace):
            total = calls.add_imported(total, self._run(call, timeout))
        return total

    def checkpoint(self, *, timeout: float | None = None) -> None:
        """Returns once all episodes stored before survive the loss of power, too: as `Stash.checkpoint`."""
        self._run(calls.checkpoint(), timeout)


class AsyncEpisodes:
    """`Episodes`, awaited."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def add(self, *, timeout: float | None = None, **episode: Unpack[EpisodeFields]) -> Entry:
        """See `Episodes.add`."""
        return await self._run(_add(episode), timeout)

    async def add_many(self, episodes: Iterable[EpisodeFields], *, timeout: float | None = None) -> list[Entry]:
        """See `Episodes.add_many`."""
        return await self._run(calls.batch([_add(episode) for episode in episodes]), timeout)

    async def query(
        self,
        query_embedding: Vector | None = None,
        *,
        query: str | None = None,
        top_k: int = 10,
        offset: int = 0,
        order: Order | None = None,
        importance_weight: float = 0.0,
        model: str | None = None,
        timeout: float | None = None,
        **filters: Unpack[EpisodeFilters],
    ) -> EpisodeHits:
        """See `Episodes.query`."""
        return await self._run(
            _query(
                query_embedding, query=query, k=top_k, offset=offset, order=order,
                importance_weight=importance_weight, model=model, filters=filters,
            ),
            timeout,
        )  # fmt: skip

    async def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_newest: int | None = None,
        keep_highest_reward: int | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        **filters: Unpack[EpisodeFilters],
    ) -> results.Pruned:
        """See `Episodes.prune`."""
        call = _prune(older_than, keep_newest, keep_highest_reward, dry_run=dry_run, filters=filters)
        return await self._run(call, timeout)

    async def save(
        self, path: str | os.PathLike[str], *, task_id_prefix: str = "", timeout: float | None = None
    ) -> int:
        """See `Episodes.save`."""
        with lines.Draft(path) as draft:
            cursor: str | None = ""
            while cursor is not None:
                page, cursor = await self._run(calls.export_page("", cursor), timeout)
                draft.write(_chosen(page, task_id_prefix))
        return draft.count

    async def load(
        self, path: str | os.PathLike[str], *, replace: bool = False, timeout: float | None = None
    ) -> results.Imported:
        """See `Episodes.load`."""
        total = results.Imported(0, 0, 0)
        for call in calls.import_pages(_episodes_in(path), replace=replace):
            total = calls.add_imported(total, await self._run(call, timeout))
        return total

    async def checkpoint(self, *, timeout: float | None = None) -> None:
        """See `Episodes.checkpoint`."""
        await self._run(calls.checkpoint(), timeout)


# ── arguments into calls ──


def _add(episode: EpisodeFields) -> Call[Entry]:
    given: dict[str, Any] = dict(episode)
    key, ttl, tags = given.pop("key", None), given.pop("ttl", None), given.pop("tags", ())
    if not given.get("task_id"):
        raise BadRequest("an episode needs a task_id")
    value = given.pop("value", given.get("content"))
    fields: MemoryFields = _renamed({"kind": "episode", **given}, FIELDS)
    return calls.set_(key, value, ttl=ttl, if_absent=False, if_version=None, tags=tags or (), memory=memory_of(fields))


def _query(  # what `Episodes.query` takes
    near: Vector | None,
    *,
    query: str | None,
    k: int,
    offset: int,
    order: Order | None,
    importance_weight: float,
    model: str | None,
    filters: EpisodeFilters,
) -> Call[EpisodeHits]:
    if order is None:
        order = "newest" if near is None and not query else "rank"
    request = search_request(
        query, embedding=near, k=k, offset=offset, order=order, importance_weight=importance_weight, model=model,
        **_filters(filters),
    )  # fmt: skip
    return Call(request, EpisodeHits)


def _prune(
    older_than: Duration | None, keep_newest: int | None, highest: int | None, *, dry_run: bool, filters: EpisodeFilters
) -> Call[results.Pruned]:
    if older_than is None and keep_newest is None and highest is None:
        raise BadRequest("prune needs a policy: older_than, keep_newest or keep_highest_reward")
    return pruned(
        older_than=older_than, keep_newest=keep_newest, keep_highest_score=highest, among=_filters(filters),
        dry_run=dry_run, report=True,
    )  # fmt: skip


def _filters(filters: EpisodeFilters) -> Filters:
    renamed: Filters = _renamed({"kind": "episode", **filters}, FILTERS)
    return renamed


def _renamed(given: dict[str, Any], names: dict[str, str]) -> Any:
    return {names.get(name, name): value for name, value in given.items() if value is not None}


def _chosen(page: list[ExportedEntry], task_id_prefix: str) -> Iterator[ExportedEntry]:
    for entry in page:
        memory = entry.memory
        if memory is not None and memory.kind == "episode" and (memory.group or "").startswith(task_id_prefix):
            yield entry


def _episodes_in(path: str | os.PathLike[str]) -> Iterator[results.Portable]:
    for number, entry in lines.entries_in(path):
        if entry.memory is None or entry.memory.kind != "episode":
            raise BadRequest(f"line {number} of {os.fspath(path)} is no episode")
        yield entry

"""LangGraph's checkpoints in a stash: a thread goes on where it stood, until its TTL is over.

It needs the extra ``langgraph``. A checkpoint is one entry with all its channels, so it is there whole or not at all;
each write of a task is an entry beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from stash_memory.integrations import langgraph_records as records
from stash_memory.integrations.langgraph_awaited import AwaitedSaver
from stash_memory.integrations.langgraph_records import CHECKPOINTS, WRITES, Saved, Spot, Write, spot_of
from stash_memory.results import Portable
from stash_memory.sync import Stash
from stash_memory.values import Duration, utf8
from stash_protocol.errors import Conflict


class StashSaver(AwaitedSaver):
    """A checkpointer. Any number of graphs, threads and event loops may share it.

    Args:
        stash: where to keep the checkpoints; None: the user's own daemon.
        ttl: how long each checkpoint lives; None: the tier's default, an hour. Every step of a graph makes a new one.
        serde: how values are written down, if not as LangGraph does.
    """

    def __init__(
        self, stash: Stash | None = None, *, ttl: Duration | None = None, serde: SerializerProtocol | None = None
    ) -> None:
        super().__init__(serde=serde)
        self._stash = stash or Stash()
        self._ttl = ttl

    # ── read ──

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        spot: Spot | None = spot_of(config)
        if spot and not spot.checkpoint:
            spot = self._newest(spot)
        return self._load(spot) if spot else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        wanted = self._wanted(config, (get_checkpoint_id(before) if before else None) or "")
        found = (loaded for spot in wanted if (loaded := self._load(spot)) is not None)
        if filter:
            found = (each for each in found if all(each.metadata.get(name) == is_ for name, is_ in filter.items()))
        yield from islice(found, limit)

    def _wanted(self, config: RunnableConfig | None, before: str) -> Sequence[Spot]:
        """Where what may be listed stands, the newest first."""
        given = config["configurable"] if config else {}
        prefix = records.thread_prefix(given["thread_id"]) if given else ""
        spots = self._spots(prefix)
        for name, place in (("checkpoint_ns", 1), ("checkpoint_id", 2)):
            if given.get(name) is not None:
                spots = [spot for spot in spots if spot[place] == given[name]]
        earlier = (spot for spot in spots if not before or spot.checkpoint < before)
        return sorted(earlier, key=lambda spot: spot.checkpoint, reverse=True)

    def _spots(self, prefix: str, tag: str | None = None) -> Sequence[Spot]:
        keys = (entry.key.removeprefix(CHECKPOINTS) for entry in self._stash.list(CHECKPOINTS + prefix, tag=tag))
        return [Spot(*map(unquote, key.split("/"))) for key in keys]

    def _newest(self, spot: Spot) -> Spot | None:
        for entry in self._stash.list(CHECKPOINTS + spot.path, limit=1, reverse=True):
            return spot._replace(checkpoint=unquote(entry.key.rpartition("/")[2]))
        return None

    def _load(self, spot: Spot) -> CheckpointTuple | None:
        raw = self._stash.get(CHECKPOINTS + spot.path)
        if raw is None:
            return None
        saved = records.read_saved(raw)
        writes = [records.read_write(entry.raw) for entry in self._stash.export(f"{WRITES}{spot.path}/")]
        writes.sort(key=lambda write: writes_sort_key(write.path, write.task, write.place))
        return CheckpointTuple(
            config=spot.config,
            checkpoint=self.serde.loads_typed(saved.checkpoint),
            metadata=self.serde.loads_typed(saved.metadata),
            parent_config=spot._replace(checkpoint=saved.parent).config if saved.parent else None,
            pending_writes=[(write.task, write.channel, self.serde.loads_typed(write.value)) for write in writes],
        )

    # ── write ──

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002  # every channel is in every checkpoint
    ) -> RunnableConfig:
        spot = spot_of(config)
        complete = get_checkpoint_metadata(config, metadata)
        saved = Saved(self.serde.dumps_typed(checkpoint), self.serde.dumps_typed(complete), spot.checkpoint or None)
        spot = spot._replace(checkpoint=checkpoint["id"])
        tags = [records.run_tag(run)] if (run := complete.get("run_id")) else []
        self._stash.set(CHECKPOINTS + spot.path, records.pack(saved), ttl=self._ttl, tags=tags)
        return spot.config

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        prefix = f"{WRITES}{spot_of(config).path}/{quote(utf8(task_id), safe='')}/"
        pending = {}
        for place, (channel, value) in enumerate(writes):
            write = Write(
                task_path, task_id, WRITES_IDX_MAP.get(channel, place), channel, self.serde.dumps_typed(value)
            )
            pending[f"{prefix}{write.place}"] = write
        while pending:
            batch = self._stash.batch()  # whole: a task whose writes are there in part would count as done
            for key, write in pending.items():
                batch.set(key, records.pack(write), ttl=self._ttl, if_absent=write.place >= 0)
            try:
                batch.run()
            except Conflict:  # what a task wrote first stands; errors and interrupts are replaced
                there = {entry.key for entry in self._stash.list(prefix)}
                pending = {key: write for key, write in pending.items() if key not in there or write.place < 0}
            else:
                return

    # ── delete, copy ──

    def delete_thread(self, thread_id: str) -> None:
        for kind in (CHECKPOINTS, WRITES):
            self._stash.clear(prefix=kind + records.thread_prefix(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        for run in run_ids:
            self._drop(self._spots("", records.run_tag(run)))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with the time its checkpoints have left."""
        source, target = records.thread_prefix(source_thread_id), records.thread_prefix(target_thread_id)
        for kind in (CHECKPOINTS, WRITES):
            copies = (
                Portable(
                    entry.key.replace(kind + source, kind + target, 1), entry.type, entry.raw, entry.ttl, entry.tags
                )
                for entry in self._stash.export(kind + source)
            )
            self._stash.import_(copies, replace=True)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete a thread's checkpoints: all, or all that its newest ones can do without."""
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"unknown strategy {strategy!r}: use 'keep_latest' or 'delete'")
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            spots = self._spots(records.thread_prefix(thread))
            kept: set[Spot] = set()
            for namespace in {spot.namespace for spot in spots}:
                kept |= self._needed(max(spot for spot in spots if spot.namespace == namespace))
            self._drop([spot for spot in spots if spot not in kept])

    def _needed(self, newest: Spot) -> set[Spot]:
        """A checkpoint, and those before it that its delta channels are rebuilt from."""
        needed, loaded = {newest}, self._load(newest)
        deltas = set(loaded.metadata.get("counters_since_delta_snapshot", {})) if loaded else set()
        while loaded and (deltas := deltas - set(loaded.checkpoint["channel_values"])) and loaded.parent_config:
            spot = spot_of(loaded.parent_config)
            needed.add(spot)
            loaded = self._load(spot)
        return needed

    def _drop(self, spots: Sequence[Spot]) -> None:
        self._stash.forget([CHECKPOINTS + spot.path for spot in spots])
        for spot in spots:
            self._stash.clear(prefix=f"{WRITES}{spot.path}/")

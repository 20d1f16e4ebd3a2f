"""LangGraph's long-term memory in a stash: items in namespaces, found by filters, words and meaning.

It needs the extra ``langgraph``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
    validate_op_namespace,
)

from stash_memory.integrations.langgraph_items import (
    ITEMS,
    Namespace,
    conditions,
    filtered,
    key_of,
    matches,
    parse,
    prefix_of,
)
from stash_memory.memories import Hit, MemoryFields
from stash_memory.results import StoredEntry
from stash_memory.sync import Stash
from stash_protocol.errors import NotFound, StashError
from stash_protocol.memories import MAX_TEXT
from stash_protocol.operations import MAX_BATCH


class StashStore(BaseStore):
    """A store. Any number of graphs, threads and event loops may share it.

    Args:
        stash: where to keep the items; None: the user's own daemon.
        index: which fields are searched by default, and an embedder of your own; else the daemon's.
        ttl: ``default_ttl`` in minutes, unless given the tier's default; ``refresh_on_read``, unless given True.
    """

    supports_ttl = True

    def __init__(
        self, stash: Stash | None = None, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> None:
        self._stash = stash or Stash()
        self._fields = (index or {}).get("fields") or ["$"]
        self._embeddings = ensure_embeddings(index["embed"]) if index and index.get("embed") else None
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations: what reads sees what was there before what writes; the last write of an item counts.

        Writes are done all or none, a thousand at a time.

        Raises:
            InvalidNamespaceError: a label is empty, or has a period.
            StashError: as every call.
        """
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
        results: list[Result] = [None] * len(asked)
        self._get({place: op for place, op in enumerate(asked) if isinstance(op, GetOp)}, results)
        for place, op in enumerate(asked):
            if isinstance(op, SearchOp):
                results[place] = self._search(op)
            elif isinstance(op, ListNamespacesOp):
                results[place] = self._namespaces(op)
        self._put(list({key_of(op.namespace, op.key): op for op in asked if isinstance(op, PutOp)}.items()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.to_thread(self.batch, list(ops))

    # ── read ──

    def _get(self, ops: Mapping[int, GetOp], results: list[Result]) -> None:
        found = self._entries([(key_of(op.namespace, op.key), op.refresh_ttl) for op in ops.values()])
        for (place, op), entry in zip(ops.items(), found, strict=True):
            if entry is not None:
                results[place] = Item(
                    value=entry.value,
                    key=op.key,
                    namespace=op.namespace,
                    created_at=entry.created_at,
                    updated_at=entry.updated_at,
                )

    def _entries(self, wanted: Sequence[tuple[str, bool]]) -> list[StoredEntry | None]:
        pipeline = self._stash.pipeline()
        for key, touch in wanted:
            pipeline.entry(key, touch=touch)
        outcomes = pipeline.run()
        for outcome in outcomes:
            if isinstance(outcome, StashError) and not isinstance(outcome, NotFound):
                raise outcome
        return [None if isinstance(outcome, NotFound) else outcome for outcome in outcomes]

    def _search(self, op: SearchOp) -> list[SearchItem]:
        if op.limit <= 0:
            return []
        vector = self._embeddings.embed_query(op.query) if self._embeddings and op.query else None
        hits = self._stash.search(
            None if vector else op.query,
            embedding=vector,
            k=op.limit,
            offset=op.offset,
            order="rank" if op.query else "newest",
            importance_weight=0.0,
            prefix=prefix_of(op.namespace_prefix),
            where=list(conditions(op.filter or {})),
        )
        entries = self._entries([(hit.key, op.refresh_ttl) for hit in hits])
        return [_item(hit, entry) for hit, entry in zip(hits, entries, strict=True) if entry is not None]

    def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        wanted = op.match_conditions or ()
        there = {parse(entry.key)[0] for entry in self._stash.list(ITEMS)}
        matching = {namespace for namespace in there if all(matches(namespace, each) for each in wanted)}
        return sorted({namespace[: op.max_depth] for namespace in matching})[op.offset :][: op.limit]

    # ── write ──

    def _put(self, ops: Sequence[tuple[str, PutOp]]) -> None:
        memories = self._memories([op for _, op in ops])
        for start in range(0, len(ops), MAX_BATCH):
            batch = self._stash.batch()
            for (key, op), memory in zip(ops[start:][:MAX_BATCH], memories[start:], strict=False):
                if op.value is None:
                    batch.forget(key)
                else:
                    batch.set(key, dict(op.value), ttl=None if op.ttl is None else op.ttl * 60, **memory)
            batch.run()

    def _memories(self, ops: Sequence[PutOp]) -> list[MemoryFields]:
        """What each item is found by: its small fields, and its text unless ``index`` is False."""
        memories: list[MemoryFields] = []
        for op in ops:
            memory: MemoryFields = {"metadata": filtered(op.value or {}), "embed": False}
            if op.value is not None and op.index is not False:
                texts = [text for path in op.index or self._fields for text in get_text_at_path(op.value, path)]
                memory = {**memory, "embed": True, "text": "\n".join(texts)[:MAX_TEXT]}
            memories.append(memory)
        texts = [memory["text"] for memory in memories if memory.get("text")]
        if self._embeddings and texts:
            vectors = iter(self._embeddings.embed_documents(texts))
            for memory in memories:
                if memory.get("text"):
                    memory["embedding"] = next(vectors)
        return memories


def _item(hit: Hit, entry: StoredEntry) -> SearchItem:
    namespace, key = parse(hit.key)
    return SearchItem(namespace, key, entry.value, entry.created_at, entry.updated_at, hit.similarity)

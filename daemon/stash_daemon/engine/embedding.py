"""The embedder's queue, as a caller sees it: how far it is with their memories, and what it shall do again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial

from stash_daemon.engine.core import Aside, Core, Reply, Step, absent, entry
from stash_daemon.engine.memories import status_of
from stash_daemon.keys import Caller
from stash_daemon.memory_store import COMPLETED, FAILED, MAX_PLACE, PENDING, STATES, Embeddable, Place
from stash_protocol.analytics import ModelUse
from stash_protocol.embedding import EmbeddingState, Requeued
from stash_protocol.errors import BadRequest
from stash_protocol.operations import Embedded, EmbedRebuild, EmbedRetry, GetEmbedding
from stash_protocol.reader import Payload
from stash_protocol.replies import EmbeddingStatus

LOOKS = 500  # memories looked at in one go, off the loop
SLICE = 32  # rows changed in one turn

Wanted = Callable[[Embeddable], bool]


def embedding(core: Core, caller: Caller, _request: GetEmbedding) -> Reply:
    """How far the embedder is, and how it is."""
    with core.store.snapshot() as reads:
        namespace = reads.namespace(caller.namespace)
        rows = reads.embedding(namespace, core.clock.now())
    name = core.embedder.name if core.embedder else None
    state = EmbeddingState(name)
    counts: dict[EmbeddingStatus, int] = dict.fromkeys(STATES, 0)
    models: dict[tuple[str, int], int] = {}
    for number, wanted, model, dimensions, count in rows:
        counts[STATES[number]] += count
        if model is not None and dimensions is not None:
            models[model, dimensions] = models.get((model, dimensions), 0) + count
        if name is not None and (wanted or (number == COMPLETED and model != name)):
            state.outdated += count
    state.pending, state.failed = counts["pending"], counts["failed"]
    state.completed, state.skipped = counts["completed"], counts["skipped"]
    state.models = [ModelUse(*key, count) for key, count in sorted(models.items(), key=lambda item: -item[1])]
    for use in state.models:
        if use.model == name:
            state.current, state.dimensions = use.vectors, use.dimensions
    if core.queue is not None:
        state.dimensions = state.dimensions or core.settings.embedder_dimensions
        health = core.queue.health(namespace)
        state.error, state.error_at = health.error, health.error_at
        state.breaker = "closed" if health.retry_in is None else "open"
        state.retry_ms = None if health.retry_in is None else round(health.retry_in * 1000)
    return Reply(state)


def embedded(core: Core, caller: Caller, request: Embedded, _payload: Payload) -> Reply:
    """How far the embedder is with one memory; whoever calls the engine does the waiting."""
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    head = core.store.head(namespace, request.key)
    if head is None or head.expires <= now:
        raise absent(request.key)
    answer = entry(head, now)
    answer.embedding_status = status_of(core, head.id)
    return Reply(answer)


def must_wait(core: Core, request: Embedded, reply: Reply) -> bool:
    """Whether it is worth asking again."""
    pending = getattr(reply.body, "embedding_status", None) == STATES[PENDING]
    return pending and bool(request.wait_ms) and core.embedder is not None


def embed_retry(core: Core, caller: Caller, _request: EmbedRetry, _payload: Payload) -> Iterator[Step]:
    """Put back what was given up."""
    _need_embedder(core)
    return _requeue(core, caller, lambda memory: memory.state == FAILED)


def embed_rebuild(core: Core, caller: Caller, _request: EmbedRebuild, _payload: Payload) -> Iterator[Step]:
    """Put back what the embedder that is set now has made no vector of."""
    name = _need_embedder(core)
    return _requeue(core, caller, lambda memory: memory.wanted or (memory.state == COMPLETED and memory.model != name))


def _need_embedder(core: Core) -> str:
    if core.embedder is None:
        raise BadRequest("there is no embedder; set one: embedder = … in config.toml")
    return core.embedder.name


def _requeue(core: Core, caller: Caller, wanted: Wanted) -> Generator[Step]:
    store, done = core.store, Requeued(0)
    namespace = store.namespace(caller.namespace)
    after: Place | None = (core.clock.now(), MAX_PLACE, 0) if namespace in store.remembering() else None
    while after is not None:
        found: list[Embeddable] = []
        yield Aside(partial(_look, core, namespace, after, found))
        after = found[-1].place if len(found) == LOOKS else None
        chosen = [memory for memory in found if wanted(memory)]
        for start in range(0, len(chosen), SLICE):
            now = core.clock.now()
            for memory in chosen[start : start + SLICE]:
                done.requeued += store.requeue(namespace, memory.entry, memory.state, now)
            yield None
    yield Reply(done)


def _look(core: Core, namespace: int, after: Place, found: list[Embeddable]) -> None:
    """The next memories. From any thread."""
    with core.store.snapshot() as reads:
        found += reads.embeddable(namespace, after, LOOKS)

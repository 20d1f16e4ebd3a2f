"""search: memories by meaning, words and filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from stash_daemon.engine.core import Core, Reply, absent, entry
from stash_daemon.engine.memories import ANOTHER_MODEL
from stash_daemon.keys import Caller
from stash_daemon.memory_store import KINDS, OWN, ROLES, STATES, Memorable, Model
from stash_daemon.store import Reads
from stash_protocol.errors import BadRequest, TooLarge
from stash_protocol.memories import MAX_TEXT, Found, Hit
from stash_protocol.operations import Search
from stash_protocol.vectors import ITEM_SIZE, check_vector

if TYPE_CHECKING:
    from stash_daemon.search.index import Index
    from stash_daemon.search.ranked import Ranked, Wanted

TOKEN = 4  # characters of English text, about
MAX_FOUND = 16 << 20  # bytes of the hits in one reply
TOO_MUCH = "the memories found have more than 16 MiB together; ask for fewer"
READ_AT_ONCE = 64  # memories: with their texts and metadata some 10 MiB at the most

_pack = msgspec.msgpack.Encoder().encode


class Direction(NamedTuple):
    """What to be near to: a vector, the model it is of, and the entry it was taken from, if any."""

    vector: bytes
    model: str
    itself: int | None = None


def search(core: Core, caller: Caller, request: Search) -> Reply:
    """Find memories."""
    from stash_daemon.search.ranked import rank  # numpy: 100 ms and 20 MiB that only those who search pay for

    _check(request)
    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    direction, note = _meant(core, caller, request)
    with core.shelves.open(namespace) as (index, reads):
        if request.like is not None:
            direction = _like(reads, namespace, request.like, now)
        model = _model(reads.models(namespace), direction, index, now)
        wanted = _wanted(core, request, direction, model)
        ranked = rank(index, reads, namespace, wanted, now)
        hits, found = _read(reads, namespace, ranked, request, now)
    if note is None and direction is not None and not ranked.embedded and ranked.candidates:
        note = f"none of these memories has a vector of model {direction.model!r}"
    if note is None and found.mode == "keyword" and not found.total and not any(map(str.isalnum, request.query or "")):
        note = "the query has neither a letter nor a digit, so no word to search for"
    found.note = note
    return Reply(found, _pack(hits))


def _check(request: Search) -> None:
    if request.mode == "vector" and request.query is None and request.vector is None and request.like is None:
        raise BadRequest("a search by vector needs a query, a vector, or the key of a memory to be like")
    if request.query is not None and not request.query.strip():
        raise BadRequest("the query is empty; leave it out to search by filters alone")
    if request.mode == "keyword" and not request.query:
        raise BadRequest("a search by keyword needs a query")
    if request.vector is not None and request.like is not None:
        raise BadRequest("a search is near a vector or like a memory, not both")
    if request.vector is not None:
        check_vector(request.vector)
    elif request.model is not None:
        raise BadRequest("model must come with an embedding, whose maker it names")


def _meant(core: Core, caller: Caller, request: Search) -> tuple[Direction | None, str | None]:
    """The direction a request gives, or that its words have; and why it has none, where it should."""
    if request.vector is not None:
        return Direction(request.vector, request.model or OWN), None
    if not request.query or request.mode == "keyword" or request.like is not None:
        return None, None
    if core.embedder is None:
        asked = request.mode in ("vector", "hybrid")
        return None, "there is no embedder, so this is a search by keyword" if asked else None
    vector = core.embedder.vector(request.query, caller.namespace)
    if vector is None:
        return None, f"the embedder {core.embedder.name} does not answer, so this is a search by keyword"
    return Direction(vector, core.embedder.name), None


def _like(reads: Reads, namespace: int, key: str, now: int) -> Direction:
    found = reads.vector_of(namespace, key, now)
    if found is None:
        raise absent(key, "memory with a vector")
    itself, model, vector = found
    return Direction(vector, model, itself)


def _model(models: Sequence[Model], direction: Direction | None, index: Index, now: int) -> Model | None:
    """The model of the vectors to look at; None: there are none.

    Raises:
        BadRequest: they have other dimensions than the query.
    """
    if direction is None:
        return None
    dimensions = len(direction.vector) // ITEM_SIZE
    for model in models:
        if model.name == direction.model:
            if model.dimensions != dimensions:
                if not index.compares(model.id, now):
                    return None
                raise BadRequest(
                    f"the query has {dimensions:,} dimensions; those of model {model.name!r} have "
                    f"{model.dimensions:,}; {ANOTHER_MODEL}"
                )
            return model
    return None


def _wanted(core: Core, request: Search, direction: Direction | None, model: Model | None) -> Wanted:
    from stash_daemon.search.ranked import Wanted

    settings = core.settings
    weight, half_life = request.importance_weight, request.half_life_ms
    return Wanted(
        filter=request.filter,
        words=request.query if request.mode != "vector" or direction is None else None,
        vector=direction.vector if direction else None,
        model=model.id if model else None,
        itself=direction.itself if direction else None,
        order=request.order,
        first=request.offset,
        most=request.k,
        importance_weight=settings.importance_percent / 100 if weight is None else weight,
        half_life=settings.half_life if half_life is None else half_life,
    )


def _read(reads: Reads, namespace: int, ranked: Ranked, request: Search, now: int) -> tuple[list[msgspec.Raw], Found]:
    """The hits, some at a time, as the reply has them; with a budget, the first and no more than fit.

    Raises:
        TooLarge: they are more than a reply may hold.
    """
    mode: Literal["vector", "keyword", "hybrid", "filter"] = ranked.mode
    found = Found(0, ranked.total, mode, ranked.candidates, ranked.embedded)
    place = {number: place for place, number in enumerate(ranked.entries)}
    hits: list[msgspec.Raw] = []
    size = 0
    for start in range(0, len(ranked.entries), READ_AT_ONCE):
        for memory in reads.memorable(ranked.entries[start : start + READ_AT_ONCE], now):
            content = _whole(reads, namespace, memory, now) if request.whole else memory.text
            hit = _hit(memory, content, ranked, place[memory.head.id], now, explain=request.explain)
            if request.budget is not None:
                tokens = -(-len(hit.content) // TOKEN)
                if hits and found.tokens + tokens > request.budget:
                    found.truncated = True
                    return hits, found
                found.tokens += tokens
            hits.append(msgspec.Raw(_pack(hit)))
            found.count += 1
            size += len(hits[-1])
            if size > MAX_FOUND:
                raise TooLarge(TOO_MUCH)
    found.truncated = request.budget is not None and request.offset + len(hits) < ranked.total
    return hits, found


def _whole(reads: Reads, namespace: int, found: Memorable, now: int) -> str:
    """The content, however long it is."""
    if found.memory.text is not None or found.head.size <= MAX_TEXT:
        return found.text
    if found.head.size > MAX_FOUND:
        raise TooLarge(TOO_MUCH)
    row = reads.find(namespace, found.head.key, now)
    assert row is not None  # it was there a moment ago, in this very snapshot
    return bytes(row.value).decode(errors="replace")


def _hit(found: Memorable, content: str, ranked: Ranked, place: int, now: int, *, explain: bool) -> Hit:
    memory = found.memory
    return Hit(
        entry=entry(found.head, now),
        score=ranked.scores[place],
        similarity=ranked.similarities[place] if ranked.similarities else None,
        importance=ranked.importances[place],
        at=memory.at,
        content=content,
        embedding_status=STATES[memory.state],
        kind=KINDS[memory.kind],
        role=ROLES[memory.role],
        group=memory.group,
        reward=memory.score,
        tags=found.tags,
        metadata=memory.metadata,
        archived_at=memory.archived,
        parts={name: values[place] for name, values in ranked.parts.items()} if explain else None,
    )

"""What makes an entry a memory, checked before anything is written and kept beside the entry."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from stash_daemon.engine.core import Core
from stash_daemon.memory_store import (
    COMPLETED,
    GIVEN,
    KINDS,
    OWN,
    PENDING,
    REMEMBERED,
    ROLES,
    SKIPPED,
    STATES,
    Remembered,
    text_of,
)
from stash_daemon.store import Head, Large, Reads, Row, Value
from stash_protocol.errors import BadRequest
from stash_protocol.memories import MAX_TEXT, Kind, Memory
from stash_protocol.replies import EmbeddingStatus
from stash_protocol.vectors import ITEM_SIZE, check_vector

ANOTHER_MODEL = "what another model made needs its name (--model)"

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Prepared(NamedTuple):
    """A memory that may be kept.

    Attributes:
        text: what its words are taken from.
        vector: model and vector; None: there is none (yet).
    """

    row: Remembered
    text: str
    vector: tuple[str, bytes] | None

    @property
    def size(self) -> int:
        """Bytes it takes beside the value of its entry."""
        return self.row.size + (len(self.vector[1]) if self.vector else 0)


def prepare(core: Core, namespace: int, memory: Memory, value: Value, *, now: int) -> Prepared:
    """What a new entry is to be remembered by.

    Raises:
        BadRequest: a vector that is none or has other dimensions than its model, metadata that is no JSON object, a
            score that is no number.
    """
    row = Remembered(
        kind=KINDS.index(memory.kind),
        at=now if memory.at is None else memory.at,
        group=memory.group,
        role=ROLES.index(memory.role),
        score=memory.score,
        importance=memory.importance,
        metadata=memory.metadata,
        text="" if memory.text is None and not memory.text_is_value else memory.text,
        embed=memory.embed,
        state=SKIPPED,
        archived=memory.archived_at,
    )
    return _complete(core, namespace, memory, row, value=value, kept=None)


def revise(
    core: Core, namespace: int, head: Head | Row, patch: Memory | None, value: Value | None, *, now: int
) -> Prepared:
    """What a live entry is to be remembered by, once its value, its memory or both have changed.

    Args:
        core: the engine.
        namespace: the entry's.
        head: the entry.
        patch: what it gives replaces what was; the rest stays.
        value: the new one; None: it stays.
        now: milliseconds since the epoch.

    Raises:
        BadRequest: as `prepare`.
    """
    old = core.store.memory(head.id)
    stays = core.store.find(namespace, head.key, now)
    assert stays is not None
    if old is None:
        return prepare(core, namespace, patch or Memory(), stays.value if value is None else value, now=now)
    if patch is None:
        patch = Memory()
    given = {
        name: getattr(patch, name)
        for name in ("at", "group", "score", "importance", "metadata", "text")
        if getattr(patch, name) is not None
    }
    if patch.role is not None:
        given["role"] = ROLES.index(patch.role)
    if patch.text_is_value:
        given["text"] = None
    row = old._replace(**given, embed=old.embed and patch.embed)
    same_text = row.text == old.text and (row.text is not None or value is None)
    kept = core.store.vector(head.id) if same_text and patch.vector is None else None
    return _complete(core, namespace, patch, row, value=stays.value if value is None else value, kept=kept)


def _complete(
    core: Core, namespace: int, memory: Memory, row: Remembered, *, value: Value, kept: tuple[str, bytes] | None
) -> Prepared:
    if row.score is not None and not math.isfinite(row.score):
        raise BadRequest("score must be a finite number")
    if row.metadata is not None:
        try:
            _object.decode(row.metadata)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"metadata must be a JSON object ({error})") from None
    text = text_of(_start(value)) if row.text is None else row.text
    vector = kept
    if memory.vector is not None:
        vector = memory.model or OWN, check_vector(memory.vector)
        _check_dimensions(core, namespace, *vector)
    elif memory.model is not None:
        raise BadRequest("memory.model must come with an embedding, whose maker it names")
    if kept is not None:
        state = row.state
    elif vector:
        state = COMPLETED if memory.made else GIVEN
    else:
        state = PENDING if row.embed and core.embedder and text.strip() else SKIPPED
    return Prepared(row._replace(state=state), text, vector)


def _check_dimensions(core: Core, namespace: int, model: str, vector: bytes) -> None:
    try:
        core.store.check_dimensions(namespace, model, len(vector) // ITEM_SIZE)
    except BadRequest as problem:
        raise BadRequest(f"{problem.message}; {ANOTHER_MODEL}") from None


def _start(value: Value) -> bytes:
    """As much of a value as its text can be."""
    return next(value.pieces()) if isinstance(value, Large) else bytes(value[: 4 * MAX_TEXT])


def keep(core: Core, namespace: int, entry: int, prepared: Prepared, *, new: bool = False) -> EmbeddingStatus:
    """Within the turn that wrote the entry: make it the memory it was prepared to be."""
    core.store.remember(namespace, entry, prepared.row, prepared.text, prepared.vector, new=new)
    return STATES[prepared.row.state]


def exported(reads: Reads, row: Row, now: int) -> Memory | None:
    """A memory as it was given, for another stash to keep."""
    found = reads.memorable([row.id], now)
    if not found:
        return None
    memory = found[0].memory
    vector = reads.vector(row.id)
    return Memory(
        kind=KINDS[memory.kind],
        text=memory.text or None,
        text_is_value=memory.text is None,
        vector=vector[1] if vector else None,
        model=vector[0] if vector else None,
        made=memory.state == COMPLETED,
        embed=bool(memory.embed),
        group=memory.group,
        role=ROLES[memory.role],
        score=memory.score,
        importance=memory.importance,
        at=memory.at,
        metadata=memory.metadata,
        archived_at=memory.archived,
    )


def of_kind(core: Core, head: Head, kind: Kind | None) -> bool:
    """Whether an entry is a memory of a kind; None: of any, or none at all."""
    if kind is None:
        return True
    memory = core.store.memory(head.id) if head.tagged & REMEMBERED else None
    return memory is not None and KINDS[memory.kind] == kind


def status_of(core: Core, entry: int) -> EmbeddingStatus:
    """How far an embedder is with a memory."""
    memory = core.store.memory(entry)
    return STATES[memory.state if memory else SKIPPED]


def default_ttl(core: Core, memory: Memory | None) -> int | None:
    """The TTL of what was given none, milliseconds, for what has one of its own; None: the tier's."""
    return core.settings.memory_ttl if memory is not None and memory.kind != "memory" else None


def key_prefix(memory: Memory | None) -> str:
    """What a key begins with that is made."""
    if memory is None or memory.kind == "memory":
        return ""
    return f"{memory.kind}/{memory.group}/" if memory.group else f"{memory.kind}/"

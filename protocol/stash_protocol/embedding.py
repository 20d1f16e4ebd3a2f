"""What can be asked of the embedder's queue, and what it answers."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from stash_protocol.analytics import ModelUse
from stash_protocol.request import Duration, Key, Request


class GetEmbedding(Request, tag="embedding"):
    """How far the embedder is with the memories of the caller's namespace, and how it is."""


class EmbedRetry(Request, tag="embed_retry"):
    """Have the embedder try again what it has given up, in slices: ``failed`` becomes ``pending``."""


class EmbedRebuild(Request, tag="embed_rebuild"):
    """Have vectors made by the embedder that is set now, in slices.

    Meant are memories whose vector another embedder made, which is deleted, and those that were stored while there was
    no embedder. Vectors that callers brought stay.
    """


class Embedded(Request, tag="embedded"):
    """How far the embedder is with one memory: `Entry.embedding_status`.

    ``wait_ms`` waits that long while it is ``pending``; ``timeout`` when it still is.
    """

    key: Key
    wait_ms: Duration | None = None


class Requeued(Struct):
    """How many memories became ``pending``."""

    requeued: int


class EmbeddingState(Struct, omit_defaults=True):
    """The embedder, and what the live memories of the caller's namespace have of it.

    Attributes:
        embedder: what it is called, with its model; None: there is none.
        dimensions: of its vectors, as far as that is known.
        pending, completed, failed, skipped: memories, by their `embedding_status`.
        current: those that have a vector of this embedder.
        outdated: those that a rebuild would be about.
        models: what made the vectors there are.
        error: the last failure that concerned this namespace since the start; it stays when all is well again.
        error_at: when that was, milliseconds since the epoch.
        breaker: ``open``: it fails, and is left alone for a while.
        retry_ms: until it is called again.
    """

    embedder: str | None = None
    dimensions: int | None = None
    pending: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    current: int = 0
    outdated: int = 0
    models: list[ModelUse] = msgspec.field(default_factory=list)
    error: str | None = None
    error_at: int | None = None
    breaker: Literal["closed", "open"] | None = None
    retry_ms: int | None = None

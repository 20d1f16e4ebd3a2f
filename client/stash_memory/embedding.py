"""The embedder's queue, as both clients have it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from stash_memory.calls import Call
from stash_memory.results import Entry
from stash_memory.transport import MOMENT
from stash_protocol import operations, replies
from stash_protocol.embedding import EmbeddingState, Requeued
from stash_protocol.errors import Timeout
from stash_protocol.reader import Payload

Result = TypeVar("Result")

UNSETTLED = (None, "pending")  # an update that says nothing of the memory may have changed its text all the same


class Embedding:
    """The part of `Stash` that is about the embedder."""

    if TYPE_CHECKING:

        def _run(self, call: Call[Result], timeout: float | None) -> Result: ...
        def _seconds(self, timeout: float | None) -> float: ...

    def embedding_status(self, *, timeout: float | None = None) -> EmbeddingState:
        """How far the embedder is with the memories of this namespace, and how it is."""
        return self._run(embedding_status(), timeout)

    def retry_embedding(self, *, timeout: float | None = None) -> int:
        """Have the embedder try again what it has given up; how many memories.

        Raises:
            BadRequest: there is no embedder.
            StashError: as every call; what was put back by then stays so.
        """
        return self._run(retry_embedding(), timeout)

    def rebuild_embedding(self, *, timeout: float | None = None) -> int:
        """Have the embedder that is set now make the vectors that another made, or none; how many memories.

        They become ``pending``, and `embedding_status` says how far it is. Vectors of your own stay.

        Raises:
            BadRequest: there is no embedder.
            StashError: as every call; what was put back by then stays so.
        """
        return self._run(rebuild_embedding(), timeout)

    def _settled(self, entry: Entry, began: float, timeout: float | None) -> Entry:
        """The entry once its vector is there, or was given up; ``began`` is when the call did that wrote it."""
        if entry.embedding_status not in UNSETTLED:
            return entry
        left = remaining(began, self._seconds(timeout))
        try:
            return self._run(settled(entry, left), left)
        except Timeout:
            raise late(entry) from None


class AsyncEmbedding:
    """The part of `AsyncStash` that is about the embedder."""

    if TYPE_CHECKING:

        async def _run(self, call: Call[Result], timeout: float | None) -> Result: ...
        def _seconds(self, timeout: float | None) -> float: ...

    async def embedding_status(self, *, timeout: float | None = None) -> EmbeddingState:
        """See `Stash.embedding_status`."""
        return await self._run(embedding_status(), timeout)

    async def retry_embedding(self, *, timeout: float | None = None) -> int:
        """See `Stash.retry_embedding`."""
        return await self._run(retry_embedding(), timeout)

    async def rebuild_embedding(self, *, timeout: float | None = None) -> int:
        """See `Stash.rebuild_embedding`."""
        return await self._run(rebuild_embedding(), timeout)

    async def _settled(self, entry: Entry, began: float, timeout: float | None) -> Entry:
        if entry.embedding_status not in UNSETTLED:
            return entry
        left = remaining(began, self._seconds(timeout))
        try:
            return await self._run(settled(entry, left), left)
        except Timeout:
            raise late(entry) from None


def embedding_status() -> Call[EmbeddingState]:
    """The call behind `Stash.embedding_status`."""
    return Call(operations.GetEmbedding(), _state)


def retry_embedding() -> Call[int]:
    """The call behind `Stash.retry_embedding`."""
    return Call(operations.EmbedRetry(), _requeued)


def rebuild_embedding() -> Call[int]:
    """The call behind `Stash.rebuild_embedding`."""
    return Call(operations.EmbedRebuild(), _requeued)


def settled(entry: Entry, seconds: float) -> Call[Entry]:
    """The call that waits for an entry's vector."""
    return Call(operations.Embedded(key=entry.key, wait_ms=max(1, round(seconds * 1000))), _entry)


def remaining(began: float, seconds: float) -> float:
    """What is left of them; a moment at least."""
    return max(MOMENT, seconds - (monotonic() - began))


def late(entry: Entry) -> Timeout:
    """What to say when the vector does not come."""
    return Timeout(f"{entry.key!r} is stored, but its vector was not there in time; it is still to come")


def _state(body: EmbeddingState, _payload: Payload) -> EmbeddingState:
    return body


def _requeued(body: Requeued, _payload: Payload) -> int:
    return body.requeued


def _entry(body: replies.Entry, _payload: Payload) -> Entry:
    return Entry(body)

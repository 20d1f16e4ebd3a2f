"""Search, as both clients have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, Unpack

from stash_memory import calls
from stash_memory.calls import Call
from stash_memory.memories import Filters, Hits, Vector, search_request
from stash_memory.values import Duration
from stash_protocol.memories import Mode, Order

Result = TypeVar("Result")


class Searching:
    """The part of `Stash` that searches."""

    if TYPE_CHECKING:

        def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    def search(
        self,
        query: str | None = None,
        *,
        embedding: Vector | None = None,
        model: str | None = None,
        like: str | None = None,
        k: int = 10,
        offset: int = 0,
        mode: Mode = "auto",
        order: Order = "rank",
        importance_weight: float | None = None,
        half_life: Duration | None = None,
        budget: int | None = None,
        explain: bool = False,
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> Hits:
        """Find memories by words, by meaning, like another one, or by a filter alone.

        Args:
            query: words; with an embedder also what they mean.
            embedding: what to be near to: numbers, or float32 little-endian bytes.
            model: what made ``embedding``, where it was stored with a model.
            like: the key of a memory to be near to.
            k: hits at most, 1 to 4,096.
            offset: hits to leave out first.
            mode: ``"auto"``: by words and meaning, as far as there are both.
            order: ``"rank"``, ``"newest"``, ``"oldest"``, ``"score"`` or ``"importance"``.
            importance_weight: 0 to 1: what importance counts in the score; 0.3 unless the daemon is set otherwise.
            half_life: after which the recency in importance is a half.
            budget: tokens the contents may have together; at least one hit is given all the same.
            explain: with the parts of every score.
            timeout: seconds the call may take.
            filters: see `Filters`.

        Raises:
            BadRequest: something of it cannot be; the message says what.
            NotFound: there is no memory ``like`` with a vector.
            StashError: as every call.
        """
        request = search_request(
            query, embedding=embedding, model=model, like=like, k=k, offset=offset, mode=mode, order=order,
            importance_weight=importance_weight, half_life=half_life, budget=budget, explain=explain, **filters,
        )  # fmt: skip
        return self._run(calls.search(request), timeout)


class AsyncSearching:
    """The part of `AsyncStash` that searches."""

    if TYPE_CHECKING:

        async def _run(self, call: Call[Result], timeout: float | None) -> Result: ...

    async def search(
        self,
        query: str | None = None,
        *,
        embedding: Vector | None = None,
        model: str | None = None,
        like: str | None = None,
        k: int = 10,
        offset: int = 0,
        mode: Mode = "auto",
        order: Order = "rank",
        importance_weight: float | None = None,
        half_life: Duration | None = None,
        budget: int | None = None,
        explain: bool = False,
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> Hits:
        """See `Stash.search`."""
        request = search_request(
            query, embedding=embedding, model=model, like=like, k=k, offset=offset, mode=mode, order=order,
            importance_weight=importance_weight, half_life=half_life, budget=budget, explain=explain, **filters,
        )  # fmt: skip
        return await self._run(calls.search(request), timeout)

"""How many bytes of requests and replies the daemon holds, all connections together."""

from __future__ import annotations

from stash_protocol.errors import OverQuota
from stash_protocol.types import format_size


class Memory:
    """A sum with a ceiling.

    Args:
        ceiling: bytes (the setting ``max_memory``).
    """

    __slots__ = ("ceiling", "held")

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.held = 0

    def reserve(self, size: int) -> None:
        """Take so many bytes, before the first of them is kept.

        Raises:
            OverQuota: they would go over the ceiling; nothing was taken.
        """
        refusal = self.refusal(size)
        if refusal is not None:
            raise refusal
        self.held += size

    def refusal(self, size: int) -> OverQuota | None:
        """What so many bytes more would be refused with; None when there is room."""
        if self.held + size <= self.ceiling:
            return None
        return OverQuota(
            f"{format_size(size)} more would be over the {format_size(self.ceiling)} the daemon may hold for all"
            " its connections; try again later",
            retry_after=1.0,
        )

    def release(self, size: int) -> None:
        """Give bytes back."""
        self.held -= size

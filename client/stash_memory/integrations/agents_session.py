"""A session of the OpenAI Agents SDK in a stash: one list, one TTL.

It needs the extra ``openai-agents``.
"""

from __future__ import annotations

from typing import cast

from agents.items import TResponseInputItem
from agents.memory import SessionABC, SessionSettings

from stash_memory.aio import AsyncStash
from stash_memory.values import Duration

MOST = 1_000_000  # items one tail may ask for


class StashSession(SessionABC):
    """A conversation that agents and processes share, until nothing was added to it for its TTL.

    Args:
        session_id: which conversation.
        stash: where to keep it; None: the user's own daemon.
        ttl: how long it lives after the last addition; None: the tier's default, an hour.
        max_items: beyond so many the oldest go; a list has 4 MiB at most.
        session_settings: the SDK's, such as how many items an agent is shown.
        prefix: what the keys of all sessions begin with.
    """

    def __init__(
        self,
        session_id: str,
        stash: AsyncStash | None = None,
        *,
        ttl: Duration | None = None,
        max_items: int | None = None,
        session_settings: SessionSettings | None = None,
        prefix: str = "session/",
    ) -> None:
        self.session_id = session_id
        self.session_settings = session_settings or SessionSettings()
        self._stash = stash or AsyncStash()
        self._ttl = ttl
        self._max_items = max_items
        self._key = prefix + session_id

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The latest items, oldest first; all unless ``limit`` or the settings say how many."""
        wanted = limit if limit is not None or self.session_settings is None else self.session_settings.limit
        if wanted is not None and wanted <= 0:
            return []
        items = await self._stash.tail(self._key, MOST if wanted is None else min(wanted, MOST))
        return cast("list[TResponseInputItem]", items)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add all the items, or none, and give the session its TTL again.

        Raises:
            BadRequest: one that JSON cannot say.
            TooLarge: the session would be larger than a list may be.
            StashError: as every call.
        """
        if not items:
            return
        batch = self._stash.batch().append(self._key, items, many=True, max_len=self._max_items, ttl=self._ttl)
        await batch.tail(self._key, 1, touch=True).run()

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the latest item off; None where there is none."""
        return cast("TResponseInputItem | None", await self._stash.pop(self._key))

    async def clear_session(self) -> None:
        """Forget the conversation."""
        await self._stash.forget(self._key)

"""Conversations: what messages of one group have in common, and what is said of them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, overload

import msgspec

from stash_memory import calls
from stash_memory.api_keys import AsyncRun, Run
from stash_memory.calls import Call
from stash_memory.memories import search_request
from stash_memory.messages import MessageHits, listed
from stash_memory.results import Entry
from stash_memory.values import moment, pack_json
from stash_protocol import operations, searching
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.memories import Role
from stash_protocol.operations import MAX_FORGET_KEYS
from stash_protocol.reader import Payload
from stash_protocol.searching import MAX_ABOUT, Conversed

ABOUT = "conversation/"  # and the id: the key of the entry that keeps title and metadata


class Conversation(NamedTuple):
    """One conversation.

    Attributes:
        id: what its messages call ``conversation_id``.
        title, metadata: as `Conversations.update` set them.
        messages: how many there are.
        first_at, last_at: when the first and the last of them was said.
        ttl: seconds the one of them has left that lives longest.
        roles: how many messages each role has.
        embedded: messages that have a vector.
        importance: the mean of theirs, 0 to 1.
        tokens: of all contents, about; in `Conversations.stats`.
    """

    id: str
    title: str | None
    metadata: dict[str, Any]
    messages: int
    first_at: datetime
    last_at: datetime
    ttl: float
    roles: dict[Role, int]
    embedded: int
    importance: float
    tokens: int | None


class About(msgspec.Struct, omit_defaults=True):
    """What is said of a conversation."""

    title: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class ConversationPage(Sequence[Conversation]):
    """Some conversations, the one with the latest message first.

    Attributes:
        total: how many there are.
    """

    def __init__(self, body: Conversed, payload: Payload) -> None:
        self.wire = _read_rows(payload)
        self.total = body.total
        self.rows = [_conversation(row) for row in self.wire]

    @overload
    def __getitem__(self, place: int) -> Conversation: ...
    @overload
    def __getitem__(self, place: slice) -> list[Conversation]: ...
    def __getitem__(self, place: int | slice) -> Conversation | list[Conversation]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"ConversationPage({len(self)} of {self.total})"


class Conversations:
    """The conversations of a namespace."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def list(
        self,
        prefix: str = "",
        *,
        limit: int = 100,
        offset: int = 0,
        archived: bool = False,
        timeout: float | None = None,
    ) -> ConversationPage:
        """A page of conversations, the one with the latest message first.

        Args:
            prefix: only those whose id starts with this.
            limit: conversations at most, 1 to 1,000; ``.total`` says how many there are.
            offset: conversations to leave out first.
            archived: count messages too that retention has archived.
            timeout: seconds the call may take.
        """
        return self._run(_page(prefix=prefix, limit=limit, offset=offset, archived=archived), timeout)

    def show(
        self,
        conversation_id: str,
        *,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        archived: bool = False,
        timeout: float | None = None,
    ) -> MessageHits:
        """Messages of a conversation, in the order they were said.

        Raises:
            NotFound: it has no live message.
            StashError: as every call.
        """
        call = _messages(conversation_id, limit=limit, offset=offset, newest_first=newest_first, archived=archived)
        return _there(conversation_id, self._run(call, timeout))

    def stats(self, conversation_id: str, *, timeout: float | None = None) -> Conversation:
        """Everything that is known of a conversation, its archived messages and the tokens of all contents included.

        Raises:
            NotFound: it has no live message.
            StashError: as every call.
        """
        page = self._run(_page(group=conversation_id, archived=True, tokens=True), timeout)
        return _only(conversation_id, page).rows[0]

    def update(
        self,
        conversation_id: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """Say something of a conversation; what is not given stays. It lives as long as any of its messages.

        Args:
            conversation_id: which.
            title: what to call it.
            metadata: anything JSON can say; replaced whole.
            timeout: seconds each of the two calls may take.

        Raises:
            BadRequest: nothing was given, or more than 16 KiB.
            NotFound: it has no live message.
            Conflict: somebody else said something of it at the same moment; nothing was changed.
            StashError: as every call.
        """
        found = _only(conversation_id, self._run(_page(group=conversation_id, archived=True), timeout))
        return self._run(_update(found.wire[0], title, metadata), timeout)

    def forget(self, conversation_id: str, *, timeout: float | None = None) -> int:
        """Delete all messages of a conversation, and what is said of it; how many messages there were."""
        forgotten = 0
        while keys := _keys(self._run(_first(conversation_id), timeout)):
            forgotten += self._run(calls.forget(keys), timeout)
        self._run(calls.forget([ABOUT + conversation_id]), timeout)
        return forgotten


class AsyncConversations:
    """`Conversations`, awaited."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def list(
        self,
        prefix: str = "",
        *,
        limit: int = 100,
        offset: int = 0,
        archived: bool = False,
        timeout: float | None = None,
    ) -> ConversationPage:
        """See `Conversations.list`."""
        return await self._run(_page(prefix=prefix, limit=limit, offset=offset, archived=archived), timeout)

    async def show(
        self,
        conversation_id: str,
        *,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        archived: bool = False,
        timeout: float | None = None,
    ) -> MessageHits:
        """See `Conversations.show`."""
        call = _messages(conversation_id, limit=limit, offset=offset, newest_first=newest_first, archived=archived)
        return _there(conversation_id, await self._run(call, timeout))

    async def stats(self, conversation_id: str, *, timeout: float | None = None) -> Conversation:
        """See `Conversations.stats`."""
        page = await self._run(_page(group=conversation_id, archived=True, tokens=True), timeout)
        return _only(conversation_id, page).rows[0]

    async def update(
        self,
        conversation_id: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """See `Conversations.update`."""
        found = _only(conversation_id, await self._run(_page(group=conversation_id, archived=True), timeout))
        return await self._run(_update(found.wire[0], title, metadata), timeout)

    async def forget(self, conversation_id: str, *, timeout: float | None = None) -> int:
        """See `Conversations.forget`."""
        forgotten = 0
        while keys := _keys(await self._run(_first(conversation_id), timeout)):
            forgotten += await self._run(calls.forget(keys), timeout)
        await self._run(calls.forget([ABOUT + conversation_id]), timeout)
        return forgotten


# ── arguments into calls, replies into results ──

_read_rows = msgspec.msgpack.Decoder(list[searching.Conversation]).decode
_read_about = msgspec.json.Decoder(About).decode


def _page(**fields: Any) -> Call[ConversationPage]:
    return Call(operations.Conversations(**fields), ConversationPage)


def _messages(
    conversation_id: str, *, limit: int, offset: int, newest_first: bool, archived: bool
) -> Call[MessageHits]:
    return listed(conversation_id, roles=(), limit=limit, offset=offset, newest_first=newest_first, archived=archived)


def _first(conversation_id: str) -> Call[MessageHits]:
    messages = search_request(
        None, k=MAX_FORGET_KEYS, order="oldest", kind="message", group=conversation_id, archived=True
    )
    return Call(messages, MessageHits)


def _keys(found: MessageHits) -> builtins.list[str]:
    return [message.key for message in found]


def _there(conversation_id: str, found: MessageHits) -> MessageHits:
    if not found.total:
        raise _absent(conversation_id)
    return found


def _only(conversation_id: str, found: ConversationPage) -> ConversationPage:
    if not found:
        raise _absent(conversation_id)
    return found


def _absent(conversation_id: str) -> NotFound:
    return NotFound(f"no conversation {conversation_id!r}: its messages expired, were forgotten or never were")


def _about(row: searching.Conversation) -> About:
    """What is said of a conversation; an entry of that name that says something else says nothing of it."""
    try:
        return _read_about(row.about) if row.about is not None else About()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return About()


def _conversation(row: searching.Conversation) -> Conversation:
    about = _about(row)
    return Conversation(
        row.group, about.title, about.metadata, row.messages, moment(row.first_at), moment(row.last_at),
        row.ttl_ms / 1000, row.roles, row.embedded, row.importance, row.tokens,
    )  # fmt: skip


def _update(row: searching.Conversation, title: str | None, metadata: Mapping[str, Any] | None) -> Call[Entry]:
    if title is None and metadata is None:
        raise BadRequest("give a title, metadata, or both")
    old = _about(row)
    about = {
        "title": old.title if title is None else title,
        "metadata": old.metadata if metadata is None else dict(metadata),
    }
    size = len(pack_json(about))
    if size > MAX_ABOUT:
        raise BadRequest(f"title and metadata have {size:,} bytes together; {MAX_ABOUT:,} is the most")
    return calls.set_(
        ABOUT + row.group, about, ttl=row.ttl_ms / 1000, if_absent=row.version is None, if_version=row.version, tags=()
    )

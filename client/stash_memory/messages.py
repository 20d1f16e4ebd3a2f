"""Messages: what was said in conversations. A typed view of memories of kind ``message``."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Required, TypedDict, Unpack

from msgspec import UNSET

from stash_memory import calls
from stash_memory.api_keys import AsyncRun, Run
from stash_memory.calls import Call
from stash_memory.memories import Filters, Findings, Hit, MemoryFields, Moment, memory_of, search_request
from stash_memory.results import Entry
from stash_memory.values import Duration
from stash_protocol import memories
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.memories import MAX_KEYS, Order, Role
from stash_protocol.reader import Payload
from stash_protocol.searching import Search


class Message(Hit):
    """One message that was found."""

    __slots__ = ()

    @property
    def conversation_id(self) -> str | None:
        """Of which conversation it is part."""
        return self.group


class MessageHits(Findings[Message]):
    """The messages that were found, in the order that was asked for."""

    def __init__(self, body: memories.Found, payload: Payload) -> None:
        super().__init__(body, payload, Message)


class MessageChanges(TypedDict, total=False):
    """What of a message can be changed; what is not given stays.

    Attributes:
        role: whose words it is: ``"user"``, ``"assistant"``, ``"system"`` or ``"tool"``.
        content: what was said.
        metadata: anything JSON can say, to filter by; replaced whole.
        importance_override: 0 to 1, in place of the importance that is computed.
        timestamp: when it was said.
        extend: add to the time it has left.
        if_version: only if the entry has this version.
    """

    role: Role
    content: str
    metadata: Mapping[str, Any]
    importance_override: float
    timestamp: Moment
    extend: Duration
    if_version: int


class MessageFields(TypedDict, total=False):
    """What makes a message.

    Attributes:
        conversation_id: of which conversation it is part.
        role: whose words it is: ``"user"``, ``"assistant"``, ``"system"`` or ``"tool"``.
        content: what was said.
        metadata: anything JSON can say, to filter by.
        importance_override: 0 to 1, in place of the importance that is computed.
        timestamp: when it was said; now, unless given.
        embed: False: no vector is made of it.
        tags: names to find it by.
        key: of the entry; made, unless given.
        ttl: how long it lives; 90 days unless the daemon is set otherwise, within the tier's maximum.
    """

    conversation_id: Required[str]
    role: Required[Role]
    content: Required[str]
    metadata: Mapping[str, Any]
    importance_override: float
    timestamp: Moment
    embed: bool
    tags: Sequence[str]
    key: str
    ttl: Duration


REQUIRED = ("conversation_id", "role", "content")

NAMES = {"conversation_id": "group", "importance_override": "importance", "timestamp": "at"}
"""What is called otherwise where it is not about messages."""


class Messages:
    """The messages of a namespace."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def add(self, *, timeout: float | None = None, **message: Unpack[MessageFields]) -> Entry:
        """Store a message; see `MessageFields`. An embedder comes to it later: see ``.embedding_status``.

        Raises:
            BadRequest: a field is missing, or is none.
            StashError: as `Stash.set`.
        """
        return self._run(_add(message), timeout)

    def add_many(self, messages: Iterable[MessageFields], *, timeout: float | None = None) -> builtins.list[Entry]:
        """Store up to 1,000 messages, all or none."""
        return self._run(calls.batch([_add(message) for message in messages]), timeout)

    def get(self, key: str, *, timeout: float | None = None) -> Message:
        """One message.

        Raises:
            NotFound: no live message has the key.
            StashError: as every call.
        """
        found = self._run(_of_keys([key]), timeout)
        return _one(key, found)

    def get_many(self, keys: Sequence[str], *, timeout: float | None = None) -> builtins.list[Message]:
        """Those of the messages that there are, in the order of the keys."""
        return _in_order(keys, [message for call in _gets(keys) for message in self._run(call, timeout)])

    def update(self, key: str, *, timeout: float | None = None, **changes: Unpack[MessageChanges]) -> Entry:
        """Change a message; see `MessageChanges`.

        Raises:
            BadRequest: nothing was given.
            NotFound: no live entry has the key.
            Conflict: it has another version than ``if_version``.
            StashError: as every call.
        """
        return self._run(_update(key, changes), timeout)

    def update_many(
        self, changes: Mapping[str, MessageChanges], *, timeout: float | None = None
    ) -> builtins.list[Entry]:
        """Change up to 1,000 messages by their keys, all or none."""
        return self._run(calls.batch([_update(key, change) for key, change in changes.items()]), timeout)

    def forget(self, *keys: str | Iterable[str], timeout: float | None = None) -> int:
        """Delete messages, given as arguments or in lists; how many were there."""
        return sum(self._run(call, timeout) for call in calls.forget_all(keys, "message"))

    def list(
        self,
        conversation_id: str | None = None,
        *,
        roles: Sequence[Role] = (),
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        archived: bool = False,
        timeout: float | None = None,
    ) -> MessageHits:
        """Messages of a conversation, or of all, in the order they were said.

        Args:
            conversation_id: only of this one.
            roles: only of these.
            limit: messages at most, 1 to 4,096; ``.total`` says how many there are.
            offset: messages to leave out first.
            newest_first: in reverse order.
            archived: also those that retention has archived.
            timeout: seconds the call may take.
        """
        call = listed(
            conversation_id, roles=roles, limit=limit, offset=offset, newest_first=newest_first, archived=archived
        )
        return self._run(call, timeout)


class AsyncMessages:
    """`Messages`, awaited."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def add(self, *, timeout: float | None = None, **message: Unpack[MessageFields]) -> Entry:
        """See `Messages.add`."""
        return await self._run(_add(message), timeout)

    async def add_many(
        self, messages: Iterable[MessageFields], *, timeout: float | None = None
    ) -> builtins.list[Entry]:
        """See `Messages.add_many`."""
        return await self._run(calls.batch([_add(message) for message in messages]), timeout)

    async def get(self, key: str, *, timeout: float | None = None) -> Message:
        """See `Messages.get`."""
        found = await self._run(_of_keys([key]), timeout)
        return _one(key, found)

    async def get_many(self, keys: Sequence[str], *, timeout: float | None = None) -> builtins.list[Message]:
        """See `Messages.get_many`."""
        return _in_order(keys, [message for call in _gets(keys) for message in await self._run(call, timeout)])

    async def update(self, key: str, *, timeout: float | None = None, **changes: Unpack[MessageChanges]) -> Entry:
        """See `Messages.update`."""
        return await self._run(_update(key, changes), timeout)

    async def update_many(
        self, changes: Mapping[str, MessageChanges], *, timeout: float | None = None
    ) -> builtins.list[Entry]:
        """See `Messages.update_many`."""
        return await self._run(calls.batch([_update(key, change) for key, change in changes.items()]), timeout)

    async def forget(self, *keys: str | Iterable[str], timeout: float | None = None) -> int:
        """See `Messages.forget`."""
        return sum([await self._run(call, timeout) for call in calls.forget_all(keys, "message")])

    async def list(
        self,
        conversation_id: str | None = None,
        *,
        roles: Sequence[Role] = (),
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        archived: bool = False,
        timeout: float | None = None,
    ) -> MessageHits:
        """See `Messages.list`."""
        call = listed(
            conversation_id, roles=roles, limit=limit, offset=offset, newest_first=newest_first, archived=archived
        )
        return await self._run(call, timeout)


# ── arguments into calls ──


def listed(
    conversation_id: str | None,
    *,
    roles: Sequence[Role],
    limit: int,
    offset: int,
    newest_first: bool,
    archived: bool,
) -> Call[MessageHits]:
    """The call behind `Messages.list`."""
    filters: Filters = {"kind": "message", "roles": roles, "archived": archived}
    if conversation_id is not None:
        filters["group"] = conversation_id
    order: Order = "newest" if newest_first else "oldest"
    return Call(_said(k=limit, offset=offset, order=order, **filters), MessageHits)


def _add(message: MessageFields) -> Call[Entry]:
    given: dict[str, Any] = {name: value for name, value in message.items() if value is not None}
    for name in REQUIRED:
        if not isinstance(given.get(name), str):
            raise BadRequest(f"a message needs a {name}")
    key, ttl, tags = given.pop("key", None), given.pop("ttl", None), given.pop("tags", ())
    content, embed = given.pop("content"), given.pop("embed", True)
    memory = _memory(given, kind="message")
    assert memory is not None
    memory.text_is_value, memory.embed = True, embed
    return calls.set_(key, content, ttl=ttl, if_absent=False, if_version=None, tags=tags, memory=memory)


def _update(key: str, changes: MessageChanges) -> Call[Entry]:
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    extend, if_version, content = given.pop("extend", None), given.pop("if_version", None), given.pop("content", UNSET)
    if content is not UNSET and not isinstance(content, str):
        raise BadRequest("the content of a message is a text")
    return calls.update(key, content, extend=extend, if_version=if_version, memory=_memory(given), kind="message")


def _memory(given: dict[str, Any], **more: Any) -> memories.Memory | None:
    fields: MemoryFields = {**more, **{NAMES.get(name, name): value for name, value in given.items()}}  # type: ignore[typeddict-item]  # `memory_of` looks
    return memory_of(fields)


def _of_keys(keys: Sequence[str]) -> Call[MessageHits]:
    return Call(_said(k=len(keys), order="oldest", kind="message", keys=keys, archived=True), MessageHits)


def _said(**fields: Any) -> Search:
    """A request for messages as they were said, whole."""
    request = search_request(None, **fields)
    request.whole = True
    return request


def _gets(keys: Sequence[str]) -> Iterator[Call[MessageHits]]:
    for start in range(0, len(keys), MAX_KEYS):
        yield _of_keys(keys[start : start + MAX_KEYS])


def _in_order(keys: Sequence[str], found: Sequence[Message]) -> list[Message]:
    by_key = {message.key: message for message in found}
    return [by_key[key] for key in keys if key in by_key]


def _one(key: str, found: Sequence[Message]) -> Message:
    if not found:
        raise NotFound(f"no message {key!r}: it expired, was forgotten or never was")
    return found[0]

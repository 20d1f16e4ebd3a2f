"""conversations: what the messages of one group have in common, and what is said about it.

What is said about a conversation, its title and metadata, is the entry ``conversation/<id>``. Its value is the
client's own; here it is only seen to that it lives as long as any message of the conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stash_daemon.engine.core import Core, Reply
from stash_daemon.engine.search import TOKEN
from stash_daemon.keys import Caller
from stash_daemon.memory_store import KINDS, ROLES, Remembered
from stash_daemon.store import Reads
from stash_protocol.memories import Filter
from stash_protocol.searching import MAX_ABOUT, Conversation, Conversations, Conversed

if TYPE_CHECKING:
    from stash_daemon.search.conversing import Tally
    from stash_daemon.search.index import Index, Mask

ABOUT = "conversation/"  # what the key begins with of an entry that says something about a conversation
TEXTS_AT_ONCE = 256  # in memory, while their tokens are counted

_MESSAGE = KINDS.index("message")
_pack = msgspec.msgpack.Encoder().encode


def conversations(core: Core, caller: Caller, request: Conversations) -> Reply:
    """One page of conversations."""
    from stash_daemon.search.conversing import tally  # numpy: only for those who search
    from stash_daemon.search.filters import let_through

    now = core.clock.now()
    namespace = core.store.namespace(caller.namespace)
    wanted = Filter(kind="message", group=request.group, group_prefix=request.prefix, archived=request.archived)
    with core.shelves.open(namespace) as (index, reads):
        mask = let_through(index, reads, namespace, wanted, now)
        groups = [request.group] if request.group is not None else list(index.groups)
        found = tally(index, mask, groups, now, core.settings.half_life)
        page = range(len(found.groups))[request.offset : request.offset + request.limit]
        rows = [_row(found, place, now) for place in page]
        for row in rows:
            row.about, row.version = _about(reads, namespace, row.group, now)
            if request.tokens:
                row.tokens = _tokens(reads, _entries(index, mask & index.grouped(row.group)), now)
    return Reply(Conversed(len(rows), len(found.groups)), _pack(rows))


def _row(found: Tally, place: int, now: int) -> Conversation:
    return Conversation(
        group=found.groups[place],
        messages=int(found.messages[place]),
        first_at=int(found.first[place]),
        last_at=int(found.last[place]),
        ttl_ms=int(found.expires[place]) - now,
        importance=float(found.importance[place]),
        roles={
            role: int(counts[place])
            for role, counts in zip(ROLES, found.roles, strict=True)
            if role is not None and counts[place]
        },
        embedded=int(found.embedded[place]),
    )


def _about(reads: Reads, namespace: int, group: str, now: int) -> tuple[bytes | None, int | None]:
    key = ABOUT + group
    heads, _ = reads.page(namespace, key, "", 1, now=now)  # the least key with the prefix is the prefix
    if not heads or heads[0].key != key or heads[0].size > MAX_ABOUT:
        return None, None
    rows, _ = reads.values(namespace, key, "", 1, now=now, max_bytes=MAX_ABOUT)
    return bytes(rows[0][0].value), rows[0][0].version


def _entries(index: Index, mask: Mask) -> list[int]:
    found: list[int] = index["id"][mask].tolist()
    return found


def _tokens(reads: Reads, entries: list[int], now: int) -> int:
    tokens = 0
    for start in range(0, len(entries), TEXTS_AT_ONCE):
        memories = reads.memorable(entries[start : start + TEXTS_AT_ONCE], now)
        tokens += sum(-(-len(memory.text) // TOKEN) for memory in memories)
    return tokens


def outlive(core: Core, namespace: str, memory: Remembered | None, *, expires: int, now: int) -> None:
    """Within the turn that wrote a memory, or its time: what is said about its conversation lives as long.

    Args:
        core: the engine.
        namespace: whose memory it is.
        memory: what was written; anything but a message of a conversation changes nothing.
        expires: when it does.
        now: milliseconds since the epoch.
    """
    if memory is None or memory.kind != _MESSAGE or memory.group is None:
        return
    head = core.store.head(core.store.namespace(namespace), ABOUT + memory.group)
    if head is not None and now < head.expires < expires:
        core.store.retime(head, expires=expires, ttl=head.ttl, version=head.version)
        core.tell(namespace, "extend", head.key, at=now, version=head.version, expires=expires)

"""batch: several operations, all or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stash_daemon.engine import accumulate, entries
from stash_daemon.engine.core import Core, Reply, permit
from stash_daemon.keys import Caller
from stash_protocol.errors import BadRequest, StashError, TooLarge
from stash_protocol.frames import HEADER, HEADER_SIZE, pack
from stash_protocol.operations import (
    MAX_BATCH,
    Append,
    Batch,
    Exists,
    Extend,
    Forget,
    Get,
    Incr,
    Pop,
    Request,
    Set,
    Tail,
    Ttl,
    Update,
)
from stash_protocol.reader import FrameReader, Payload
from stash_protocol.replies import Done, Envelope
from stash_protocol.requests import explain

MAX_BULK = 64 << 20  # bytes of one batch, of its replies, or of a page of an import; more where a value may be larger

Operate = Callable[[Core, Caller, Any, Payload], Reply]

MEMBERS: dict[type[Request], Operate] = {
    Set: entries.set_entry,
    Get: entries.get_entry,
    Update: entries.update_entry,
    Extend: entries.extend_entry,
    Forget: entries.forget_entries,
    Ttl: entries.entry_ttl,
    Exists: entries.entry_exists,
    Incr: accumulate.incr,
    Append: accumulate.append,
    Pop: accumulate.pop,
    Tail: accumulate.tail,
}
"""The operations on single entries: what may stand in a batch."""

_requests = msgspec.msgpack.Decoder(Set | Get | Update | Extend | Forget | Ttl | Exists | Incr | Append | Pop | Tail)
_encode = msgspec.msgpack.Encoder().encode


def unpack(payload: Payload) -> list[tuple[Request, Payload]]:
    """The requests in a batch, with their payloads.

    Raises:
        BadRequest: something in it is not a whole, allowed request, or there are too many.
    """
    reader = FrameReader[Request](lambda envelope, _length: _requests.decode(envelope))
    requests: list[tuple[Request, Payload]] = []
    try:
        for request in reader.feed(bytes(payload)):
            requests.append(request)
            if len(requests) > MAX_BATCH:
                raise BadRequest(f"a batch has at most {MAX_BATCH:,} operations")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"operation {len(requests) + 1} of the batch cannot be read: {explain(error)}") from None
    if not reader.idle:
        raise BadRequest("the batch's last frame is not complete")
    return requests


def weight(payload: Payload) -> int:
    """How many frames the payload holds, as far as it can be followed and as a batch may hold."""
    count = position = 0
    while position + HEADER_SIZE <= len(payload) and count <= MAX_BATCH:
        envelope, value = HEADER.unpack_from(payload, position)
        if not envelope:
            break
        position += HEADER_SIZE + envelope + value
        count += 1
    return count


def run_batch(core: Core, caller: Caller, request: Batch, payload: Payload) -> Reply:
    """Carry out all of it in one transaction, or nothing."""
    replies = bytearray()
    most = max(MAX_BULK, caller.tier.max_value)
    requests = unpack(payload)
    core.observer.consists_of(request, [part for part, _ in requests])
    told = core.mark()
    with core.store.savepoint():
        for number, (part, value) in enumerate(requests, start=1):
            try:
                permit(part, len(value), caller)
                reply = MEMBERS[type(part)](core, caller, part, value)
                if len(replies) + len(reply.payload) > most:
                    raise TooLarge(f"the values read have more than {most:,} bytes together; read them in parts")
            except StashError as error:
                core.discard(told)
                message = f"operation {number} of {len(requests)}: {error.message}; nothing of the batch was done"
                raise type(error)(message, retry_after=error.retry_after) from None
            replies += pack(_encode(Envelope(part.id, reply.body)), bytes(reply.payload))
    return Reply(Done(), bytes(replies))

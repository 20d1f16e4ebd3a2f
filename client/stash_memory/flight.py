"""Many requests in flight over one connection: what may go out next, and what has come back. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import UnsetType

from stash_memory import wire
from stash_memory.wire import Garbled, Outcome
from stash_protocol import operations
from stash_protocol.errors import StashError
from stash_protocol.operations import Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Rate

STEP = 24  # requests that leave together: the daemon is at work on them while the next are made

# What may be in flight before replies are read. Small replies fit into any socket's buffer unread; replies with
# values do not: a daemon stops reading while they are not read, and who then still sends to it waits for ever.
WINDOW = 64  # requests
WINDOW_BYTES = 256 * 1024
WINDOW_BYTES_BEHIND_VALUES = 4 * 1024

VALUED = operations.Get, operations.Tail, operations.Pop
"""What is answered with a value."""


class Flight:
    """One pipeline on its way.

    Args:
        calls: requests, which get their ids here, and their payloads.
        first: the id of the first.
    """

    def __init__(self, calls: Sequence[tuple[Request, Payload]], first: int) -> None:
        self._calls = calls
        self._first = first
        self._outcomes: list[Outcome | StashError | None] = [None] * len(calls)
        self._next = 0  # place of the next request
        self._head = b""  # of the next, once it is made
        self._aloft: dict[int, int] = {}  # bytes of each request without a reply, by its place
        self._bytes = self._valued = 0  # of those: their bytes, and how many are for values

    @property
    def landed(self) -> bool:
        """Whether each request has its outcome."""
        return self._next == len(self._calls) and not self._aloft

    @property
    def outcomes(self) -> list[Outcome | StashError]:
        """What became of each request, in their order, once all have landed."""
        return cast(list[Outcome | StashError], self._outcomes)

    def more(self) -> bytes:
        """What is to be sent now; empty: nothing, until there are replies."""
        parts: list[Payload] = []
        if len(self._aloft) <= WINDOW - STEP:
            while self._next < len(self._calls) and len(parts) < 2 * STEP:
                request, payload = self._calls[self._next]
                if self._made(request, payload):
                    size = len(self._head) + len(payload)
                    if not self._fits(size):
                        break
                    parts += (self._head, payload)
                    self._aloft[self._next] = size
                    self._bytes += size
                    self._valued += isinstance(request, VALUED)
                self._head = b""
                self._next += 1
        return b"".join(parts)

    def _made(self, request: Request, payload: Payload) -> bool:
        """Make the head of the next request; False when it cannot be said on the wire, which is its outcome then."""
        if not self._head:
            request.id = self._first + self._next
            try:
                self._head = wire.head(request, len(payload))
            except StashError as error:
                self._outcomes[self._next] = error
                return False
        return True

    def _fits(self, size: int) -> bool:
        limit = WINDOW_BYTES_BEHIND_VALUES if self._valued else WINDOW_BYTES
        return not self._aloft or self._bytes + size <= limit

    def land(self, envelope: bytes, payload: Payload) -> Rate | UnsetType:
        """Take a reply, to whichever request; what it says of the caller's budget.

        Raises:
            Garbled: it is none, or to nothing that is in flight.
        """
        answer = wire.read_any(envelope)
        place = answer.id - self._first
        size = self._aloft.pop(place, None)
        if size is None:
            raise Garbled(f"the daemon answered request {answer.id}, which is not in flight")
        request, _ = self._calls[place]
        self._bytes -= size
        self._valued -= isinstance(request, VALUED)
        self._outcomes[place] = wire.outcome_of(request, answer, payload)
        return answer.rate

"""Many requests in flight over one connection: what may go out next, and what has come back. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import UNSET, UnsetType

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
        self._heads: list[bytes] = []  # of all requests that were sent, and perhaps of the next
        self._outcomes: list[Outcome | StashError | None] = [None] * len(calls)
        self._left = len(calls)  # without an outcome
        self._aloft = self._bytes = self._valued = 0  # requests without a reply, their bytes, those for values
        self._next = 0  # place of the next request

    @property
    def landed(self) -> bool:
        """Whether each request has its outcome."""
        return not self._left

    @property
    def outcomes(self) -> list[Outcome | StashError]:
        """What became of each request, in their order, once all have landed."""
        return cast(list[Outcome | StashError], self._outcomes)

    def more(self) -> bytes:
        """What is to be sent now; empty: nothing, until there are replies."""
        parts: list[Payload] = []
        if self._aloft <= WINDOW - STEP:
            while self._next < len(self._calls) and len(parts) < 2 * STEP:
                head = self._head()
                if head is not None:
                    payload = self._calls[self._next][1]
                    if not self._fits(len(head) + len(payload)):
                        break
                    self._launch(len(head) + len(payload))
                    parts += (head, payload)
                self._next += 1
        return b"".join(parts)

    def _head(self) -> bytes | None:
        """The next request's; None when it cannot be said on the wire, which is its outcome then."""
        place = self._next
        if place == len(self._heads):
            request, payload = self._calls[place]
            request.id = self._first + place
            try:
                self._heads.append(wire.head(request, len(payload)))
            except StashError as error:
                self._heads.append(b"")
                self._outcomes[place] = error
                self._left -= 1
        return self._heads[place] or None

    def _fits(self, size: int) -> bool:
        limit = WINDOW_BYTES_BEHIND_VALUES if self._valued else WINDOW_BYTES
        return not self._aloft or self._bytes + size <= limit

    def _launch(self, size: int) -> None:
        self._aloft += 1
        self._bytes += size
        self._valued += isinstance(self._calls[self._next][0], VALUED)

    def land(self, envelope: bytes, payload: Payload) -> Rate | UnsetType:
        """Take a reply, to whichever request; what it says of the caller's budget.

        Raises:
            Garbled: it is none, or to nothing that is in flight.
        """
        answer = wire.read_any(envelope)
        place = answer.id - self._first
        if not 0 <= place < self._next or self._outcomes[place] is not None:
            raise Garbled(f"the daemon answered request {answer.id}, which is not in flight")
        request, sent = self._calls[place]
        try:
            self._outcomes[place] = wire.read_body(request, answer), payload
        except Garbled:
            raise
        except StashError as error:
            self._outcomes[place] = error
        self._left -= 1
        self._aloft -= 1
        self._bytes -= len(self._heads[place]) + len(sent)
        self._valued -= isinstance(request, VALUED)
        return answer.rate if answer.rate is not UNSET else UNSET

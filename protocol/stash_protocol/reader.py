"""Cuts frames out of a stream of bytes. No I/O and no msgpack: bytes go in, whole frames come out.

Both lengths of a frame are known, and judged, before a byte of what they announce is kept: the envelope's here,
against one constant; the payload's by whoever reads envelopes (`Admit`), who knows the peer and its tier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from stash_protocol.errors import BadRequest
from stash_protocol.frames import HEADER, HEADER_SIZE, MAX_ENVELOPE

Ticket = TypeVar("Ticket")

Payload = bytes | bytearray
"""A value on its way: bytes when it came in one piece, a bytearray when it was put together from several."""

Admit = Callable[[bytes, int], Ticket | None]
"""Given an envelope and the length of the payload that follows it, before any of the payload is kept: what to hand
out with the payload, or None to have the payload skipped unread (the connection stays usable)."""


class FrameReader(Generic[Ticket]):
    """The receiving half of one connection.

    Args:
        admit: judges each envelope as soon as it is complete.
        max_envelope: bytes; may be raised once the peer is known.
    """

    __slots__ = ("_admit", "_kept", "_missing", "_ticket", "_wanted", "max_envelope")

    def __init__(self, admit: Admit[Ticket], max_envelope: int = MAX_ENVELOPE) -> None:
        self.max_envelope = max_envelope
        self._admit = admit
        self._kept = bytearray()  # an incomplete head, or the payload so far
        self._missing = 0  # bytes of the current payload still to come
        self._wanted = 0  # bytes an incomplete head needs before looking at it again is worth the copy
        self._ticket: Ticket | None = None

    @property
    def idle(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._kept and not self._missing

    @property
    def buffered(self) -> int:
        """Bytes kept of a frame that is not complete yet."""
        return len(self._kept)

    def feed(self, data: bytes) -> Iterator[tuple[Ticket, Payload]]:
        """Take what arrived; yield every frame it completes.

        Raises:
            BadRequest: the announced envelope is empty or over the limit. The stream cannot be followed any
                further: the connection is to be closed.
        """
        if self._missing:
            data = self._continue_payload(data)
            if self._missing:
                return
            if self._ticket is not None:
                yield self._finish_payload()
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted:
                return
            data, self._kept = bytes(self._kept), bytearray()
        position, end, self._wanted = 0, len(data), HEADER_SIZE
        while end - position >= HEADER_SIZE:
            envelope_length, payload_length = HEADER.unpack_from(data, position)
            if not 0 < envelope_length <= self.max_envelope:
                raise BadRequest(
                    f"an envelope of {envelope_length:,} bytes was announced; 1 to {self.max_envelope:,} are allowed"
                )
            body = position + HEADER_SIZE + envelope_length
            if body > end:
                self._wanted = body - position
                break
            ticket = self._admit(data[position + HEADER_SIZE : body], payload_length)
            position = body + payload_length
            if position > end:
                self._begin_payload(ticket, data[body:], position - end)
                return
            if ticket is not None:
                yield ticket, data[body:position]
        self._kept += data[position:]

    def _begin_payload(self, ticket: Ticket | None, part: bytes, missing: int) -> None:
        self._ticket, self._missing = ticket, missing
        if ticket is not None:
            self._kept += part

    def _continue_payload(self, data: bytes) -> bytes:
        part = data[: self._missing]
        self._missing -= len(part)
        if self._ticket is not None:
            self._kept += part
        return data[len(part) :]

    def _finish_payload(self) -> tuple[Ticket, Payload]:
        assert self._ticket is not None
        payload, self._kept = self._kept, bytearray()
        ticket, self._ticket = self._ticket, None
        return ticket, payload

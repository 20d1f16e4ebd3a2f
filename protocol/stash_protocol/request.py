"""What every request has: its base, the bounds of its fields, and how an operation is declared."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from stash_protocol.types import MAX_DURATION, MAX_KEY_BYTES

Key = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_BYTES)]
Prefix = Annotated[str, Meta(max_length=MAX_KEY_BYTES)]
Tag = Annotated[str, Meta(min_length=1, max_length=128)]
Tags = Annotated[list[Tag], Meta(max_length=32)]
Duration = Annotated[int, Meta(gt=0, le=MAX_DURATION)]  # milliseconds
Version = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]  # of an API key, a namespace or a tier
Count = Annotated[int, Meta(ge=0)]

DEFAULT_TIMEOUT = 30_000  # milliseconds


class Request(Struct, tag_field="op", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every request carries.

    Attributes:
        id: chosen by the client, echoed in every reply and push; unique among its requests in flight.
        timeout_ms: the deadline, counted from the arrival; what is overdue is abandoned and answered ``timeout``.
    """

    id: Annotated[int, Meta(ge=0, le=2**53)] = 0
    timeout_ms: Duration = DEFAULT_TIMEOUT


class Access(Enum):
    """What a caller needs for an operation: a scope of its API key, or nothing but to be known."""

    KNOWN = "known"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Pace(Enum):
    """How long an operation can take, and so where it runs."""

    INLINE = "inline"  # a bounded number of statements: on the loop, in the turn's transaction
    STEPS = "steps"  # many bounded writes: a slice a turn, others served between slices
    SCAN = "scan"  # reads many rows: off the loop, on a snapshot of its own
    SEARCH = "search"  # the same, and may wait for an embedder: on threads of its own
    DOOR = "door"  # about the connection itself: answered by the door


class Cargo(Enum):
    """What a request's payload is."""

    NONE = "none"  # there must not be any
    VALUE = "value"  # the value, as it is to be stored
    ITEM = "item"  # one JSON document
    FRAMES = "frames"  # whole requests
    ROWS = "rows"  # a msgpack array


class Operation(NamedTuple):
    """One row of the table every door, client and page of the docs derives from or is checked against."""

    request: type[Request]
    reply: type[Struct]
    access: Access
    pace: Pace
    cargo: Cargo = Cargo.NONE

    @property
    def name(self) -> str:
        """The name on the wire."""
        return str(self.request.__struct_config__.tag)

    @property
    def writes(self) -> bool:
        """Whether the engine needs a transaction for it."""
        return self.access is Access.WRITE

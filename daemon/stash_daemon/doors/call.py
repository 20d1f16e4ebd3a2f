"""One request on its way through a door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from stash_protocol.errors import StashError
from stash_protocol.operations import Request
from stash_protocol.replies import Failure, Rate

if TYPE_CHECKING:
    from stash_daemon.doors.connection import Connection

NANOSECONDS = 1_000_000  # in a millisecond


class Call(Struct, eq=False):
    """A request, and what the door knows about it.

    Attributes:
        arrived: nanoseconds of the performance counter; deadlines count from here.
        payload_bytes: of the request.
        rate: what is left of the caller's budget, where it has one.
        reserved: bytes of memory taken for its answer, which waits for the turn to end.
    """

    connection: Connection
    request: Request
    arrived: int
    payload_bytes: int = 0
    rate: Rate | None = None
    reserved: int = 0

    def seconds_left(self, now: int) -> float:
        """Until the deadline; ``now`` in nanoseconds of the performance counter."""
        return (self.arrived + self.request.timeout_ms * NANOSECONDS - now) / 1e9


def failure_of(error: StashError) -> Failure:
    """An error as it crosses the wire."""
    return Failure(error.code, error.message, error.retry_after)

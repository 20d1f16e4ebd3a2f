"""Every error stash can answer with, as one small tree.

::

    StashError                 code                exit  carries
    ├── Internal               internal              1
    ├── BadRequest             bad_request           2
    ├── NotFound               not_found             3
    ├── Unauthenticated        unauthenticated       4   retry_after, when throttled
    ├── Forbidden              forbidden             4
    ├── Unreachable            unreachable           5   never crosses the wire
    ├── Conflict               conflict              6
    ├── RateLimited            rate_limited          7   retry_after
    ├── OverQuota              over_quota            7
    ├── TooLarge               too_large             8
    ├── Busy                   busy                  9   retry_after, when known
    ├── StorageFull            storage_full          9
    ├── StorageDamaged         storage_damaged       9
    └── Timeout                timeout             124

An error crosses the wire as its code, its message and, where it has one, ``retry_after``; it comes back as the
same class (:func:`from_code`).
"""

from __future__ import annotations


class StashError(Exception):
    """The root of the tree; only its subclasses are raised.

    Attributes:
        code: the name on the wire and in JSON.
        exit_status: what the command exits with.
        message: one sentence: what was wrong, which limit, what to do.
        retry_after: seconds after which the same request may succeed; None where waiting does not help.
    """

    code = "internal"
    exit_status = 1

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Internal(StashError):
    """A defect of stash itself; the log has its traceback."""


class BadRequest(StashError):
    """The request is malformed, misses something or breaks a rule that no retry can mend."""

    code = "bad_request"
    exit_status = 2


class NotFound(StashError):
    """No live entry of the caller's namespace has that key; expired, foreign and never written look the same."""

    code = "not_found"
    exit_status = 3


class Unauthenticated(StashError):
    """No API key where one is needed, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    exit_status = 4


class Forbidden(StashError):
    """The caller is known, but its scopes do not cover the operation."""

    code = "forbidden"
    exit_status = 4


class Unreachable(StashError):
    """No daemon answers at the address. Raised by clients; never sent."""

    code = "unreachable"
    exit_status = 5


class Conflict(StashError):
    """``if_absent`` or ``if_version`` did not hold; nothing was changed."""

    code = "conflict"
    exit_status = 6


class RateLimited(StashError):
    """The tier's requests per minute, or the peer's, are used up; ``retry_after`` says until when."""

    code = "rate_limited"
    exit_status = 7


class OverQuota(StashError):
    """The namespace, or the daemon as a whole, has no room for these bytes now."""

    code = "over_quota"
    exit_status = 7


class TooLarge(StashError):
    """The value is larger than the tier allows."""

    code = "too_large"
    exit_status = 8


class Busy(StashError):
    """The storage, or the daemon, cannot take this now; trying again can help."""

    code = "busy"
    exit_status = 9


class StorageFull(StashError):
    """The disk has no room; reads go on, and writes will once there is room."""

    code = "storage_full"
    exit_status = 9


class StorageDamaged(StashError):
    """The database file is not what it was; ``stash doctor`` says what to do."""

    code = "storage_damaged"
    exit_status = 9


class Timeout(StashError):
    """The deadline of the call, or of ``wait``, ran out."""

    code = "timeout"
    exit_status = 124


ERRORS: dict[str, type[StashError]] = {
    error.code: error
    for error in (
        Internal,
        BadRequest,
        NotFound,
        Unauthenticated,
        Forbidden,
        Unreachable,
        Conflict,
        RateLimited,
        OverQuota,
        TooLarge,
        Busy,
        StorageFull,
        StorageDamaged,
        Timeout,
    )
}

STORAGE_ERRORS = (Busy, StorageDamaged, StorageFull)
"""What undoes a whole transaction, whoever's requests are in it."""


def from_code(code: str, message: str, retry_after: float | None = None) -> StashError:
    """The error a peer named, as its class; a code this version does not know becomes Internal."""
    return ERRORS.get(code, Internal)(message, retry_after=retry_after)

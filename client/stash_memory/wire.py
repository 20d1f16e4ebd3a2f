"""Requests into frames, replies out of frames, and what may be asked twice. No I/O: every transport shares it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stash_protocol import operations, replies
from stash_protocol.errors import BadRequest, Internal, StashError, Timeout, TooLarge, Unreachable, from_code
from stash_protocol.frames import HEADER, HEADER_SIZE, MAX_ENVELOPE, MAX_PAYLOAD, PROTOCOL_VERSION
from stash_protocol.operations import OPERATIONS, Request
from stash_protocol.reader import Payload
from stash_protocol.replies import Failure
from stash_protocol.types import MAX_DURATION

MAX_TIMEOUT = MAX_DURATION // 1000  # seconds
GRACE = 0.5  # seconds a client waits beyond the deadline it told the daemon, whose answer says more than silence

Body = TypeVar("Body", bound=Struct | Raw)


class Garbled(Internal):
    """What arrived is no reply; the connection is of no more use."""


class Lost(Exception):
    """The connection broke before the reply came.

    Attributes:
        error: what to raise when nothing helps.
        sent: whether all of the request left, so that it may have been carried out.
    """

    def __init__(self, error: StashError, *, sent: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.sent = sent

    def may_repeat(self, *requests: Request) -> bool:
        """Whether asking again cannot do anything twice, nor start the daemon that somebody has just stopped."""
        return not self.sent or all(repeatable(request) and not _waits(request) for request in requests)


class WaitedInVain(Timeout):
    """A waiting get has its answer: the key did not appear."""


class Answer(replies.Envelope, Generic[Body]):
    """The envelope of a reply, as its receiver reads it: with the body's type."""

    reply: Body | UnsetType = UNSET


Outcome = tuple[Any, Payload]
"""A reply's body, of the type `OPERATIONS` names, and its payload."""

ANSWERS: dict[type[Request], msgspec.msgpack.Decoder[Answer[Any]]] = {
    request: msgspec.msgpack.Decoder(Answer[operation.reply])  # type: ignore[name-defined]
    for request, operation in OPERATIONS.items()
}
BODIES: dict[type[Request], msgspec.msgpack.Decoder[Any]] = {
    request: msgspec.msgpack.Decoder(operation.reply) for request, operation in OPERATIONS.items()
}

_read_any = msgspec.msgpack.Decoder(Answer[Raw]).decode
_write = msgspec.msgpack.Encoder().encode
_READS = operations.Access.READ, operations.Access.KNOWN


def envelope(request: Request) -> bytes:
    """A request as it is said on the wire.

    Raises:
        BadRequest: it cannot be.
    """
    try:
        said = _write(request)
    except UnicodeEncodeError:
        raise BadRequest("a text must be valid UTF-8; one of this request has lone surrogates") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"the request cannot be sent: {error}") from None
    if len(said) > MAX_ENVELOPE:
        raise BadRequest(f"the request without its value has {len(said):,} bytes; {MAX_ENVELOPE:,} are allowed")
    return said


def head(request: Request, payload_length: int) -> bytes:
    """A frame up to its payload.

    Raises:
        BadRequest: the request cannot be said on the wire.
        TooLarge: the payload cannot.
    """
    said = envelope(request)
    if payload_length > MAX_PAYLOAD:
        raise TooLarge(f"a value of {payload_length:,} bytes cannot be sent; {MAX_PAYLOAD:,} is the most")
    return HEADER.pack(len(said), payload_length) + said


def hello(api_key: str | None) -> bytes:
    """The first frame of a connection; its id is 0."""
    return head(operations.Hello(version=PROTOCOL_VERSION, api_key=api_key, client="stash_memory"), 0)


def read_answer(request: Request, envelope: bytes) -> Answer[Any]:
    """The reply to the one request in flight.

    Raises:
        StashError: the daemon's, as its class.
        Garbled: the reply is none.
    """
    try:
        answer = ANSWERS[type(request)].decode(envelope)
    except msgspec.DecodeError as error:
        raise Garbled(f"the daemon's reply cannot be read: {error}") from None
    if answer.error is not UNSET:
        raise failure(answer.error, request)
    if answer.id != request.id or answer.reply is UNSET:
        raise Garbled(f"the daemon answered request {answer.id} when {request.id} was asked")
    return answer


def read_any(envelope: bytes) -> Answer[Raw]:
    """A reply or a push, to whichever request.

    Raises:
        Garbled: it is none.
    """
    try:
        return _read_any(envelope)
    except msgspec.DecodeError as error:
        raise Garbled(f"the daemon's reply cannot be read: {error}") from None


def outcome_of(request: Request, answer: Answer[Raw], payload: Payload) -> Outcome | StashError:
    """What became of one request among many: its reply, or the daemon's error.

    Raises:
        Garbled: the reply is none.
    """
    try:
        return read_body(request, answer), payload
    except Garbled:
        raise
    except StashError as error:
        return error


def read_body(request: Request, answer: Answer[Raw]) -> Any:
    """The body of one reply.

    Raises:
        StashError, Garbled: as in `read_answer`.
    """
    if answer.error is not UNSET:
        raise failure(answer.error, request)
    try:
        return BODIES[type(request)].decode(answer.reply)  # type: ignore[arg-type]  # UNSET fails like any other junk
    except (msgspec.DecodeError, TypeError) as error:
        raise Garbled(f"the daemon's reply cannot be read: {error}") from None


def failure(error: Failure, request: Request | None = None) -> StashError:
    """The error the daemon named, of the request if it answers one."""
    if error.code == WaitedInVain.code and request is not None and _waits(request):
        return WaitedInVain(error.message)
    return from_code(error.code, error.message, error.retry_after)


def split_frames(data: Payload) -> list[tuple[bytes, bytes]]:
    """The envelopes and payloads of a batch's replies.

    Raises:
        Internal: they are not frames.
    """
    frames, position, view = [], 0, memoryview(data)
    while len(data) - position >= HEADER_SIZE:
        envelope_length, payload_length = HEADER.unpack_from(view, position)
        body = position + HEADER_SIZE + envelope_length
        frames.append((bytes(view[position + HEADER_SIZE : body]), bytes(view[body : body + payload_length])))
        position = body + payload_length
    if position != len(data):
        raise Internal("the replies of the batch end in the middle of a frame")
    return frames


def repeatable(request: Request) -> bool:
    """Whether carrying a request out twice leaves and answers the same as once.

    Only then may it be sent again after its bytes left and the connection broke before the reply.
    """
    match request:
        case operations.Set():
            return request.key is not None and not request.if_absent and request.if_version is None
        case operations.Update():
            return request.extend_ms is None and request.if_version is None
        case _:
            return OPERATIONS[type(request)].access in _READS


def _waits(request: Request) -> bool:
    return isinstance(request, operations.Get) and bool(request.wait_ms)


def check_timeout(timeout: float) -> float:
    """The same, when it is one.

    Raises:
        BadRequest: not a time to wait.
    """
    try:
        if 0 < timeout <= MAX_TIMEOUT:
            return timeout
    except TypeError:  # no number
        pass
    raise BadRequest(f"a timeout is more than 0 and at most {MAX_TIMEOUT:,} seconds; this one is {timeout!r}")


def set_deadline(request: Request, timeout: float) -> None:
    """Tell the daemon how many seconds the caller will wait.

    Raises:
        BadRequest: not a time to wait.
    """
    request.timeout_ms = round(check_timeout(timeout) * 1000) or 1


def overdue(timeout: float) -> Timeout:
    """The daemon did not answer in time, and did not say so itself."""
    return Timeout(f"no answer within {timeout:g} s; whether a write was carried out is not known")


def gone(request: Request, reason: str) -> Unreachable:
    """The connection broke before the reply."""
    name = OPERATIONS[type(request)].name
    doubt = "" if repeatable(request) else "; whether it was carried out is not known"
    return Unreachable(f"the daemon went away before it answered {name} ({reason}){doubt}")

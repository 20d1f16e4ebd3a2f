from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_protocol import operations
from stash_protocol.operations import (
    DEFAULT_TIMEOUT,
    MAX_FORGET_KEYS,
    OPERATIONS,
    Access,
    AnyRequest,
    Cargo,
    Get,
    Pace,
    Request,
)
from stash_protocol.replies import Envelope, Failure
from stash_protocol.types import MAX_DURATION, MAX_KEY_BYTES

decoder = msgspec.msgpack.Decoder(AnyRequest)


def decode(**envelope: Any) -> Any:
    return decoder.decode(msgspec.msgpack.encode(envelope))


def test_every_request_has_its_row_in_the_table_and_can_be_read_from_the_wire() -> None:
    declared = set(Request.__subclasses__())
    assert declared == set(OPERATIONS)
    assert declared == set(typing.get_args(AnyRequest))


def test_names_are_unique() -> None:
    assert len({row.name for row in OPERATIONS.values()}) == len(OPERATIONS)


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_an_operation_says_what_it_means(row: operations.Operation) -> None:
    assert row.request.__doc__
    assert not row.request.__doc__.startswith(row.request.__name__ + "(")
    assert row.reply.__doc__


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_only_what_writes_takes_a_payload_or_runs_in_steps(row: operations.Operation) -> None:
    if row.cargo is not Cargo.NONE or row.pace is Pace.STEPS:
        assert row.writes
    if row.pace is Pace.SCAN:
        assert row.access is Access.READ


def test_a_request_without_the_common_fields_has_their_defaults() -> None:
    request = decode(op="get", key="k")
    assert request == Get(key="k")
    assert (request.id, request.timeout_ms) == (0, DEFAULT_TIMEOUT)


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"op": "nonsense"},
        {"op": "get"},
        {"op": "get", "key": ""},
        {"op": "get", "key": 1},
        {"op": "get", "key": "k" * (MAX_KEY_BYTES + 1)},
        {"op": "get", "key": "k", "namespace": "theirs"},
        {"op": "get", "key": "k", "id": -1},
        {"op": "get", "key": "k", "id": 2**53 + 1},
        {"op": "get", "key": "k", "timeout_ms": 0},
        {"op": "get", "key": "k", "wait_ms": MAX_DURATION + 1},
        {"op": "set", "key": "k", "type": "yaml"},
        {"op": "set", "key": "k", "ttl_ms": 0},
        {"op": "set", "key": "k", "ttl_ms": -1},
        {"op": "set", "key": "k", "ttl_ms": 1.5},
        {"op": "set", "key": "k", "if_version": 0},
        {"op": "set", "key": "k", "tags": ["t"] * 33},
        {"op": "set", "key": "k", "tags": [""]},
        {"op": "forget", "keys": []},
        {"op": "forget", "keys": ["k"] * (MAX_FORGET_KEYS + 1)},
        {"op": "list", "limit": 0},
        {"op": "list", "limit": 1001},
        {"op": "incr", "key": "k", "by": 2**63},
        {"op": "append", "key": "k", "max_len": 0},
        {"op": "tail", "key": "k", "count": 0},
        {"op": "hello", "version": 0},
        {"op": "hello", "version": 1, "api_key": "s" * 129},
        {"op": "key_create", "name": "n", "scopes": []},
        {"op": "key_create", "name": "n", "scopes": ["root"]},
    ],
    ids=str,
)
def test_a_request_that_breaks_a_bound_is_refused(envelope: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(**envelope)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(), st.lists))
def test_whatever_is_in_an_envelope_it_is_read_or_refused(envelope: Any) -> None:
    for data in (msgspec.msgpack.encode(envelope), envelope if isinstance(envelope, bytes) else b"\xc1"):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            decoder.decode(data)


@given(st.integers(0, 2**53), st.text(min_size=1, max_size=64), st.booleans(), st.none() | st.integers(1, MAX_DURATION))
def test_a_request_is_read_as_it_was_written(number: int, key: str, touch: bool, wait: int | None) -> None:
    request = Get(id=number, key=key, touch=touch, wait_ms=wait)
    assert decoder.decode(msgspec.msgpack.encode(request)) == request


def test_an_error_carries_a_time_to_wait_only_where_there_is_one() -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(Envelope(7, error=Failure("not_found", "no"))))
    assert sent == {"id": 7, "error": {"code": "not_found", "message": "no"}}

"""What is wrong with a request, in stash's words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stash_protocol.errors import BadRequest
from stash_protocol.operations import OPERATIONS, Request
from stash_protocol.requests import read_request

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"op": "key_create", "name": ""}, "name must have at least 1 character"),
    ({"op": "key_create", "name": "n" * 129}, "name must have at most 128 characters"),
    ({"op": "key_create", "name": "n", "scopes": ["all"]}, "scopes cannot be 'all'"),
    ({"op": "set", "key": "k" * 2049}, "key must have 1 to 2,048 bytes of UTF-8"),
    ({"op": "forget", "keys": ["a", ""]}, "keys must have 1 to 2,048 bytes of UTF-8"),
    ({"op": "forget", "keys": []}, "keys must have at least 1 item"),
    ({"op": "set", "key": 5}, "key must be text, not a whole number"),
    ({"op": "set", "ttl_ms": 0}, "ttl must be longer than 0"),
    ({"op": "set", "ttl_ms": 10**15}, "ttl must be at most 36500d"),
    ({"op": "set", "tags": ["a"] * 33}, "tags must have at most 32 items"),
    ({"op": "set", "type": "xml"}, "type cannot be 'xml'"),
    ({"op": "set", "if_version": 0}, "if_version must be at least 1"),
    ({"op": "list", "limit": 1001}, "limit must be at most 1,000"),
    ({"op": "list", "prefix": "p" * 2049}, "prefix must have at most 2,048 characters"),
    ({"op": "get"}, "key is missing"),
    ({"op": "get", "key": "k", "tll": 1}, "there is no field tll"),
    ({"op": "fetch"}, "op cannot be 'fetch'"),
    ({}, "op is missing"),
]


@pytest.mark.parametrize(("envelope", "said"), WRONG)
def test_a_refusal_names_the_field_and_the_limit(envelope: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(msgspec.msgpack.encode(envelope))
    assert refused.value.message == said


@pytest.mark.parametrize("envelope", [b"\xc1", b"\x81\xa2op", b"\x81\xa2op\xa3ge\xff", msgspec.msgpack.encode([1])])
def test_what_is_no_request_at_all_is_refused(envelope: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(envelope)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_no_refusal_of_any_field_speaks_the_decoders_language(kind: type[Request]) -> None:
    said = []
    for field in msgspec.structs.fields(kind):
        for value in (-(2**62), 2**64 - 1, "", "x" * 5000, [], [""], ["x"] * 5000, True, 1.5, None, {"a": 1}):
            envelope = {"op": OPERATIONS[kind].name, field.encode_name: value}
            try:
                read_request(msgspec.msgpack.encode(envelope))
            except BadRequest as refused:
                said.append(refused.message)
    assert said
    assert not [message for message in said if "`" in message or "$" in message]

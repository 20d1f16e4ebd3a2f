"""Frames as other languages' clients have them: what they say must not change within a version of the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from msgspec import UNSET, UnsetType

from stash_protocol.frames import pack
from stash_protocol.operations import OPERATIONS, AnyRequest
from stash_protocol.reader import FrameReader
from stash_protocol.replies import Envelope, Event, Failure, Rate

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
REPLIES = {row.name: row.reply for row in OPERATIONS.values()}


class Answer(msgspec.Struct):
    """An `Envelope` as a client reads it: what the reply is depends on the request."""

    id: int
    reply: msgspec.Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    push: Event | UnsetType = UNSET
    rate: Rate | UnsetType = UNSET


def read(envelope: bytes, golden: dict[str, Any]) -> msgspec.Struct:
    if golden["kind"] == "request":
        request: msgspec.Struct = msgspec.msgpack.decode(envelope, type=AnyRequest)
        return request
    answer = msgspec.msgpack.decode(envelope, type=Answer)
    if answer.reply is UNSET:
        return Envelope(answer.id, error=answer.error, push=answer.push, rate=answer.rate)
    return Envelope(answer.id, reply=msgspec.msgpack.decode(answer.reply, type=REPLIES[golden["op"]]), rate=answer.rate)


def load(path: Path) -> tuple[bytes, dict[str, Any]]:
    golden = json.loads(path.read_text())
    return bytes.fromhex(golden["hex"]), golden


def cut(frame: bytes) -> tuple[bytes, bytes]:
    [(envelope, payload)] = FrameReader[bytes](lambda envelope, _length: envelope).feed(frame)
    return envelope, bytes(payload)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_frame_says_what_it_always_said(path: Path) -> None:
    frame, golden = load(path)
    envelope, payload = cut(frame)
    assert msgpack.unpackb(envelope) == golden["envelope"]
    assert payload.hex() == golden["payload"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_declarations_read_and_write_a_golden_frame_bit_for_bit(path: Path) -> None:
    frame, golden = load(path)
    envelope, payload = cut(frame)
    assert pack(msgspec.msgpack.encode(read(envelope, golden)), payload) == frame


def test_there_are_golden_frames_of_both_directions() -> None:
    assert {load(path)[1]["kind"] for path in GOLDEN} == {"request", "answer"}

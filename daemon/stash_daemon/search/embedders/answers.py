"""JSON that a server answered with."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stash_daemon.search.embedders import EmbedderFailed
from stash_protocol.vectors import MAX_DIMENSIONS

NUMBER_BYTES = 32  # of a double in JSON at its longest, with comma and white space
FRAME_BYTES = 65_536  # around the vectors: names, model, usage

Answer = TypeVar("Answer", bound=msgspec.Struct)


def room(texts: int, dimensions: int | None) -> int:
    """Bytes an answer may have."""
    return FRAME_BYTES + texts * (dimensions or MAX_DIMENSIONS) * NUMBER_BYTES


def parsed(answer: bytes, shape: type[Answer]) -> Answer:
    """The answer, when it is one.

    Raises:
        EmbedderFailed: not JSON, or JSON of something else.
    """
    try:
        return msgspec.json.decode(answer, type=shape)
    except msgspec.ValidationError:
        said = "answered in a form that is not an embedder's"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        said = "answered with what is not JSON, or only a part of it"
    # What JSON has no word for, Python's own encoder writes like this: one of these texts has no vector.
    raise EmbedderFailed(said, permanent=b"NaN" in answer or b"Infinity" in answer)

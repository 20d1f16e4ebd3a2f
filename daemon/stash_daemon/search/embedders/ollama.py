"""Ollama: ``POST /api/embed``."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from stash_daemon.search.embedders import Embedder, judged, labelled
from stash_daemon.search.embedders.answers import parsed, room
from stash_daemon.search.embedders.http import Endpoint, Post, endpoint

if TYPE_CHECKING:
    from stash_daemon.settings import Settings

PORT = 11434
MODEL = "nomic-embed-text"


class _Answer(msgspec.Struct):
    embeddings: list[list[float]]


class Ollama(Embedder):
    """A server of Ollama, here or elsewhere.

    Args:
        where: it listens.
        model: one it has.
        dimensions: to cut vectors to, for a model that can; None: all.
        keep_alive: seconds the model stays loaded after a call.
    """

    def __init__(self, where: Endpoint, model: str, dimensions: int | None, keep_alive: float) -> None:
        self.name = labelled("ollama", model, dimensions)
        self.post = Post(where, {})
        self._dimensions = dimensions
        # A text longer than the model reads is cut there: half a meaning is better than a memory nobody finds.
        self._fixed: dict[str, Any] = {"model": model, "truncate": True, "keep_alive": f"{keep_alive:g}s"}
        if dimensions:
            self._fixed["dimensions"] = dimensions

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> Self:
        """As it is set; ``OLLAMA_HOST`` says where, unless ``embedder_url`` does.

        Raises:
            BadRequest: there is no such place.
        """
        if settings.embedder_url is not None:
            where = endpoint(settings.embedder_url, "embedder_url", PORT)
        else:
            where = endpoint(_url(environ.get("OLLAMA_HOST", "").strip()), "OLLAMA_HOST", PORT)
        return cls(
            where, settings.embedder_model or MODEL, settings.embedder_dimensions, settings.embedder_keep_alive / 1000
        )

    def embed(self, texts: Sequence[str], *, timeout: float) -> list[array[float]]:
        body = msgspec.json.encode({**self._fixed, "input": list(texts)})
        answer = self.post("/api/embed", body, timeout=timeout, limit=room(len(texts), self._dimensions))
        return judged(parsed(answer, _Answer).embeddings, len(texts), self._dimensions)

    def close(self) -> None:
        self.post.close()


def _url(host: str) -> str:
    """``OLLAMA_HOST`` may be a URL, a host, ``host:port`` or ``:port``; for a server, every address is this machine."""
    url = host if "://" in host else f"http://{'127.0.0.1' if not host or host[0] == ':' else ''}{host}"
    return url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]")

"""Whatever answers like OpenAI's ``/v1/embeddings``: LM Studio, llama.cpp, vLLM, Gemini, OpenAI itself."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from stash_daemon.search.embedders import Embedder, EmbedderFailed, judged, labelled
from stash_daemon.search.embedders.answers import parsed, room
from stash_daemon.search.embedders.http import Endpoint, Post, endpoint
from stash_daemon.settings import EMBEDDER_API_KEY
from stash_protocol.errors import BadRequest

if TYPE_CHECKING:
    from stash_daemon.settings import Settings

URL = "https://api.openai.com/v1"
MODEL = "text-embedding-3-small"
API_KEYS = (EMBEDDER_API_KEY, "OPENAI_API_KEY")


class _Item(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class OpenAI(Embedder):
    """A server of that shape.

    Args:
        where: ``/embeddings`` is added to its path.
        model: as the server names it.
        dimensions: to cut vectors to, for a model that can; None: all.
        api_key: None where none is needed.
    """

    def __init__(self, where: Endpoint, model: str, dimensions: int | None, api_key: str | None) -> None:
        self.name = labelled("openai", model, dimensions)
        self.post = Post(where, {"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._dimensions = dimensions
        self._fixed: dict[str, Any] = {"model": model, "encoding_format": "float"}
        if dimensions:
            self._fixed["dimensions"] = dimensions

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> Self:
        """As it is set; the API key is the environment's.

        Raises:
            BadRequest: there is no such place, or the API key could be read on the way there, or it is none.
        """
        where = endpoint(settings.embedder_url or URL, "embedder_url")
        api_key = _api_key(where, environ)
        return cls(where, settings.embedder_model or MODEL, settings.embedder_dimensions, api_key)

    def embed(self, texts: Sequence[str], *, timeout: float) -> list[array[float]]:
        body = msgspec.json.encode({**self._fixed, "input": list(texts)})
        answer = self.post("/embeddings", body, timeout=timeout, limit=room(len(texts), self._dimensions))
        items = sorted(parsed(answer, _Answer).data, key=lambda item: item.index)
        if [item.index for item in items] != list(range(len(texts))):
            raise EmbedderFailed(f"gave {len(items):,} vectors for {len(texts):,} texts, or numbered them wrongly")
        return judged([item.embedding for item in items], len(texts), self._dimensions)

    def close(self) -> None:
        self.post.close()


def _api_key(where: Endpoint, environ: Mapping[str, str]) -> str | None:
    own, general = (environ.get(name, "").strip() for name in API_KEYS)
    if own and not where.private:
        raise BadRequest(f"embedder_url: {where.shown} would get {API_KEYS[0]} for all on the way to read: use https")
    api_key = own or (general if where.private else "")  # the general one was never meant for that server
    if not (api_key.isascii() and api_key.isprintable()):
        raise BadRequest(f"{API_KEYS[0] if own else API_KEYS[1]} has characters that no API key has")
    return api_key or None

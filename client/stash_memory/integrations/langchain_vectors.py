"""LangChain's vector store in a stash: documents that can be found, until their TTL is over.

It needs the extra ``langchain``. Its asynchronous methods are LangChain's own, which wait in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from stash_memory.conditions import Where
from stash_memory.memories import Hit, Hits, MemoryFields
from stash_memory.sync import Stash
from stash_memory.values import Duration
from stash_protocol.memories import MAX_KEYS
from stash_protocol.operations import MAX_BATCH


class StashVectorStore(VectorStore):
    """Documents by meaning and by words.

    Args:
        embedding: makes the vectors; None: the daemon's own embedder, and words where it has none.
        stash: where to keep the documents; None: the user's own daemon.
        ttl: how long each lives; None: the tier's default, an hour.
        prefix: what the keys of all entries begin with.
    """

    def __init__(
        self,
        embedding: Embeddings | None = None,
        stash: Stash | None = None,
        *,
        ttl: Duration | None = None,
        prefix: str = "langchain/document/",
    ) -> None:
        self._embedding = embedding
        self._stash = stash or Stash()
        self._ttl = ttl
        self._prefix = prefix

    @property
    def embeddings(self) -> Embeddings | None:
        return self._embedding

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with these texts in it; ``kwargs`` are the store's own."""
        store = cls(embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    # ── write ──

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_kwargs: Any,
    ) -> list[str]:
        """Store texts, replacing those with the same ids, a thousand at a time all or none; their ids.

        Raises:
            ValueError: not as many ids or metadatas as texts.
            BadRequest: a text is empty or metadata is too much.
            StashError: as every call.
        """
        contents = list(texts)
        names = [name or str(uuid4()) for name in (ids or [None] * len(contents))]
        vectors = self._embedding.embed_documents(contents) if self._embedding else [None] * len(contents)
        rows = list(zip(names, contents, metadatas or [{}] * len(contents), vectors, strict=True))
        for start in range(0, len(rows), MAX_BATCH):
            batch = self._stash.batch()
            for name, text, metadata, vector in rows[start : start + MAX_BATCH]:
                memory: MemoryFields = {"embed": True, "metadata": metadata}
                if vector is not None:
                    memory["embedding"] = vector
                batch.set(self._prefix + name, text, ttl=self._ttl, **memory)
            batch.run()
        return names

    def delete(self, ids: list[str] | None = None, **_kwargs: Any) -> bool:
        """Forget documents; without ids all of them."""
        if ids is None:
            self._stash.clear(prefix=self._prefix)
        else:
            self._stash.forget([self._prefix + name for name in ids])
        return True

    # ── read ──

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return list(self._by_ids(list(dict.fromkeys(ids))))

    def _by_ids(self, ids: Sequence[str]) -> Iterator[Document]:
        for start in range(0, len(ids), MAX_KEYS):
            keys = [self._prefix + name for name in ids[start : start + MAX_KEYS]]
            found = {hit.key: hit for hit in self._stash.search(keys=keys, k=MAX_KEYS, archived=True)}
            yield from (self._document(found[key]) for key in keys if key in found)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The documents nearest to a query; ``filter`` as for `similarity_search_with_score`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where | None = None,  # noqa: A002  # LangChain's name
        **_kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The same with their similarities, 1 being the same.

        Args:
            query: what they are to be near to.
            k: documents at most.
            filter: conditions on metadata, as `Stash.search` takes them: ``{"lang": "en", "page": {"gt": 3}}``.
        """
        vector = self._embedding.embed_query(query) if self._embedding else None
        return self._scored(self._search(None if vector else query, vector, k, filter))

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Where | None = None,  # noqa: A002  # LangChain's name
        **_kwargs: Any,
    ) -> list[Document]:
        """The documents nearest to a vector."""
        return [self._document(hit) for hit in self._search(None, embedding, k, filter)]

    def _search(self, query: str | None, vector: list[float] | None, k: int, where: Where | None) -> Hits:
        filters: Mapping[str, Any] = {} if where is None else {"where": where}
        return self._stash.search(query, embedding=vector, k=k, prefix=self._prefix, importance_weight=0.0, **filters)

    def _scored(self, hits: Hits) -> list[tuple[Document, float]]:
        return [(self._document(hit), hit.similarity or 0.0) for hit in hits]

    def _document(self, hit: Hit) -> Document:
        return Document(id=hit.key.removeprefix(self._prefix), page_content=hit.content, metadata=hit.metadata)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda similarity: max(0.0, similarity)

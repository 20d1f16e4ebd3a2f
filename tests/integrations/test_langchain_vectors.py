"""LangChain's vector store: its own conformance suite, and what only stash promises."""

from __future__ import annotations

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from stash_memory import BadRequest, Stash
from stash_memory.integrations.langchain_vectors import StashVectorStore
from stash_memory.integrations.langgraph_store import StashStore
from tests.support.daemon import RunningDaemon
from tests.support.tenants import issue

EMBEDDING = DeterministicFakeEmbedding(size=6)


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, stash: Stash) -> VectorStore:
        return StashVectorStore(self.get_embeddings(), stash)


@pytest.fixture
def store(stash: Stash) -> StashVectorStore:
    texts = ["tea is hot", "Kiel is in the north", "tea grows in Assam"]
    about = [{"lang": "en", "page": page, "tags": ["a"]} for page in (1, 2, 3)]
    return StashVectorStore.from_texts(texts, EMBEDDING, about, ids=["1", "2", "3"], stash=stash)


def test_the_nearest_come_first_with_their_similarity(store: StashVectorStore) -> None:
    found = store.similarity_search_with_score("Kiel is in the north", k=2)
    assert len(found) == 2
    document, similarity = found[0]
    assert (document.id, document.metadata) == ("2", {"lang": "en", "page": 2, "tags": ["a"]})
    assert similarity == pytest.approx(1.0, abs=1e-5)
    assert found[1][1] < similarity
    assert [each.id for each in store.similarity_search_by_vector(EMBEDDING.embed_query("tea is hot"), k=1)] == ["1"]
    assert store.similarity_search_with_relevance_scores("tea is hot", k=1)[0][1] == pytest.approx(1.0, abs=1e-5)


def test_a_filter_leaves_out_what_it_does_not_let_through(store: StashVectorStore) -> None:
    found = store.similarity_search("tea is hot", k=9, filter={"page": {"gte": 2}, "lang": "en"})
    assert {document.id for document in found} == {"2", "3"}
    assert store.as_retriever(search_kwargs={"k": 9, "filter": "page=3"}).invoke("tea")[0].id == "3"
    with pytest.raises(BadRequest):
        store.similarity_search("tea", filter={"page": {"near": 2}})


def test_without_an_embedding_words_find_documents(stash: Stash) -> None:
    store = StashVectorStore(stash=stash)
    store.add_texts(["tea is hot", "Kiel is in the north"], ids=["1", "2"])
    assert [document.id for document in store.similarity_search("Kiel")] == ["2"]
    assert store.embeddings is None


def test_documents_live_for_the_ttl_and_are_deleted_all_or_some(stash: Stash) -> None:
    store = StashVectorStore(EMBEDDING, stash, ttl="2m")
    names = store.add_texts(["a", "b", "c"])
    assert all(110 < entry.ttl <= 120 for entry in stash.list())
    stash.set("another", "entry")
    store.delete(names[:1])
    assert [document.page_content for document in store.get_by_ids(names)] == ["b", "c"]
    store.delete()
    assert [entry.key for entry in stash.list()] == ["another"]


def test_many_documents_are_added_and_got(stash: Stash) -> None:
    store = StashVectorStore(EMBEDDING, stash)
    names = store.add_texts([f"text {number}" for number in range(1200)])
    found = store.get_by_ids([*names, "absent", names[0]])
    assert [document.id for document in found] == names
    with pytest.raises(ValueError, match="argument"):
        store.add_texts(["a", "b"], ids=["1"])


def test_two_frameworks_read_each_others_memory_in_one_namespace_and_cannot_in_two(daemon: RunningDaemon) -> None:
    with (
        Stash(socket=daemon.socket, api_key=issue(daemon, "shared")) as one,
        Stash(socket=daemon.socket, api_key=issue(daemon, "shared")) as two,
        Stash(socket=daemon.socket, api_key=issue(daemon, "sealed")) as other,
    ):
        StashStore(one).put(("users", "ann"), "home", {"text": "Ann lives in Kiel"})
        StashVectorStore(stash=two).add_texts(["Bob lives in Kiel"], ids=["bob"])
        for stash, expected in ((one, 2), (two, 2), (other, 0)):
            found = StashVectorStore(stash=stash, prefix="").similarity_search("Kiel")
            assert len(found) == expected
        assert StashStore(two).get(("users", "ann"), "home") is not None
        assert StashStore(other).get(("users", "ann"), "home") is None

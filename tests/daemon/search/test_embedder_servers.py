"""Embedders behind HTTP: what they send, and that every bad answer becomes an EmbedderFailed in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from stash_daemon.search.embedders import Embedder, EmbedderFailed, open_embedder
from stash_daemon.settings import MINUTE, Settings
from stash_protocol.errors import BadRequest
from tests.support import fake_embedders as fakes
from tests.support.daemon import eventually
from tests.support.fake_embedders import FakeEmbedder, fake_embedder, vectors_of

PATIENCE = 10.0  # seconds for an answer that comes
SHORT = 0.3  # seconds for one that does not

Opener = Callable[..., Embedder]


@pytest.fixture
def fake() -> Iterator[FakeEmbedder]:
    with fake_embedder() as server:
        yield server


@pytest.fixture(params=["ollama", "openai"])
def opened(request: pytest.FixtureRequest, fake: FakeEmbedder) -> Opener:
    """An embedder of each kind, of that server."""

    def opener(**settings: object) -> Embedder:
        url = fake.url + ("/v1" if request.param == "openai" else "")
        fields = {"embedder": request.param, "embedder_url": url, **settings}
        embedder = open_embedder(Settings(**fields), {})
        assert embedder is not None
        return embedder

    return opener


def failure(embedder: Embedder, texts: list[str] | None = None, timeout: float = PATIENCE) -> EmbedderFailed:
    with pytest.raises(EmbedderFailed) as failed:
        embedder.embed(texts or ["a", "b"], timeout=timeout)
    message = failed.value.message
    assert "\n" not in message
    assert "secret" not in message
    return failed.value


def test_texts_come_back_as_vectors_in_their_order(opened: Opener) -> None:
    texts = ["one", "two two", "drei 🙂 \0 \"'", ""]
    assert [vector.tolist() for vector in opened().embed(texts, timeout=PATIENCE)] == vectors_of(texts)


@pytest.mark.parametrize("reply", [fakes.without_length, fakes.in_chunks])
def test_an_answer_may_come_in_any_way_http_knows(opened: Opener, fake: FakeEmbedder, reply: fakes.Reply) -> None:
    fake.reply = reply
    assert [vector.tolist() for vector in opened().embed(["a"], timeout=PATIENCE)] == vectors_of(["a"])


def test_ollama_is_told_to_cut_long_texts_and_how_long_to_stay(fake: FakeEmbedder) -> None:
    settings = Settings(
        embedder="ollama",
        embedder_url=fake.url,
        embedder_dimensions=fakes.DIMENSIONS,
        embedder_keep_alive=2 * MINUTE,
    )
    embedder = open_embedder(settings, {})
    assert embedder is not None
    embedder.embed(["x"], timeout=PATIENCE)
    (call,) = fake.calls
    assert call.path == "/api/embed"
    assert call.body == {
        "model": "nomic-embed-text",
        "input": ["x"],
        "truncate": True,
        "keep_alive": "120s",
        "dimensions": fakes.DIMENSIONS,
    }
    assert embedder.name == f"ollama:nomic-embed-text@{fakes.DIMENSIONS}"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{}", "http://127.0.0.1:{}/", "0.0.0.0:{}", "http://0.0.0.0:{}", ":{}", "localhost:{}"]
)
def test_ollama_is_found_where_its_own_variable_says(fake: FakeEmbedder, host: str) -> None:
    embedder = open_embedder(Settings(embedder="ollama"), {"OLLAMA_HOST": host.format(fake.port)})
    assert embedder is not None
    embedder.embed(["x"], timeout=PATIENCE)
    assert embedder.name == "ollama:nomic-embed-text"


def test_without_a_port_ollama_has_its_own() -> None:
    for url in (None, "http://10.1.2.3"):
        embedder = open_embedder(Settings(embedder="ollama", embedder_url=url), {})
        assert embedder.post.where.port == 11434  # type: ignore[union-attr]


def test_openai_gets_its_shape_and_the_api_key_of_the_environment(fake: FakeEmbedder) -> None:
    settings = Settings(embedder="openai", embedder_url=fake.url + "/v1/", embedder_model="m")
    for environ, sent in (
        ({}, None),
        ({"OPENAI_API_KEY": "sk-general"}, "Bearer sk-general"),
        ({"OPENAI_API_KEY": "sk-general", "STASH_EMBEDDER_API_KEY": "sk-own\n"}, "Bearer sk-own"),
    ):
        embedder = open_embedder(settings, environ)
        assert embedder is not None
        embedder.embed(["x"], timeout=PATIENCE)
        assert fake.calls[-1].headers.get("Authorization") == sent
    assert fake.calls[-1].path == "/v1/embeddings"
    assert fake.calls[-1].body == {"model": "m", "input": ["x"], "encoding_format": "float"}


def test_an_api_key_never_travels_where_others_can_read_it() -> None:
    settings = Settings(embedder="openai", embedder_url="http://10.1.2.3:8000/v1")
    with pytest.raises(BadRequest, match="use https"):
        open_embedder(settings, {"STASH_EMBEDDER_API_KEY": "sk-own"})
    embedder = open_embedder(settings, {"OPENAI_API_KEY": "sk-general"})
    assert "Authorization" not in embedder.post._headers  # type: ignore[union-attr]


@pytest.mark.parametrize("api_key", ["sk-\r\nX: y", "sk-é"])
def test_an_api_key_that_is_none_is_refused_without_being_shown(api_key: str) -> None:
    with pytest.raises(BadRequest) as refused:
        open_embedder(Settings(embedder="openai"), {"STASH_EMBEDDER_API_KEY": api_key})
    assert "sk-" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ollama",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://u:p@h",
        "http://h/?k=sk",
        "http://a b",
    ],
)
def test_what_is_no_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(BadRequest, match=r"^embedder_url ") as refused:
        open_embedder(Settings(embedder="ollama", embedder_url=url), {})
    assert "sk" not in refused.value.message


@pytest.mark.parametrize(
    ("reply", "said", "permanent"),
    [
        (fakes.uneven, "gave a vector of 2 dimensions where 1 are needed", False),
        (fakes.too_few, "gave 1 vectors for 2 texts", False),
        (fakes.not_a_number, "not JSON", True),
        (fakes.infinite, "gave no vector: number 0 of the vector is inf", True),
        (fakes.zero, "gave no vector: the vector is zero", True),
        (fakes.empty, "gave no vector", True),
        (fakes.null, "not an embedder's", False),
        (fakes.not_json, "not JSON", False),
        (fakes.other_json, "not an embedder's", False),
        (fakes.deep, "answered", False),
        (fakes.half, "", False),
        (fakes.half_in_whole, "only a part of it", False),
        (fakes.hangs_up, "", False),
        (fakes.no_http, "does not speak HTTP", False),
        (fakes.huge, "answered with more than", False),
        (fakes.announced_huge, "answered with more than", False),
        (fakes.endless, "answered with more than", False),
        (fakes.status(301, Location="http://elsewhere.example/"), "redirects elsewhere", False),
        (fakes.status(307, Location="/again"), "redirects elsewhere", False),
        (fakes.status(400), "status 400", True),
        (fakes.status(401), "wants another API key", False),
        (fakes.status(404), "no such model", False),
        (fakes.status(413), "status 413", True),
        (fakes.status(500), "status 500", False),
    ],
)
def test_a_bad_answer_fails_and_says_why(
    opened: Opener, fake: FakeEmbedder, reply: fakes.Reply, said: str, permanent: bool
) -> None:
    fake.reply = reply
    failed = failure(opened())
    assert said in failed.message
    assert failed.permanent is permanent
    assert len(fake.calls) == 1
    fake.reply = fakes.well
    assert len(opened().embed(["a"], timeout=PATIENCE)) == 1


def test_vectors_of_another_size_than_set_fail(opened: Opener, fake: FakeEmbedder) -> None:
    fake.reply = fakes.wrong_size
    failed = failure(opened(embedder_dimensions=fakes.DIMENSIONS))
    assert "a vector of 17 dimensions where 16 are needed" in failed.message
    assert not failed.permanent


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("99999999", 600.0), ("-1", None), ("soon", None)])
def test_a_server_that_wants_to_be_left_alone_says_for_how_long(
    opened: Opener, fake: FakeEmbedder, header: str, seconds: float | None
) -> None:
    fake.reply = fakes.status(429, Retry_After=header)
    assert failure(opened()).retry_after == seconds


@pytest.mark.parametrize("way", ["held", "drips", "drips_body"])
def test_one_deadline_holds_for_all_of_an_answer(opened: Opener, fake: FakeEmbedder, way: str) -> None:
    fake.reply = getattr(fake, way)
    began = time.monotonic()
    assert "did not answer in time" in failure(opened(), timeout=SHORT).message
    assert SHORT * 0.9 <= time.monotonic() - began < SHORT + 2


def test_nobody_listens(opened: Opener, fake: FakeEmbedder) -> None:
    fake.stop()
    assert "cannot be reached: Connection refused" in failure(opened()).message


def test_a_host_nobody_knows() -> None:
    embedder = open_embedder(Settings(embedder="ollama", embedder_url="http://no-such-host.invalid"), {})
    assert embedder is not None
    assert "cannot be reached" in failure(embedder).message or "nobody knows" in failure(embedder).message


def test_closing_ends_a_call_that_is_under_way(opened: Opener, fake: FakeEmbedder) -> None:
    fake.reply = fake.held
    embedder, said = opened(), []
    thread = threading.Thread(target=lambda: said.append(failure(embedder, timeout=30)))
    thread.start()
    eventually(lambda: fake.calls)
    embedder.close()
    thread.join(PATIENCE)
    assert len(said) == 1
    assert "is closed" in failure(embedder).message

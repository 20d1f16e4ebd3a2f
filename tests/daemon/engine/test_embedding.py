"""What a caller sees of the queue, and puts back into it: live memories of theirs, and no vector they brought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stash_daemon.engine import Aside, Reply
from stash_daemon.keys import Caller
from stash_daemon.memory_store import Pending
from stash_daemon.search.embedders.troubles import MAX_NAMESPACES, Health, Troubles
from stash_protocol import operations as op
from stash_protocol.embedding import EmbeddingState, Requeued
from stash_protocol.errors import BadRequest, NotFound
from stash_protocol.memories import Memory
from stash_protocol.replies import Entry
from stash_protocol.vectors import check_vector
from tests.support.engine import Bench

VECTOR = check_vector([1.0, 0.0])
OTHER = check_vector([0.0, 1.0, 0.0])


class Words:
    """An embedder of queries, as the engine knows it."""

    def __init__(self, name: str, vector: bytes = VECTOR) -> None:
        self.name = name
        self._vector = vector

    def vector(self, text: str, namespace: str) -> bytes:
        return self._vector


class Queue:
    """A queue that knows an error."""

    def health(self, namespace: int) -> Health:
        return Health("does not answer", 5, 2.5)


class Office(Bench):
    """An engine with an embedder, whose queue the test works off."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.engine.embedder = Words("hash:one")

    def remember(self, key: str, text: str | None = "a text", caller: Caller | None = None, **fields: Any) -> Entry:
        ttl = fields.pop("ttl_ms", None)
        return self.set(key, b"v", caller, memory=Memory(text=text, **fields), ttl_ms=ttl)

    def pending(self) -> list[Pending]:
        return self.engine.store.pending(self.clock.now(), 1000, least=0)

    def work_off(self, vector: bytes = VECTOR) -> None:
        assert self.engine.embedder is not None
        self.engine.begin()
        for row in self.pending():
            assert self.engine.store.embedded(row, self.engine.embedder.name, vector)
        self.engine.commit()

    def give_up(self) -> None:
        self.engine.begin()
        for row in self.pending():
            self.engine.store.embedding_failed(row, again_at=None)
        self.engine.commit()

    def state(self, caller: Caller | None = None) -> EmbeddingState:
        body = self.ask(op.GetEmbedding(), caller=caller).body
        assert isinstance(body, EmbeddingState)
        return body

    def requeued(self, request: op.Request, caller: Caller | None = None) -> int:
        body = self.ask(request, caller=caller).body
        assert isinstance(body, Requeued)
        return body.requeued

    def status(self, key: str) -> str | None:
        body = self.ask(op.Embedded(key=key)).body
        assert isinstance(body, Entry)
        return body.embedding_status


@pytest.fixture(params=["memory", "file"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    office = Office(f"{tmp_path}/stash.db" if request.param == "file" else "")
    yield office
    office.engine.close()


def test_memories_are_counted_by_how_far_the_embedder_is(office: Office) -> None:
    for key in ("a", "b"):
        office.remember(key)
    office.work_off()
    office.remember("f")
    office.give_up()
    office.remember("p")
    office.remember("s", embed=False)
    office.remember("own", vector=OTHER)
    state = office.state()
    assert (state.embedder, state.dimensions) == ("hash:one", 2)
    assert (state.pending, state.completed, state.failed, state.skipped) == (1, 3, 1, 1)
    assert (state.current, state.outdated) == (2, 0)
    assert [(use.model, use.dimensions, use.vectors) for use in state.models] == [("hash:one", 2, 2), ("own", 3, 1)]
    assert (state.error, state.breaker, state.retry_ms) == (None, None, None)


def test_what_ails_the_embedder_is_said(office: Office) -> None:
    office.engine.queue = Queue()
    state = office.state()
    assert (state.error, state.error_at, state.breaker, state.retry_ms) == ("does not answer", 5, "open", 2500)


def test_what_was_given_up_is_tried_again_when_asked_for(office: Office) -> None:
    office.remember("done")
    office.work_off()
    for key in ("a", "b"):
        office.remember(key)
    office.give_up()
    assert office.pending() == []
    assert office.requeued(op.EmbedRetry()) == 2
    assert [row.attempts for row in office.pending()] == [0, 0]
    office.work_off()
    assert office.state().completed == 3
    assert office.requeued(op.EmbedRetry()) == 0


def test_after_a_change_of_model_old_vectors_are_not_compared_until_they_are_rebuilt(office: Office) -> None:
    for key in ("a", "b", "c"):
        office.remember(key, key)
    office.work_off()
    office.engine.embedder = Words("hash:two", OTHER)
    found = office.find("a").found
    assert (found.embedded, found.candidates, found.mode) == (0, 3, "keyword")
    assert found.note == "none of these memories has a vector of model 'hash:two'"
    office.remember("d", "d")
    office.work_off(OTHER)
    assert (office.find("a").found.embedded, office.state().outdated) == (1, 3)
    held = office.engine.store.held(office.engine.store.namespace("default"))
    assert office.requeued(op.EmbedRebuild()) == 3
    assert office.engine.store.held(office.engine.store.namespace("default")) == held - 3 * len(VECTOR)
    office.work_off(OTHER)
    found = office.find("a").found
    assert (found.embedded, found.candidates, found.mode, found.note) == (4, 4, "hybrid", None)
    state = office.state()
    assert (state.current, state.outdated, [use.model for use in state.models]) == (4, 0, ["hash:two"])
    assert office.requeued(op.EmbedRebuild()) == 0


def test_vectors_that_callers_brought_are_never_rebuilt_whatever_they_are_called(office: Office) -> None:
    office.remember("own", vector=VECTOR)
    office.remember("named", vector=VECTOR, model="hash:one")
    office.ask(op.Update(key="named", memory=Memory(score=1.0)))
    office.engine.embedder = Words("hash:two")
    assert office.state().outdated == 0
    assert office.requeued(op.EmbedRebuild()) == 0
    assert {office.status(key) for key in ("own", "named")} == {"completed"}


def test_what_was_stored_without_an_embedder_is_rebuilt_and_what_nobody_wants_embedded_is_not(office: Office) -> None:
    office.engine.embedder = None
    office.remember("a")
    office.set("value", b"ein Text", memory=Memory(text_is_value=True))
    office.remember("wordless", "🙂")
    office.remember("blank", " \n")
    office.remember("unwanted", embed=False)
    office.remember("textless", None)
    office.set("entry")
    office.engine.embedder = Words("hash:one")
    assert office.requeued(op.EmbedRebuild()) == 3
    assert sorted(row.text for row in office.pending()) == ["a text", "ein Text", "🙂"]


def test_without_an_embedder_nothing_is_put_back(office: Office) -> None:
    office.engine.embedder = None
    for request in (op.EmbedRetry(), op.EmbedRebuild()):
        with pytest.raises(BadRequest, match="no embedder"):
            office.ask(request)
    assert office.state() == EmbeddingState()


def test_many_are_put_back_in_slices_each_once(office: Office) -> None:
    for number in range(1200):
        office.remember(f"k{number}", f"text {number % 7}", ttl_ms=60_000 + number % 3)
    while office.pending():
        office.work_off()
    office.engine.embedder = Words("hash:two")
    assert office.requeued(op.EmbedRebuild()) == 1200
    assert office.state().pending == 1200


def test_an_export_brings_vectors_back_as_the_embedders_own(office: Office) -> None:
    office.remember("made")
    office.work_off()
    office.remember("brought", vector=VECTOR)
    rows = msgspec.msgpack.decode(office.ask(op.Export()).payload)
    page = [[e["key"], e["type"], e["ttl_ms"], value, tags, memory] for e, value, tags, memory in rows]
    office.ask(op.Clear(prefix=""))
    office.ask(op.Import(), msgspec.msgpack.encode(page))
    office.engine.embedder = Words("hash:two")
    assert office.requeued(op.EmbedRebuild()) == 1
    assert (office.status("made"), office.status("brought")) == ("pending", "completed")


# ── nobody else's, and nothing expired ──


def test_others_memories_are_neither_counted_nor_put_back(office: Office) -> None:
    other = office.someone("other")
    office.remember("mine")
    office.remember("theirs", caller=other)
    office.give_up()
    assert (office.state().failed, office.requeued(op.EmbedRetry())) == (1, 1)
    assert (office.state(other).failed, office.state(other).pending) == (1, 0)
    office.work_off()
    office.engine.embedder = Words("hash:two")
    assert office.requeued(op.EmbedRebuild(), office.someone("third")) == 0
    assert (office.state(other).failed, office.state(other).outdated) == (1, 0)
    with pytest.raises(NotFound):
        office.ask(op.Embedded(key="theirs"))


def test_another_namespaces_memories_cost_no_step_more(tmp_path: Path) -> None:
    assert steps(tmp_path / "a", crowded=False) == steps(tmp_path / "b", crowded=True)


def steps(path: Path, *, crowded: bool) -> list[str]:
    """The statements that all of it takes."""
    path.mkdir()
    office, ran = Office(f"{path}/stash.db"), []
    office.remember("mine")
    for number in range(5 if crowded else 0):
        office.remember(f"k{number}", caller=office.someone("other"))
    office.give_up()
    connection = office.engine.store._connection  # type: ignore[attr-defined]
    connection.exec_trace = lambda _cursor, sql, _bindings: bool(ran.append(sql)) or True
    for request in (op.GetEmbedding(), op.EmbedRetry(), op.EmbedRebuild(), op.Embedded(key="mine")):
        office.ask(request)
    connection.exec_trace = None
    office.engine.close()
    return ran


def test_what_is_expired_is_neither_counted_nor_put_back(office: Office) -> None:
    office.remember("failed", ttl_ms=1000)
    office.give_up()
    office.remember("old", ttl_ms=1000)
    office.work_off()
    office.engine.embedder = Words("hash:two")
    office.clock.advance(ms=1000)
    assert office.state() == EmbeddingState("hash:two")
    assert (office.requeued(op.EmbedRetry()), office.requeued(op.EmbedRebuild())) == (0, 0)
    with pytest.raises(NotFound):
        office.ask(op.Embedded(key="old"))


def test_a_failure_with_anothers_texts_is_nobodys_business_until_the_embedder_does_so_with_all() -> None:
    troubles = Troubles()
    troubles.note([1], "about a text", 10, common=False)
    assert (troubles.last(1), troubles.last(2)) == ((10, "about a text"), (None, None))
    troubles.note([1], "is down", 20, common=True)
    assert troubles.last(2) == (20, "is down")
    troubles.note([2], "about another", 30, common=False)
    assert (troubles.last(1), troubles.last(2)) == ((20, "is down"), (30, "about another"))
    for namespace in range(3, MAX_NAMESPACES + 3):
        troubles.note([namespace], "x", 40, common=False)
    assert troubles.last(2) == (20, "is down")


def test_what_expires_or_is_written_between_look_and_change_is_left_alone(office: Office) -> None:
    for key, ttl in (("brief", 1000), ("written", None), ("stays", None)):
        office.remember(key, ttl_ms=ttl)
    office.work_off()
    office.engine.embedder = Words("hash:two")
    steps = office.engine.steps(op.EmbedRebuild(), b"", office.caller)
    aside = next(steps)
    assert isinstance(aside, Aside)
    aside.work()
    office.clock.advance(ms=1000)
    office.remember("written", vector=VECTOR)
    office.engine.begin()
    *_, reply = steps
    office.engine.commit()
    assert isinstance(reply, Reply)
    assert reply.body == Requeued(1)
    assert (office.status("written"), office.status("stays")) == ("completed", "pending")

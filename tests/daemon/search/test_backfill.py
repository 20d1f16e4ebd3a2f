"""The queue: every text gets its vector in the end, whatever the embedder does, and nothing ever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stash_daemon.keys import Caller
from stash_daemon.memory_store import STATES
from stash_daemon.search.backfill import FAILURES, LEAST_LEFT, MOST_ATTEMPTS, PROBE, Backfill
from stash_daemon.search.embedders import open_embedder
from stash_daemon.search.embedders.breaker import Breaker
from stash_daemon.search.embedders.query import QueryEmbedder
from stash_protocol.errors import Busy
from stash_protocol.memories import Memory
from stash_protocol.operations import Forget, Get, Set, Update
from stash_protocol.vectors import check_vector
from tests.daemon.doors.inprocess import Desk, Wire, open_door, until
from tests.support import fake_embedders as fakes
from tests.support.engine import ALL_SCOPES, tier
from tests.support.fake_embedders import Call, FakeEmbedder, fake_embedder, vectors_of

MANY_STEPS = 2_000  # seconds of a clock in the test's hand, until it gives up: a bad text may take ten minutes
BATCH = 8


class Bureau:
    """A door, its queue, and the server that embeds for it."""

    def __init__(self, desk: Desk, wire: Wire, fake: FakeEmbedder) -> None:
        self.desk, self.wire, self.fake = desk, wire, fake
        self.ticks = 0.0
        embedder = open_embedder(desk.engine.settings, {})
        assert embedder is not None
        desk.engine.embedder = QueryEmbedder(embedder, 1)
        breaker = Breaker(FAILURES, now=lambda: self.ticks)
        self.queue = Backfill(desk.engine, desk.turn, desk.loop, embedder, breaker)
        desk.turn.committed = self.queue.nudge

    async def remember(self, *texts: str, **fields: Any) -> None:
        """Store memories in one turn; each text is its key, too."""
        self.wire.send(
            *((Set(id=n + 1, key=text, memory=Memory(text=text), **fields), b"v") for n, text in enumerate(texts))
        )
        for _ in texts:
            assert "reply" in (await self.wire.read())[0]

    def head(self, key: str) -> int:
        head = self.desk.engine.store.head(self.namespace, key)
        assert head is not None
        return head.id

    @property
    def namespace(self) -> int:
        return self.desk.engine.store.namespace("default")

    def state(self, key: str) -> str:
        memory = self.desk.engine.store.memory(self.head(key))
        assert memory is not None
        return STATES[memory.state]

    def states(self, *keys: str) -> set[str]:
        return {self.state(key) for key in keys}

    def vector(self, key: str) -> bytes | None:
        found = self.desk.engine.store.vector_of(self.namespace, key, self.desk.clock.now())
        return found[2] if found else None

    async def settled(self, *keys: str) -> None:
        """Wait until they all have a vector."""
        await until(lambda: self.states(*keys) == {"completed"})

    async def completed(self, *keys: str) -> None:
        """Wait until they all have a vector, the right one."""
        await self.settled(*keys)
        for key in keys:
            assert self.vector(key) == expected(key), key

    async def pass_time(self, holds: Callable[[], object]) -> None:
        """Let second after second pass, as soon as the queue has nothing left to do in the one before."""
        for _ in range(MANY_STEPS):
            await until(lambda: not self.queue._busy)
            if holds():
                return
            self.ticks += 1
            self.desk.clock.advance(seconds=1)
            self.queue._wake_in(0)
            await until(lambda: not self.queue._soon or self.queue._breaker.left)
        raise AssertionError("it never came true")


def expected(text: str) -> bytes:
    return check_vector(vectors_of([text])[0])


@asynccontextmanager
async def bureau(fake: FakeEmbedder, path: str = "", **settings: Any) -> AsyncIterator[Bureau]:
    fields = {
        "embedder": "ollama",
        "embedder_url": fake.url,
        "embedder_dimensions": fakes.DIMENSIONS,
        "embedder_batch": BATCH,
        "embedder_timeout": 5_000,
        **settings,
    }
    async with open_door(path, **fields) as desk:
        opened = Bureau(desk, await desk.connect(), fake)
        try:
            yield opened
        finally:
            opened.queue.stop()


Scenario = Callable[[FakeEmbedder], Coroutine[Any, Any, None]]


def run(scenario: Scenario) -> None:
    with fake_embedder() as fake:
        asyncio.run(scenario(fake))


def test_what_was_stored_gets_its_vector() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            await office.remember("tea", "coffee")
            await office.completed("tea", "coffee")
            await office.remember("water")
            await office.completed("water")

    run(scenario)


def test_no_write_and_no_read_waits_for_an_embedder_that_hangs() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = fake.held
        async with bureau(fake) as office:
            texts = [f"text {number}" for number in range(5 * BATCH)]
            await office.remember(texts[0])
            await until(lambda: fake.calls)
            await office.remember(*texts[1:])
            assert "reply" in await office.wire.call(Get(id=1, key=texts[-1]))
            assert office.states(*texts) == {"pending"}
            assert len(fake.calls) == 1
            fake.released.set()
            await office.completed(*texts)

    run(scenario)


def test_calls_hold_a_batch_at_most_and_no_text_twice() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            texts = [f"text {number}" for number in range(3 * BATCH)]
            await office.remember(*texts)
            await office.completed(*texts)
            assert sorted(fake.texts) == sorted(texts)
            assert max(len(call.texts) for call in fake.calls) == BATCH
            assert len(fake.calls) <= 5

    run(scenario)


def test_identical_texts_are_embedded_once() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            for keys in (["a", "b", "c"], ["d"]):
                office.wire.send(*((Set(id=1, key=key, memory=Memory(text="the same")), b"v") for key in keys))
                for _ in keys:
                    await office.wire.read()
                await office.settled(*keys)
            assert {office.vector(key) for key in "abcd"} == {expected("the same")}
            assert fake.texts == ["the same"]

    run(scenario)


def test_nobody_can_tell_by_the_time_it_takes_what_another_namespace_has_stored() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            await office.remember("secret")
            await office.completed("secret")
            office.desk.engine.begin()
            other = Caller(namespace="other", tier=tier(), scopes=ALL_SCOPES)
            office.desk.engine.execute(Set(key="guess", memory=Memory(text="secret")), b"", other)
            office.desk.engine.commit()
            office.queue.nudge()
            await until(lambda: not office.desk.engine.store.backlog())
            assert fake.texts == ["secret", "secret"]

    run(scenario)


def test_a_dead_embedder_costs_no_memory_its_vector_and_is_asked_seldom() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = fakes.status(500)
        async with bureau(fake) as office:
            texts = [f"text {number}" for number in range(2 * BATCH)]
            await office.remember(*texts)
            await office.pass_time(lambda: not office.queue._breaker.closed)
            assert len(fake.calls) == FAILURES
            await office.pass_time(lambda: office.ticks > 100)
            probes = [call.texts for call in fake.calls[FAILURES:]]
            assert set(map(tuple, probes)) == {(PROBE,)}
            assert len(probes) <= 10, "pauses grow"
            assert office.states(*texts) == {"pending"}
            fake.reply = fakes.well
            await office.pass_time(lambda: office.states(*texts) == {"completed"})
            await office.completed(*texts)

    run(scenario)


@pytest.mark.parametrize(
    "reply",
    [fakes.wrong_size, fakes.not_json, fakes.half, fakes.not_a_number, fakes.too_few, fakes.zero, fakes.status(400)],
)
def test_an_embedder_that_is_wrongly_set_costs_no_memory_its_vector(reply: fakes.Reply) -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = reply
        async with bureau(fake) as office:
            await office.remember("tea", "coffee", "water")
            await office.pass_time(lambda: office.ticks > 200)
            assert office.states("tea", "coffee", "water") == {"pending"}
            fake.reply = fakes.well
            await office.pass_time(lambda: office.states("tea", "coffee", "water") == {"completed"})
            await office.completed("tea", "coffee", "water")

    run(scenario)


def poisoned(reply: fakes.Reply) -> fakes.Reply:
    """Good, but for calls with one certain text."""

    def answer(call: Call) -> None:
        (reply if "poison" in call.texts else fakes.well)(call)

    return answer


@pytest.mark.parametrize(
    "reply", [fakes.status(400), fakes.not_a_number, fakes.zero, fakes.status(500), fakes.hangs_up]
)
def test_one_bad_text_is_given_up_alone(reply: fakes.Reply) -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = poisoned(reply)
        async with bureau(fake) as office:
            texts = [f"text {number}" for number in range(2 * BATCH)]
            await office.remember(*texts[:BATCH], "poison", *texts[BATCH:])
            await office.pass_time(lambda: office.state("poison") == "failed")
            await office.completed(*texts)
            assert sum("poison" in call.texts for call in fake.calls) <= MOST_ATTEMPTS + 2 * FAILURES
            figures = office.desk.engine.observer.figures(None)["embedding"]
            assert (figures["failed"], figures["completed"]) == (1, len(texts))
            await office.remember("later")
            await office.completed("later")

    run(scenario)


def test_what_waits_when_the_daemon_ends_is_embedded_by_the_next(tmp_path: Path) -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        path = str(tmp_path / "stash.db")
        fake.reply = fake.held
        async with bureau(fake, path) as office:
            await office.remember("tea", "coffee")
            await until(lambda: fake.calls)
        fake.reply = fakes.well
        async with bureau(fake, path) as office:
            await office.completed("tea", "coffee")

    run(scenario)


def test_what_is_about_to_expire_is_not_embedded() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            await office.remember("brief", ttl_ms=LEAST_LEFT)
            await office.remember("long")
            await office.completed("long")
            assert fake.texts == ["long"]
            assert office.state("brief") == "pending"

    run(scenario)


def test_a_text_that_changed_meanwhile_gets_the_vector_of_the_new_one() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = fake.held
        async with bureau(fake) as office:
            await office.remember("tea")
            await until(lambda: fake.calls)
            await office.wire.call(Update(id=1, key="tea", memory=Memory(text="coffee")))
            await office.remember("gone")
            await office.wire.call(Forget(id=1, keys=["gone"]))
            fake.released.set()
            await until(lambda: office.state("tea") == "completed")
            assert office.vector("tea") == expected("coffee")

    run(scenario)


def test_what_is_forgotten_meanwhile_stays_forgotten() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = fake.held
        async with bureau(fake) as office:
            await office.remember("tea", "coffee")
            await until(lambda: fake.calls)
            await office.wire.call(Forget(id=1, keys=["tea"]))
            fake.released.set()
            await office.completed("coffee")
            assert office.vector("tea") is None
            assert office.desk.engine.store.backlog() == 0

    run(scenario)


def test_vectors_of_another_size_than_the_namespace_has_are_refused_one_by_one() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake, embedder_dimensions=None) as office:
            await office.remember("tea")
            await office.completed("tea")
            fake.reply = fakes.wrong_size
            await office.remember("coffee")
            await until(lambda: office.state("coffee") == "failed")
            fake.reply = fakes.well
            await office.remember("water")
            await office.completed("tea", "water")

    run(scenario)


def test_the_queue_is_counted() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        fake.reply = fake.held
        async with bureau(fake) as office:
            observer = office.desk.engine.observer
            await office.remember("tea", "coffee")
            await until(lambda: fake.calls)
            assert observer.figures(None)["embedding"]["queue"] == 2
            assert "stash_embedding_queue 2" in observer.prometheus({"entries": 0, "bytes": 0, "namespaces": 0}, 0)
            fake.released.set()
            await office.completed("tea", "coffee")
            await until(lambda: observer.embedding.queue == 0)
            figures = observer.figures(None)["embedding"]
            assert (figures["completed"], figures["failed"], figures["failed_calls"]) == (2, 0, 0)
            assert figures["latency_ms"]["count"] == 1
            assert "embedding" not in observer.figures("default")

    run(scenario)


def test_what_is_undone_is_never_embedded() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            turn, engine = office.desk.turn, office.desk.engine
            turn.begin()
            engine.execute(Set(key="k", memory=Memory(text="undone")), b"v", engine.keys.local_caller())
            office.queue._look()
            turn.fail(Busy("no"))
            await office.remember("done")
            await office.completed("done")
            assert fake.texts == ["done"]

    run(scenario)


def test_what_ails_the_embedder_is_known_to_those_whom_it_concerns() -> None:
    async def scenario(fake: FakeEmbedder) -> None:
        async with bureau(fake) as office:
            mine, others = office.namespace, 99
            await office.remember("tea")
            await office.completed("tea")
            assert office.queue.health(mine) == (None, None, None)
            fake.reply = poisoned(fakes.status(400))
            await office.remember("poison")
            await until(lambda: office.state("poison") == "failed")
            mine = office.namespace
            assert "400" in str(office.queue.health(mine).error)
            assert office.queue.health(others) == (None, None, None), "it was about a text of mine"
            fake.reply = fakes.status(500)
            await office.remember("coffee")
            await office.pass_time(lambda: not office.queue._breaker.closed)
            for health in (office.queue.health(mine), office.queue.health(others)):
                assert "500" in str(health.error), "it is the embedder"
                assert health.retry_in is not None
            fake.reply = fakes.well
            await office.pass_time(lambda: office.state("coffee") == "completed")
            assert office.queue.health(others).retry_in is None

    run(scenario)

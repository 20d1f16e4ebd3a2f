"""Search over many memories, beside a plain scan and a plain matrix product over the same vectors."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import apsw
import numpy as np
import sqlite_vec  # type: ignore[import-untyped]
from numpy.typing import NDArray

from bench.contenders import directory
from bench.measure import (
    MILLISECOND,
    REPEATS,
    Figure,
    compare,
    compare_latency,
    in_turns,
    no_collections,
    percentile,
)
from bench.rows import row
from bench.rows.beside import at_work, in_turns_with
from bench.setting import TTL, Bench, check, some_keys
from stash_memory import Stash
from stash_memory.results import Portable
from stash_protocol.memories import Memory

DIMENSIONS = 384
K = 10
LEAST = 0.1  # of the score, which is spread evenly over 0 to 1: nine of ten memories pass
TAGS = ("red", "green", "blue", "grey")
WANTED = ("red", "green", "blue")
SIZES = {1_000: 1.5, 20_000: 0.3, 100_000: 0.15}  # memories, and what a search takes of a scan's time at most
SCAN = "SELECT id FROM vectors ORDER BY vec_distance_cosine(vector, ?) LIMIT ?"

STAYING = 1_000
STOPPED = 'embedder = "ollama"\nembedder_url = "http://127.0.0.1:9"\n'  # nobody listens there
TEXT = "We met at the harbour on Tuesday, and she said the boat would leave at nine if the wind held."

Vectors = NDArray[np.float32]


class Corpus(NamedTuple):
    """Made-up memories: vectors in clusters, as those of texts are, each with a score and a tag."""

    vectors: Vectors
    scores: list[float]
    tags: list[str]

    def memories(self, numbers: Sequence[int]) -> Iterator[Portable]:
        """As a client imports them."""
        for number in numbers:
            memory = Memory(vector=self.vectors[number].tobytes(), score=self.scores[number], text="")
            yield Portable(f"memory/{number}", "bytes", b"", TTL, (self.tags[number],), memory)

    def nearest(self, query: bytes) -> set[int]:
        """The ten nearest of those a search lets through, by comparing all."""
        cosines = self.vectors @ np.frombuffer(query, np.float32)
        there = [score >= LEAST and tag in WANTED for score, tag in zip(self.scores, self.tags, strict=True)]
        return set(np.argsort(np.where(there, -cosines, np.inf))[:K].tolist())

    def queries(self, count: int) -> list[bytes]:
        """Vectors near some of its own."""
        chance = np.random.default_rng(9)
        near = self.vectors[chance.integers(0, len(self.vectors), count)]
        return [vector.tobytes() for vector in _unit(near + 0.5 * _unit(chance.standard_normal(near.shape)))]


def corpus(count: int) -> Corpus:
    """So many memories, the same in every run."""
    chance = np.random.default_rng(5)
    centres = _unit(chance.standard_normal((200, DIMENSIONS)))
    vectors = np.empty((count, DIMENSIONS), np.float32)
    for start in range(0, count, 10_000):
        some = vectors[start : start + 10_000]
        some[:] = _unit(centres[chance.integers(0, 200, len(some))] + _unit(chance.standard_normal(some.shape)))
    draw = random.Random(5)
    return Corpus(vectors, [draw.random() for _ in range(count)], [draw.choice(TAGS) for _ in range(count)])


def _unit(vectors: Any) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


class Scanned:
    """The same rows in a table of SQLite, in this process: sqlite-vec looks at every one."""

    def __init__(self, home: Path, known: Corpus) -> None:
        self._known = known
        self._connection = apsw.Connection(str(home / "scan.db"))
        self._connection.enable_load_extension(True)  # noqa: FBT003 (its only parameter)
        self._connection.load_extension(sqlite_vec.loadable_path())
        self._connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1000000")
        self._connection.execute("CREATE TABLE vectors (id INTEGER PRIMARY KEY, score REAL, tag TEXT, vector BLOB)")

    def fill(self) -> None:
        """Store the rows, a thousand a transaction: as many as a page of an import has."""
        rows = self._rows()
        while some := list(islice(rows, 1_000)):
            with self._connection:
                self._connection.executemany("INSERT INTO vectors VALUES (?, ?, ?, ?)", some)

    def __call__(self, query: bytes) -> list[int]:
        """The ten nearest."""
        return [number for (number,) in self._connection.execute(SCAN, (query, K))]

    def _rows(self) -> Iterator[tuple[int, float, str, bytes]]:
        for number, vector in enumerate(self._known.vectors):
            yield number, self._known.scores[number], self._known.tags[number], vector.tobytes()


@contextmanager
def scanned(known: Corpus) -> Iterator[Scanned]:
    """A table beside stash."""
    with directory() as home:
        yield Scanned(home, known)


def _rate(work: Callable[[], None], amount: int) -> float:
    began = perf_counter()
    work()
    return amount / (perf_counter() - began)


def searched(stash: Stash, query: bytes) -> list[int]:
    """What stash finds: the numbers of the ten nearest."""
    hits = stash.search(embedding=query, k=K, min_score=LEAST, tags_any=WANTED, importance_weight=0.0)
    return [int(hit.key.removeprefix("memory/")) for hit in hits]


def remember(stash: Stash, known: Corpus, numbers: Sequence[int]) -> None:
    """Store some of them."""
    check(stash.import_(known.memories(numbers), replace=True).imported, len(numbers))


@row("search", "search, top 10 of vectors with 384 dimensions, filters on, through the daemon")
def search(bench: Bench) -> Iterator[Figure]:
    """Searches beside sqlite-vec's scan and numpy's product, both of which have the rows in this process."""
    largest = bench.size(100_000, 20_000)
    bench.fewer("search", 100_000, largest, "memories at most")
    every = corpus(largest)
    with bench.daemon() as daemon, Stash(socket=daemon.socket) as stash:
        there = 0
        for count, bound in SIZES.items():
            if count > largest:
                break
            remember(stash, every, range(there, count))
            there = count
            known = Corpus(*(part[:count] for part in every))
            with scanned(known) as scan:
                scan.fill()
                yield from _beside(bench, stash, known, scan, bound)


def _beside(bench: Bench, stash: Stash, known: Corpus, scan: Scanned, bound: float) -> Iterator[Figure]:
    count = len(known.vectors)
    rounds = max(4, bench.size(400_000, 100_000) // count)
    queries = known.queries(min(50, rounds) if count > 1_000 else 200)
    yield _recall(stash, queries, known)
    operations: dict[str, Callable[[bytes], object]] = {
        "stash": lambda query: searched(stash, query),
        "scan": scan,
        "product": lambda query: known.vectors @ np.frombuffer(query, np.float32),
    }
    spans = in_turns(operations, queries, rounds=min(len(queries), 20))
    found = {name: [percentile(each, 0.5) / MILLISECOND for each in spans[name]] for name in spans}
    yield compare(f"search of {count:,}", "ms", found["stash"], found["scan"], "scan", at_most=bound)
    product = 3.0 if count == max(SIZES) else None
    yield compare(f"search of {count:,}", "ms", found["stash"], found["product"], "matrix product", at_most=product)


def _recall(stash: Stash, queries: Sequence[bytes], known: Corpus) -> Figure:
    shares = [len(set(searched(stash, query)) & known.nearest(query)) / K for query in queries[:20]]
    name = f"recall@{K} of {len(known.vectors):,}"
    return Figure(name=name, unit="", ours=sum(shares) / len(shares), at_least=0.99)


@row("search_beside", "get while searches over 100,000 memories run")
def search_beside(bench: Bench) -> Iterator[Figure]:
    """The same gets, quiet and with another client that searches without a pause, in turns."""
    count = bench.size(100_000, 20_000)
    bench.fewer("search_beside", 100_000, count, "memories")
    known = corpus(count)
    with bench.stash(STAYING) as (daemon, stash):
        remember(stash, known, range(count))
        keys = some_keys(bench.size(8_000, 3_000), STAYING)
        searched(stash, known.queries(1)[0])  # the first reads them all
        with at_work(daemon, "search") as other:
            quiet, beside = in_turns_with(stash, keys, other)
    yield from compare_latency("get beside search", beside, quiet, "quiet", p99=3.0)


@row("remember", "memories stored: many at once, and a message while no embedder answers")
def remember_(bench: Bench) -> Iterator[Figure]:
    """A batch beside a bare executemany of the same vectors; a message beside a set."""
    known = corpus(bench.size(10_000, 4_000))
    numbers = range(len(known.vectors))
    ours, theirs = [], []
    for _ in range(REPEATS):
        with bench.daemon() as daemon, Stash(socket=daemon.socket) as stash, no_collections():
            ours.append(_rate(lambda: remember(stash, known, numbers), len(numbers)))
        with scanned(known) as scan, no_collections():
            theirs.append(_rate(scan.fill, len(numbers)))
    yield compare("memories at once", "/s", ours, theirs, "executemany", at_least=0.3)
    with bench.daemon(STOPPED) as daemon, Stash(socket=daemon.socket) as stash:
        numbered = itertools.count()
        operations: dict[str, Callable[[str], object]] = {
            "set": lambda text: stash.set(f"set/{next(numbered)}", text, ttl=TTL),
            "message": lambda text: stash.messages.add(
                key=f"message/{next(numbered)}", conversation_id="c", role="user", content=text, ttl=TTL
            ),
        }
        spans = in_turns(operations, [TEXT] * bench.size(5_000, 2_000), rounds=20)
    yield from compare_latency("message", spans["message"], spans["set"], "set", p50=2.0)

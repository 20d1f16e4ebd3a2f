"""One contender of the row ``vectors``, in a process of its own: ``python vectors.py NAME VECTORS.npy HOME``.

Stores the vectors with a score and a tag each, searches, deletes, and prints what that took. Nothing of the bench is
imported, so that a contender may live in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TAGS = ("red", "green", "blue", "grey")
LEAST, WANTED = 0.1, TAGS[:3]
K = 10
PAGE = 1_000  # vectors stored at once
QUERIES = 50
GONE = 10  # every how manieth is deleted, a hundred at once
DELETED_AT_ONCE = 100


class Contender(NamedTuple):
    """What a database can do, as its documentation says it is done."""

    package: str
    add: Callable[[Sequence[int]], object]
    search: Callable[[int], list[int]]
    delete: Callable[[Sequence[int]], object]


def score(number: int) -> float:
    """Spread over 0 to 1."""
    return number * 7 % 100 / 100


def tag(number: int) -> str:
    """One of four."""
    return TAGS[number // 3 % 4]


def stash(vectors: Any, home: Path) -> Contender:
    """In process, as the others are."""
    from stash_memory import Stash
    from stash_memory.results import Portable
    from stash_protocol.memories import Memory

    store = Stash(backend="sqlite", path=home / "stash.db")

    def entry(number: int) -> Portable:
        memory = Memory(vector=vectors[number].tobytes(), score=score(number), text="")
        return Portable(str(number), "bytes", b"", 86_400, (tag(number),), memory)

    def search(number: int) -> list[int]:
        hits = store.search(
            embedding=vectors[number].tobytes(), k=K, min_score=LEAST, tags_any=WANTED, importance_weight=0.0
        )
        return [int(hit.key) for hit in hits]

    return Contender(
        "stash-memory",
        lambda numbers: store.import_(map(entry, numbers)),
        search,
        lambda numbers: store.forget(*map(str, numbers)),
    )


def chroma(vectors: Any, home: Path) -> Contender:
    """HNSW; as it comes, but for the distance."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(path=str(home), settings=Settings(anonymized_telemetry=False))
    memories = client.create_collection(
        "memories", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    where = {"$and": [{"score": {"$gte": LEAST}}, {"tag": {"$in": list(WANTED)}}]}

    def search(number: int) -> list[int]:
        found = memories.query(query_embeddings=vectors[number : number + 1], n_results=K, where=where)
        return [int(each) for each in found["ids"][0]]

    return Contender(
        "chromadb",
        lambda numbers: memories.add(
            ids=[str(number) for number in numbers],
            embeddings=vectors[list(numbers)],
            metadatas=[{"score": score(number), "tag": tag(number)} for number in numbers],
        ),
        search,
        lambda numbers: memories.delete(ids=[str(number) for number in numbers]),
    )


def lancedb(vectors: Any, home: Path) -> Contender:
    """Without an index: as it comes, and exact."""
    import lancedb as lance
    import pyarrow as pa

    kind = pa.list_(pa.float32(), vectors.shape[1])
    schema = pa.schema([("id", pa.int64()), ("score", pa.float32()), ("tag", pa.string()), ("vector", kind)])
    memories = lance.connect(str(home)).create_table("m", schema=schema)
    where = f"score >= {LEAST} AND tag IN {WANTED}"

    def row(number: int) -> dict[str, Any]:
        return {"id": number, "score": score(number), "tag": tag(number), "vector": vectors[number]}

    def search(number: int) -> list[int]:
        found = memories.search(vectors[number]).distance_type("cosine").where(where).limit(K).to_arrow()
        return found["id"].to_pylist()

    return Contender(
        "lancedb",
        lambda numbers: memories.add([row(number) for number in numbers]),
        search,
        lambda numbers: memories.delete(f"id IN ({', '.join(map(str, numbers))})"),
    )


def measured(contender: Contender, vectors: Any, home: Path) -> dict[str, Any]:
    """What the row shows."""
    count = len(vectors)
    began = time.perf_counter()
    for numbers in _pages(range(count), PAGE):
        contender.add(numbers)
    inserted = time.perf_counter() - began
    queries = range(0, count, count // QUERIES)
    contender.search(1)  # what is loaded, and built, when it is first asked
    spans, right = [], 0
    for number in queries:
        began = time.perf_counter()
        found = contender.search(number)
        spans.append(time.perf_counter() - began)
        right += len(_nearest(vectors, number) & set(found))
    gone = range(0, count, GONE)
    began = time.perf_counter()
    for numbers in _pages(gone, DELETED_AT_ONCE):
        contender.delete(numbers)
    deleted = time.perf_counter() - began
    return {
        "version": metadata.version(contender.package),
        "insert": count / inserted,
        "search": sorted(spans)[len(spans) // 2] * 1000,
        "recall": right / K / len(queries),
        "delete": len(gone) / deleted,
        "memory": _memory() / 1e6,
        "disk": sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / 1e6,
    }


def _nearest(vectors: Any, number: int) -> set[int]:
    cosines = vectors @ vectors[number]
    there = [score(each) >= LEAST and tag(each) in WANTED for each in range(len(vectors))]
    return set(np.argsort(np.where(there, -cosines, np.inf))[:K].tolist())


def _pages(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _memory() -> int:
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def main(name: str, vectors: str, home: str) -> None:
    """Measure one."""
    known = np.load(vectors)
    contender = {"stash": stash, "chroma": chroma, "lancedb": lancedb}[name](known, Path(home))
    print(json.dumps(measured(contender, known, Path(home))))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Whether search finds what is meant: the standard library's docstrings, with a real model of meaning."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.contenders import directory
from bench.measure import Figure
from bench.rows import row
from bench.setting import TTL, Bench, check
from stash_daemon.search.embedders import EmbedderFailed
from stash_daemon.search.embedders.local import MODEL, Local
from stash_daemon.settings import Settings
from stash_memory import Stash
from stash_memory.results import Portable
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Memory, Mode

FEWEST_WORDS = 12  # of a body: less answers nothing
LONGEST = 4_000  # characters of a body: the model reads 256 numbers, about a thousand characters
LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"}  # not what people look things up in
FIRST = 3
K = 10
TIMEOUT = 600.0  # seconds for all texts


class Pair(NamedTuple):
    """A docstring: its first line asks, the rest answers."""

    question: str
    answer: str


def pairs(most: int) -> list[Pair]:
    """Docstrings of the standard library, spread over its modules; none whose question or answer another has."""
    found: dict[str, str] = {}
    for text in _docstrings():
        first, _, rest = text.partition("\n")
        body = " ".join(rest.split())[:LONGEST]
        if len(first.split()) >= 3 and len(body.split()) >= FEWEST_WORDS and not first.rstrip().endswith((":", ",")):
            found.setdefault(first.strip(), body)
    answers: dict[str, str] = {}
    for question, answer in found.items():
        answers.setdefault(answer, question)
    every = [Pair(question, answer) for answer, question in answers.items()]
    step = max(1.0, len(every) / most)
    return [every[int(number * step)] for number in range(min(most, len(every)))]


def _docstrings() -> Iterator[str]:
    """Of all classes and functions written in Python; their modules are read, not imported."""
    home = Path(sysconfig.get_path("stdlib"))
    for path in sorted(home.rglob("*.py")):
        if not LEFT_OUT & set(path.relative_to(home).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # a sample of what is wrong
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield ast.get_docstring(node) or ""


@row("relevance", "first lines of docstrings find the rest of them: by words, by meaning, by both")
def relevance(bench: Bench) -> Iterator[Figure]:
    """Hits among the first three, and the mean reciprocal rank; importance counts nothing."""
    known = pairs(bench.size(3_000, 400))
    try:
        model = Local.of(Settings(embedder="local"))
        answers = model.embed([pair.answer for pair in known], timeout=TIMEOUT)
        questions = model.embed([pair.question for pair in known], timeout=TIMEOUT)
    except (BadRequest, EmbedderFailed) as error:
        bench.note(f"relevance is left out: {error}")
        return
    bench.note(f"relevance: {len(known):,} docstrings of Python's standard library, vectors of {MODEL}")
    with directory() as home, Stash(backend="sqlite", path=home / "stash.db") as stash:
        texts = (
            Portable(str(number), "text", b"", TTL, memory=Memory(text=pair.answer, vector=vector.tobytes()))
            for number, (pair, vector) in enumerate(zip(known, answers, strict=True))
        )
        check(stash.import_(texts).imported, len(known))
        figures = {}
        for name in ("keyword", "vector", "hybrid"):
            found = [_rank(stash, name, pair.question, vector, number) for number, (pair, vector) in
                     enumerate(zip(known, (each.tobytes() for each in questions), strict=True))]  # fmt: skip
            figures[name] = _judged(found)
    yield from _figures(figures)


def _rank(stash: Stash, mode: Mode, question: str, vector: bytes, number: int) -> int | None:
    """Which hit is the right one, from 1; None: none of them."""
    hits = stash.search(
        question if mode != "vector" else None, embedding=vector if mode != "keyword" else None, mode=mode, k=K,
        importance_weight=0.0,
    )  # fmt: skip
    check(hits.mode, mode)
    keys = [hit.key for hit in hits]
    return keys.index(str(number)) + 1 if str(number) in keys else None


def _judged(ranks: list[int | None]) -> tuple[float, float]:
    """The share among the first three, and the mean reciprocal rank, of what is found at all."""
    near = sum(1 for rank in ranks if rank is not None and rank <= FIRST) / len(ranks)
    return near, sum(1 / rank for rank in ranks if rank is not None) / len(ranks)


def _figures(figures: dict[str, tuple[float, float]]) -> Iterator[Figure]:
    for place, measure in enumerate((f"hit@{FIRST}", f"MRR@{K}")):
        for name in ("keyword", "vector"):
            yield Figure(name=f"{measure} {name}", unit="", ours=figures[name][place])
        other = max(("keyword", "vector"), key=lambda name: figures[name][place])
        ours, theirs = figures["hybrid"][place], figures[other][place]
        yield Figure(name=f"{measure} hybrid", unit="", ours=ours, against=other, theirs=theirs, ratio=ours / theirs,
                     at_least=1.0)  # fmt: skip

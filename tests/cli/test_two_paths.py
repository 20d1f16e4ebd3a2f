"""The fast parser and Typer read every command line alike: same stdout, same stderr, same exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stash_cli import app
from stash_cli.call import carry_out, load
from stash_cli.fast import parse
from stash_cli.verbs import VERBS

VECTOR = str(Path(__file__).with_name("vector.json"))
MOMENTS = ["--after", "2026-01-01", "--before=2026-03-01T00:00Z"]
FILTERS = [
    *["--tag", "t", "--tag=u", "--all-tags", "u", "--group", "g/1", "--group-prefix", "g", "--segments"],
    *["--kind", "memory", "--role", "user", "--role", "tool", *MOMENTS, "--min-score", "-1", "--where", "a=1"],
    *["--archived", "--offset", "0", "--order", "newest", "--importance-weight", "0.5", "--half-life", "1d"],
]
NEAR = ["--mode", "vector", "--embedding", VECTOR, "--model", "m"]

MEMORIES = [
    (["set", "m", "v", "--text", "red apples", "--group", "g/1", "--role", "user", "--score", "-0.5"], b""),
    (["set", "n", "green apples", "--embed", "--meta", "a=1", "--meta=b=x", "--at", "2026-02-01", "--tag", "u"], b""),
    (["set", "o", "v", "--embedding", VECTOR, "--model", "m", "--importance", "1", "--kind", "memory"], b""),
    (["set", "o", "v", "--embed", "--no-embed"], b""),
    (["set", "o", "v", "--score", "x"], b""),
    (["set", "o", "v", "--no-embed", "--text", "blue apples", "--wait-embedding", "--json"], b""),
    (
        ["update", "n", "--text", "other apples", "--group", "g/1", "--role", "user", "--score", "1", "--meta", "a=1"],
        b"",
    ),
    (["update", "o", "--embedding", VECTOR, "--model", "m", "--importance", "0", "--at", "2026-02-02"], b""),
    (["update", "o", "w", "--embed", "--json"], b""),
    (["update", "o", "--no-embed", "--wait-embedding"], b""),
    (["search"], b""),
    (["search", "apples"], b""),
    (["search", "red", "apples", "-k", "2", "--", "-x"], b""),
    (["search", "apples", *FILTERS, "--prefix", "n"], b""),
    (["search", "--limit", "1", *NEAR, "--explain"], b""),
    (["search", "apples", "-k", "1", "--budget", "2", "--json"], b""),
    (["search", "--like", "absent"], b""),
    (["search", "--where", "x"], b""),
    (["search", "--", "-v"], b""),
    (["context", "--budget", "3"], b""),
    (["context", "n", "--query", "apples", *FILTERS], b""),
    (["context", *NEAR, "-k", "1", "--json"], b""),
    (["context", "--like", "absent"], b""),
]

FAST = [  # what the fast parser must understand, in an order that gives each something to work on
    (["set", "k", "v"], b""),
    (["set", "k", "v2", "--ttl", "90s", "--tag", "a", "--tag=b"], b""),
    (["set", "--ttl=1h", "k2"], b"piped"),
    (["set", "k3", "-"], b"\xff"),
    (["set", "dash", "--", "-x"], b""),
    (["set", "--json-value", "doc", '{"a": 1.0}'], b""),
    (["set", "doc", "{", "--json-value"], b""),
    (["set", "k", "v", "--if-absent"], b""),
    (["set", "k", "v", "--if-version", "77"], b""),
    (["set", "k", "v", "--if-version", "0"], b""),
    (["set", "k", "v", "--if-version", "x"], b""),
    (["set", "k", "v", "--ttl", "soon"], b""),
    (["set", "k", "v", "--ttl", "0"], b""),
    (["set", "k", "v", "--ttl", "400d"], b""),
    (["set", "", "v"], b""),
    (["set", "x" * 2049, "v"], b""),
    (["set", "k", "v", "--tag", ""], b""),
    (["set", "k\udcff", "v"], b""),
    (["set", "raw", "v\udcff"], b""),
    (["set", "empty", ""], b""),
    (["--json", "set", "k", "v"], b""),
    (["get", "k"], b""),
    (["get", "--json", "k"], b""),
    (["--json", "get", "k3"], b""),
    (["get", "doc", "--json"], b""),
    (["get", "raw", "--json"], b""),
    (["get", "k", "--touch"], b""),
    (["get", "--", "--json"], b""),
    (["get", "absent"], b""),
    (["get", "absent", "--json"], b""),
    (["get", "absent", "--default", "d"], b""),
    (["get", "absent", "--default="], b""),
    (["get", "absent", "--default", "--json"], b""),
    (["get", "absent", "--json", "--default", "d"], b""),
    (["get", "absent", "--wait", "20ms", "--timeout", "10s"], b""),
    (["get", "k", "--timeout", "1h", "--timeout", "9s"], b""),
    (["update", "k", "new"], b""),
    (["update", "k", "--extend", "1m"], b""),
    (["update", "k", "--extend", "900d", "--json"], b""),
    (["update", "k"], b"piped"),
    (["update", "k", "v", "--if-version", "99"], b""),
    (["update", "k", "--json-value", "--extend", "1m"], b""),
    (["update", "absent", "v"], b""),
    (["extend", "k", "30m"], b""),
    (["extend", "k", "30m", "--json"], b""),
    (["extend", "k", "never"], b""),
    (["ttl", "k"], b""),
    (["ttl", "k", "--json"], b""),
    (["exists", "k"], b""),
    (["exists", "absent", "--json"], b""),
    (["list"], b""),
    (["ls", "k"], b""),
    (["list", "-l"], b""),
    (["list", "-0"], b""),
    (["list", "--long", "k", "--limit", "1"], b""),
    (["list", "--reverse"], b""),
    (["list", "--tag", "a", "--json"], b""),
    (["list", "--limit", "2", "--json"], b""),
    (["list", "--cursor", "k", "--limit=0"], b""),
    (["forget"], b""),
    (["forget", "k", "--prefix", "k"], b""),
    (["forget", "k", "k2", "absent"], b""),
    (["forget", "k", "--json"], b""),
    (["forget", "--prefix", "d", "-y"], b""),
    (["forget", "--tag", "a", "--yes", "--json"], b""),
    (["get", "k", "--api-key-file", "/dev/null/nobody"], b""),
    (["get", "k", "--url", "http://x"], b""),
    (["get", "k", "--url", "unix:///x", "--socket", "/x"], b""),
    (["get", "k", "--socket", "/dev/null/nobody"], b""),
    (["set"], b"made"),
    (["set", "-", "--json"], b"made"),
    *MEMORIES,
]

LEFT_TO_TYPER = [
    (["context", "--help"], b""),
    (["pop", "k", "--first"], b""),
    (["tail", "k", "-n", "2"], b""),
    (["set", "k", "v", "--text"], b""),
    (["get"], b""),
    (["get", "k", "more"], b""),
    (["get", "k", "--nonsense"], b""),
    (["get", "k", "--json=yes"], b""),
    (["get", "k", "--wait"], b""),
    (["get", "-vv"], b""),
    (["get", "--help"], b""),
    (["set", "k", "-5"], b""),
    (["list", "-lv"], b""),
    (["gett", "k"], b""),
    (["--nonsense", "get", "k"], b""),
    (["--", "get", "k"], b""),
    (["incr", "n"], b""),
]

CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b\d+\.\d+\b"), "SECONDS"),
    (re.compile(r"\b(\d+(ms|s|m|h|d))+\b"), "DURATION"),
    (re.compile(r"^[0-9A-Za-z]{8}$", re.MULTILINE), "MADE"),
    (re.compile(r'(?<="key": ")[0-9A-Za-z]{8}\b'), "MADE"),
    (re.compile(r"/tmp/st\w+"), "HOME"),
    (re.compile(" +"), " "),
)


@contextmanager
def standing_in_for_stdin(data: bytes) -> Iterator[None]:
    kept, (reading, writing) = os.dup(0), os.pipe()
    os.write(writing, data)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def by_fast_parser(words: list[str]) -> int:
    found = parse(words)
    assert found is not None, "the fast parser does not understand it"
    verb, typed = found
    return carry_out(verb, typed, load(verb))


def run(way, words, stdin, capfdbinary) -> tuple[int, str, str]:
    with standing_in_for_stdin(stdin):
        status = way(list(words))
    sys.stdout.flush()
    out, err = capfdbinary.readouterr()
    said = [text.decode(errors="backslashreplace") for text in (out, err)]
    for pattern, word in CHANGING:
        said = [pattern.sub(word, text) for text in said]
    return status, said[0], said[1]


def test_every_line_means_the_same_to_both(two, capfdbinary, monkeypatch) -> None:
    answers: list[list[tuple[int, str, str]]] = []
    for command, way in zip(two, (by_fast_parser, app.run), strict=True):
        monkeypatch.setenv("STASH_HOME", command.home)
        command.ok("ping")
        monkeypatch.setenv("STASH_AUTOSTART", "0")
        answers.append([run(way, words, stdin, capfdbinary) for words, stdin in FAST])
    for (words, _), fast, typer in zip(FAST, *answers, strict=True):
        assert fast == typer, words
    statuses = {status for status, _, _ in answers[0]}
    assert statuses == {0, 2, 3, 5, 6, 124}, "the table must reach them all"


def test_what_is_not_right_is_left_to_typer() -> None:
    for words, _ in LEFT_TO_TYPER:
        assert parse(words) is None, words


def test_the_table_tries_every_option_of_every_hot_verb() -> None:
    tried = {(words[0], word.partition("=")[0]) for words, _ in FAST for word in words}
    for verb in VERBS:
        for option in verb.options if verb.hot else ():
            names = (verb.name, verb.alias)
            assert any((name, flag) in tried for name in names for flag in option.flags), (verb.name, option.flags)


@pytest.mark.parametrize(
    "words", [["get", "k"], ["list", "-l", "--json"], ["get", "absent"], ["get"], ["set", "k", "-5"]]
)
def test_the_process_ends_alike_either_way(stash, words) -> None:
    stash.ok("set", "k", "v")
    fast, typer = stash(*words), stash(*words, by_typer=True)
    assert (fast.returncode, fast.stderr) == (typer.returncode, typer.stderr)
    if "--json" not in words:
        assert fast.stdout == typer.stdout

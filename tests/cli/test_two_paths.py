"""The fast parser and Typer read every command line alike: same stdout, same stderr, same exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stash_cli import app, hot
from stash_cli.call import carry_out
from stash_cli.fast import parse
from stash_cli.verbs import HOT_VERBS

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
]

LEFT_TO_TYPER = [
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
    return carry_out(verb, typed, getattr(hot, verb.run.partition(":")[2]))


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
    for verb in HOT_VERBS:
        for option in verb.options:
            assert any((name, flag) in tried for name in (verb.name, verb.alias) for flag in option.flags), option.flags


@pytest.mark.parametrize(
    "words", [["get", "k"], ["list", "-l", "--json"], ["get", "absent"], ["get"], ["set", "k", "-5"]]
)
def test_the_process_ends_alike_either_way(stash, words) -> None:
    stash.ok("set", "k", "v")
    fast, typer = stash(*words), stash(*words, by_typer=True)
    assert (fast.returncode, fast.stderr) == (typer.returncode, typer.stderr)
    if "--json" not in words:
        assert fast.stdout == typer.stdout

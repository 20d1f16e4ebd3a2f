"""What `stash prune` makes sure of before it deletes."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.cli.test_ends import Person


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"y\n"])
def test_prune_asks_a_person_before_it_keeps_nothing(own: Command, answer: bytes) -> None:
    own.ok("set", "a/1", "v")
    own.ok("set", "a/2", "v")
    own.ok("set", "b", "v")
    person = Person(own, "prune", "--prefix", "a/", "--keep-newest", "0")
    person.wait_for(b"Delete 2 entries? [y/N] ")
    person.type(answer)
    agreed = answer == b"y\n"
    assert person.end()[0] == (0 if agreed else 2)
    assert own.ok("list").split() == ([b"b"] if agreed else [b"a/1", b"a/2", b"b"])


def test_episode_prune_asks_too(own: Command) -> None:
    own.ok("episode", "add", "t", "v", "--key", "e", "--reward", "1")
    person = Person(own, "episode", "prune", "--keep-highest-reward", "0")
    person.wait_for(b"Delete 1 entry? [y/N] ")
    person.type(b"n\n")
    assert person.end()[0] == 2
    assert Person(own, "episode", "prune", "--keep-highest-reward", "0", "--yes").end() == (0, b"e\n")


def test_prune_asks_nobody_where_something_is_kept_or_nothing_is_lost(own: Command, tmp_path) -> None:
    own.ok("set", "a/1", "v")
    assert Person(own, "prune", "--prefix", "x/", "--keep-newest", "0").end() == (0, b""), "there is nothing"
    assert Person(own, "prune", "--keep-newest", "1").end() == (0, b"")
    assert Person(own, "prune", "--keep-newest", "0", "--dry-run").end() == (0, b"a/1\n")
    assert Person(own, "prune", "--keep-newest", "0", "--archive", str(tmp_path / "x")).end() == (0, b"")
    own.ok("set", "a/1", "v")
    assert Person(own, "prune", "--keep-newest", "0", "--yes").end() == (0, b"")
    assert own.ok("list") == b""


def test_a_script_does_not_prune_everything_by_an_empty_prefix(own: Command) -> None:
    own.ok("set", "a", "v")
    done = own("prune", "--prefix", "", "--keep-newest", "0")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--yes" in done.stderr
    assert own.ok("list") == b"a\n"
    assert own.ok("prune", "--prefix", "", "--keep-newest", "0", "--yes") == b""
    assert own.ok("list") == b""


@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--keep-newest", "0"],
        ["prune", "--keep-highest-score", "0", "--keep-newest", "5"],
        ["prune", "--keep-newest", "0", "--older-than", "7d"],
        ["prune", "--keep-newest", "0", "--archived"],
        ["prune", "--keep-newest", "0", "--group-prefix", ""],
        ["episode", "prune", "--keep-newest", "0"],
        ["episode", "prune", "--keep-highest-reward", "0"],
        ["episode", "prune", "--keep-highest-reward", "0", "--task-prefix", ""],
    ],
)
def test_a_script_keeps_none_of_everything_only_with_yes(own: Command, words: list[str]) -> None:
    own.ok("episode", "add", "t", "v", "--key", "e", "--reward", "1")
    done = own(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b" 0 keeps none of all there are: say which, or give --yes too if that is meant" in done.stderr
    assert own.ok(*words, "--dry-run") == b"e\n"
    assert own.ok("list") == b"e\n"
    own.ok(*words, "--yes")
    assert own.ok("list") == b""


@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--keep-newest", "0", "--tag", "t"],
        ["prune", "--keep-newest", "0", "--prefix", "e"],
        ["prune", "--keep-newest", "0", "--min-score", "0"],
        ["episode", "prune", "--keep-newest", "0", "--task", "t"],
        ["episode", "prune", "--keep-highest-reward", "0", "--min-reward", "0"],
    ],
)
def test_a_script_may_keep_none_of_what_it_names(own: Command, words: list[str]) -> None:
    own.ok("episode", "add", "t", "v", "--key", "e", "--reward", "1", "--tag", "t")
    own.ok(*words)
    assert own.ok("list") == b""


@pytest.mark.parametrize("narrowing", [["--tag", "t"], ["--where", "a=1"], ["--prefix", "p/"], ["--kind", "memory"]])
def test_what_only_narrows_is_refused_without_a_policy(stash: Command, narrowing: list[str]) -> None:
    for words in (narrowing, [*narrowing, "--dry-run"]):
        code, error = stash.error("prune", *words)
        assert (code, error["code"]) == (2, "bad_request")
        assert error["message"].startswith(f"{narrowing[0]} only narrows ")
        assert "--older-than, --keep-newest or --keep-highest-score" in error["message"]

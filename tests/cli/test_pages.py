"""What is made from the table is what is in the repository, and shells take it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stash_cli import help as help_text
from stash_cli.options import GLOBAL_OPTIONS
from stash_cli.pages import all_pages
from stash_cli.verbs import GROUPS, VERBS

ROOT = Path(__file__).parents[2]
CHECKS = {
    "completions/stash.bash": ["bash", "-n"],
    "completions/_stash": ["zsh", "-n"],
    "completions/stash.fish": ["fish", "-n"],
}


@pytest.mark.parametrize("path", all_pages())
def test_a_page_is_as_the_table_makes_it(path: str) -> None:
    assert (ROOT / path).read_text() == all_pages()[path], "run `python -m stash_cli.pages`"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_names_every_argument_and_option_and_gives_an_example(verb) -> None:
    text = help_text.of_verb(verb)
    for row in (*verb.rows, *GLOBAL_OPTIONS):
        assert row.label in text
    assert f"stash {verb.name}" in verb.example
    assert verb.about.endswith(".")
    assert verb.name in help_text.overview()


def test_help_is_what_the_pages_say(own) -> None:
    assert own.ok("--help").decode() == own.ok("-h").decode() == help_text.overview()
    for words in (["get", "--help"], ["key", "create", "-h"], ["ls", "--help"]):
        verb = next(v for v in VERBS if " ".join(words[:-1]) in (v.name, v.alias))
        assert own.ok(*words).decode() == help_text.of_verb(verb)
    assert own.ok("key", "--help").decode() == help_text.of_group("key")
    assert own.ok("--version").startswith(b"stash ")
    done = own()
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", help_text.overview())


def test_other_ways_to_ask_for_help_are_understood(own) -> None:
    assert own.ok("help").decode() == help_text.overview()
    assert own.ok("help", "get") == own.ok("get", "--help")
    assert own.ok("help", "key", "create") == own.ok("key", "create", "--help")
    assert own.ok("help", "key") == own.ok("key", "--help")
    assert own.ok("-V") == own.ok("--version")


@pytest.mark.parametrize("words", [["--help"], ["key", "--help"], ["config", "--help"]], ids=" ".join)
def test_help_of_many_verbs_has_examples(own, words: list[str]) -> None:
    _, _, examples = own.ok(*words).decode().partition("Examples:\n")
    assert examples.startswith("  stash ")


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_verb_points_to_its_own_help(own, group: str) -> None:
    for words in ([group], [group, "nonsense"]):
        done = own(*words)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.endswith(f"; see `stash {group} --help`\n".encode())


@pytest.mark.parametrize("path", CHECKS)
def test_a_shell_that_is_here_takes_its_script(path: str) -> None:
    shell = CHECKS[path]
    if shutil.which(shell[0]):
        subprocess.run([*shell, ROOT / path], check=True)
    text = (ROOT / path).read_text()
    for verb in VERBS:
        assert verb.name.split()[0] in text
        assert all(option.flags[-1].lstrip("-") in text for option in verb.options)


def test_zsh_knows_by_the_first_line_what_its_script_completes() -> None:
    assert (ROOT / "completions/_stash").read_text().startswith("#compdef stash\n")


DRIVE = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
eval "COMP_WORDS=($3)"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_stash
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completions(stash, line: str, words: str) -> list[str]:
    """What bash offers; ``words`` is the line as bash takes it apart, quoted for it."""
    done = subprocess.run(
        ["bash", "-c", DRIVE, "bash", ROOT / "completions/stash.bash", line, words],
        capture_output=True,
        env=stash.environment,
        check=True,
    )
    assert done.stderr == b""
    return [word for word in done.stdout.decode().split("\n") if word]


@pytest.fixture
def in_path(own):
    """A home whose `stash` is found by a shell, with keys that need care."""
    program = Path(own.home, "bin", "stash")
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -P\nimport sys\nfrom stash_cli.main import main\nsys.exit(main())\n")
    program.chmod(0o700)
    own.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    for key in ("plain", "a b", "it's", "$(touch pwned)", "a:b:c", "a:b:d", "--flag"):
        own.ok("set", "--", key, "v")
    return own


def test_bash_completes_verbs_options_and_choices(in_path) -> None:
    assert completions(in_path, "stash ge", "stash ge") == ["get"]
    assert completions(in_path, "stash key ", "stash key ''") == ["create", "list", "rotate", "revoke"]
    assert completions(in_path, "stash get --wa", "stash get --wa") == ["--wait"]
    assert completions(in_path, "stash --json completion z", "stash --json completion z") == ["zsh"]
    assert completions(in_path, "stash serve --log-format ", "stash serve --log-format ''") == ["json", "console"]
    assert completions(in_path, "stash set k ", "stash set k ''") == []
    assert completions(in_path, "stash get k --wait ", "stash get k --wait ''") == []


def test_bash_completes_keys_and_quotes_them(in_path) -> None:
    assert completions(in_path, "stash get pl", "stash get pl") == ["plain"]
    assert completions(in_path, "stash ttl --timeout 3s pl", "stash ttl --timeout 3s pl") == ["plain"]
    assert completions(in_path, "stash get a\\ ", "stash get 'a\\ '") == ["a\\ b"]
    assert completions(in_path, "stash get it", "stash get it") == ["it\\'s"]
    assert completions(in_path, "stash get $", "stash get '$'") == ["\\$\\(touch\\ pwned\\)"]
    assert completions(in_path, "stash get 'it", 'stash get "\'it"') == []
    assert completions(in_path, 'stash get "a', "stash get '\"a'") == ["a b", "a:b:c", "a:b:d"]
    assert completions(in_path, "stash get a:b:", "stash get a : b :") == ["c", "d"]
    assert completions(in_path, "stash forget plain pl", "stash forget plain pl") == ["plain"]
    assert completions(in_path, "stash get -- --f", "stash get -- --f") == ["--flag"]


def test_completing_keys_starts_no_daemon(in_path) -> None:
    in_path.ok("stop")
    assert completions(in_path, "stash get pl", "stash get pl") == []
    assert not Path(in_path.home, "stash.sock").exists()


def test_the_man_page_has_no_warnings() -> None:
    if shutil.which("man"):
        done = subprocess.run(["man", "--warnings", "-l", ROOT / "docs/stash.1"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
    assert (ROOT / "docs/stash.1").read_text().startswith('.\\"')

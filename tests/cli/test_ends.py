"""Terminals, pipes that close, Ctrl-C, and what should not go wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import msgpack
import pytest

from stash_protocol import frames

PATIENCE = 30  # seconds


class Person:
    """Somebody at a terminal who types a command."""

    def __init__(self, stash, *words: str, **environment: str) -> None:
        self._own, terminal = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            stash.line(*words),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**stash.environment, "TERM": "xterm", **environment},
            start_new_session=True,
        )
        os.close(terminal)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            assert self._look(), self.seen

    def type(self, text: bytes) -> None:
        os.write(self._own, text)

    def end(self) -> tuple[int, bytes]:
        """The exit status, and all that was seen."""
        while self._look():
            pass
        os.close(self._own)
        return self.process.wait(PATIENCE), self.seen.replace(b"\r\n", b"\n")

    def _look(self) -> bool:
        ready, _, _ = select.select([self._own], [], [], PATIENCE)
        assert ready, self.seen
        try:
            part = os.read(self._own, 65_536)
        except OSError:  # Linux: the last process that had the terminal is gone
            part = b""
        self.seen += part
        return bool(part)


def test_a_value_gets_a_newline_on_a_terminal_only(stash) -> None:
    stash.ok("set", "shown", "v")
    assert Person(stash, "get", "shown").end() == (0, b"v\n")
    stash.ok("set", "shown", "v\n")
    assert Person(stash, "get", "shown").end() == (0, b"v\n")


@pytest.mark.parametrize(
    "words", [["set"], ["set", "k"], ["set", "k", "-"], ["update", "k"], ["append", "k"], ["batch"], ["import", "-"]]
)
def test_no_verb_waits_for_a_person_to_type_a_value(stash, words) -> None:
    status, seen = Person(stash, *words).end()
    assert status == 2
    assert seen.startswith(b"stash: no value was given, and stdin is a terminal; ")


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"y\n", b"yes\n"])
def test_forget_asks_a_person_before_it_forgets_many(own, answer: bytes) -> None:
    own.ok("set", "a/1", "v")
    own.ok("set", "a/2", "v")
    own.ok("set", "b", "v")
    person = Person(own, "forget", "--prefix", "a/")
    person.wait_for(b"Forget 2 entries whose key starts with 'a/'? [y/N] ")
    person.type(answer)
    agreed = answer.startswith(b"y")
    assert person.end()[0] == (0 if agreed else 2)
    assert own.ok("list").split() == ([b"b"] if agreed else [b"a/1", b"a/2", b"b"])


def test_forget_does_not_ask_where_there_is_nothing_or_it_was_told_not_to(own) -> None:
    own.ok("set", "a/1", "v")
    assert Person(own, "forget", "--prefix", "nothing/").end() == (3, b"stash: there are no such entries\n")
    assert Person(own, "forget", "--prefix", "a/", "--yes").end() == (0, b"1\n")


def test_forget_tells_a_person_that_an_empty_prefix_is_everything(own) -> None:
    own.ok("batch", stdin=b"".join(b'{"op": "set", "key": "%d", "value": 1}\n' % number for number in range(1500)))
    person = Person(own, "forget", "--prefix", "")
    person.wait_for(b"Forget 1,500 entries, which is everything? [y/N] ")
    person.type(b"y\n")
    assert person.end()[1].endswith(b"1500\n")


def test_forget_asks_even_who_may_not_count(own) -> None:
    own.ok("set", "a", "v")
    key = own.ok("key", "create", "w", "--scope", "write", "--namespace", "default").decode().strip()
    person = Person(own, "forget", "--prefix", "a", STASH_API_KEY=key)
    person.wait_for(b"Forget every entry whose key starts with 'a'? [y/N] ")
    person.type(b"y\n")
    assert person.end()[0] == 0


def test_a_script_does_not_forget_everything_by_an_empty_prefix(own) -> None:
    own.ok("set", "a", "v", "--tag", "t")
    own.ok("set", "b", "v")
    done = own("forget", "--prefix", "")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--yes" in done.stderr
    assert own.ok("list").split() == [b"a", b"b"]
    assert own.ok("forget", "--prefix", "", "--tag", "t") == b"1\n", "a tag is no accident"
    assert own.ok("forget", "--prefix", "", "--yes") == b"1\n"


def test_tables_are_for_terminals_and_keys_cannot_move_the_cursor(own) -> None:
    own.ok("set", "evil\x1b[2J\n", "v")
    assert b"evil\\x1b[2J\\n" in Person(own, "list").end()[1]
    assert b"evil\x1b[2J\n" in own.ok("list")
    status, seen = Person(own, "list", "-l").end()
    assert (status, b"\x1b[1m" in seen, b"\x1b[2J" in seen) == (0, True, False)
    assert b"\x1b" not in Person(own, "list", "-l", NO_COLOR="1").end()[1]


def test_a_key_with_a_newline_is_one_key(own) -> None:
    keys = ["one\ntwo", "plain", "tab\there"]
    for key in keys:
        own.ok("set", key, "v")
    for flag in ("-0", "--null"):
        assert own.ok("list", flag) == "".join(key + "\0" for key in keys).encode()
    assert own("list", "-0", by_typer=True).stdout == own.ok("list", "-0")
    rows = own.ok("list", "-l").decode().splitlines()
    assert [row.split(maxsplit=4)[-1] for row in rows[1:]] == ["one\\ntwo", "plain", "tab\\there"]
    assert [row["key"] for row in own.json("list")["entries"]] == keys
    assert Person(own, "list", "-0").end()[1] == b"one\ntwo\0plain\0tab\there\0"
    for other in ("-l", "--json"):
        assert own("list", "-0", other).returncode == 2


@pytest.mark.parametrize("words", [["stats"], ["doctor"], ["status"], ["--help"]])
def test_no_color_means_plain_text(own, words) -> None:
    own.ok("set", "k", "v")
    status, seen = Person(own, *words, NO_COLOR="1").end()
    assert (status, b"\x1b" in seen) == (0, False)


@pytest.mark.parametrize("key", [b"q", b"Q"])
def test_top_ends_with_q_and_says_so(own, key: bytes) -> None:
    person = Person(own, "top", "--interval", "30s")
    person.wait_for(b"q or Ctrl-C ends")
    person.type(key)
    status, seen = person.end()
    assert (status, b"\x1b[?1049l" in seen, b"Traceback" in seen) == (0, True, False)


def test_top_shows_figures_until_ctrl_c(own) -> None:
    person = Person(own, "top", "--interval", "50ms")
    person.wait_for(b"PER S")
    person.process.send_signal(signal.SIGINT)
    status, seen = person.end()
    assert status == -signal.SIGINT
    assert seen.endswith(b"\x1b[?25h") or b"\x1b[?1049l" in seen, "the terminal is as it was"
    assert b"Traceback" not in seen


@pytest.mark.parametrize("words", [["get", "never", "--wait", "60s"], ["watch"], ["batch"]], ids=" ".join)
def test_ctrl_c_ends_quietly(stash, words) -> None:
    stash.ok("ping")
    process = subprocess.Popen(
        stash.line("-v", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=stash.environment,
    )
    connections = Path(f"/proc/{process.pid}/fd")
    deadline = time.monotonic() + PATIENCE
    wanted = "pipe" if words == ["batch"] else "socket"
    while words != ["batch"] and not _has_socket(connections):
        assert time.monotonic() < deadline, wanted
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def _has_socket(directory: Path) -> bool:
    try:
        return any("socket:" in os.readlink(entry) for entry in directory.iterdir())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "words", [["get", "big"], ["list"], ["export"], ["--help"], ["get", "big", "--json"]], ids=" ".join
)
def test_a_reader_that_leaves_is_no_error(stash, words) -> None:
    stash.ok("set", "big", stdin=b"x" * 1_000_000)
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(stash.line(*words), stdout=writing, stderr=subprocess.PIPE, env=stash.environment)
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE)
    assert err == b""
    assert process.returncode in (-signal.SIGPIPE, 1)


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["get", "k"],
            ["get", "k", "--json"],
            ["list"],
            ["status"],
            ["set", "k", "v"],
            ["export"],
            ["config", "path"],
        ),
        *(["doctor"], ["stats"], ["top"], ["completion", "bash"]),
        *(["--help"], ["get", "--help"], ["key", "--help"], ["--version"], ["get", "--version"]),
    ],
    ids=" ".join,
)
def test_a_full_disk_behind_stdout_is_said_in_one_line(own, words) -> None:
    own.ok("set", "k", "v")
    with open("/dev/full", "wb") as full:
        process = subprocess.run(own.line(*words), stdout=full, stderr=subprocess.PIPE, env=own.environment)
    said = b"stash: stdout cannot be written: no space left on device\n"
    assert (process.returncode, process.stderr) == (1, said)
    assert not Path(own.home, "cli.err").exists()


def _closing(stash, closed: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with some of its standard descriptors closed."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *stash.line(*words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=stash.environment,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "2>&-", "<&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_never_makes_a_value_a_command(own, closed: str) -> None:
    own.ok("set", "victim", "v")
    forget = msgpack.packb({"op": "forget", "keys": ["victim"], "id": 1})
    own.ok("set", "evil", stdin=frames.pack(forget))
    done = _closing(own, closed, "get", "evil")
    assert own.ok("get", "victim") == b"v"
    if ">&-" in closed.split():
        said = b"" if "2>&-" in closed else b"stash: stdout cannot be written: it is closed\n"
        assert (done.returncode, done.stderr) == (1, said)
    else:
        assert (done.returncode, done.stdout) == (0, own.ok("get", "evil"))


def test_without_a_single_descriptor_a_verb_still_starts_the_daemon(own) -> None:
    assert _closing(own, "<&- >&- 2>&-", "set", "k", "v").returncode == 1, "the key could not be printed"
    assert own.ok("get", "k") == b"v"


def test_what_is_meant_for_a_closed_stderr_does_not_come_out_of_stdout(own) -> None:
    assert _closing(own, "2>&-", "set", "k", "v", "-v").stdout == b"k\n"


def test_a_working_directory_that_is_gone_is_no_defect(own, tmp_path) -> None:
    script = f'mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; STASH_HOME=relative exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *own.line("get", "k")], capture_output=True, env=own.environment)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_a_defect_is_said_even_where_its_details_have_no_place(own) -> None:
    breaking = "from stash_cli import hot; hot.exists = lambda call: 1 / 0; from stash_cli.main import main; main()"
    line = [*own.line()[:3], breaking, "exists", "k"]
    done = subprocess.run(line, capture_output=True, env={**own.environment, "STASH_HOME": "relative"})
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"nowhere" in done.stderr


def test_what_should_not_go_wrong_is_logged_and_not_shown(own) -> None:
    own.ok("ping")
    breaking = (
        "from stash_cli import hot; hot.ttl = lambda call: 1 / 0; import sys; from stash_cli.main import main; main()"
    )
    done = subprocess.run([*own.line()[:3], breaking, "ttl", "k", "--json"], capture_output=True, env=own.environment)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], done.stderr) == (1, "internal", b"")
    log = Path(error["message"].rpartition(" ")[2])
    assert "ZeroDivisionError" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_stdin_that_is_closed_is_said(stash) -> None:
    done = _closing(stash, "<&-", "set", "k")
    assert (done.returncode, done.stderr) == (2, b"stash: stdin cannot be read: it is closed\n")


def test_a_daemon_that_dies_in_the_middle_is_unreachable(own) -> None:
    own.ok("ping")
    process = subprocess.Popen(
        own.line("get", "never", "--wait", "60s"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=own.environment
    )
    deadline = time.monotonic() + PATIENCE
    while not _has_socket(Path(f"/proc/{process.pid}/fd")):
        assert time.monotonic() < deadline
    os.kill(own.json("status")["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5
    assert err.startswith(b"stash: the daemon at ")


def lines_of(seen: bytes) -> list[str]:
    return re.sub(rb"\x1b\[[0-9;]*m", b"", seen).decode().splitlines()


@pytest.mark.parametrize("columns", ["80", "60", "20"])
def test_a_table_shows_keys_whole_however_narrow_the_terminal(own, columns: str) -> None:
    key = "project/stash/notes/2026-01-31/" + "0123456789" * 4
    own.ok("set", key, "The apples are ripe, says somebody who has a lot of words to say so." * 3, "--embed")
    own.ok("set", "short", "v", "--text", "apples")
    plain = {"COLUMNS": columns, "NO_COLOR": ""}
    listed = lines_of(Person(own, "list", "-l", **plain).end()[1])
    assert [line.split()[-1] for line in listed] == ["KEY", key, "short"]
    found = lines_of(Person(own, "search", "apples", **plain).end()[1])
    assert found[0] == "SCORE  KEY"
    assert sorted(line.split()[1] for line in found if line[:1] in "01") == [key, "short"]
    texts = [line.strip() for line in found if line.startswith(" ")]
    assert max(texts) == "apples"
    assert all(len(text) <= int(columns) - 7 for text in texts)
    assert min(texts).startswith("The apples a")


def test_a_text_stands_beside_its_key_where_there_is_room(own) -> None:
    own.ok("set", "short", "v", "--text", "apples " * 30)
    head, row, *_ = lines_of(Person(own, "search", "apples", COLUMNS="60", NO_COLOR="").end()[1])
    assert head == "SCORE  KEY    TEXT"
    assert row.endswith("…")
    assert len(row) == 60
    assert row[7:20] == "short  apples"

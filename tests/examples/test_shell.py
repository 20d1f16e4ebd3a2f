"""The scripts people may keep: each run as it is, with the installed command, in a home of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.console import ROOT, environment
from tests.support.daemon import eventually

EXAMPLES = ROOT / "examples"
PATIENCE = 40  # seconds


class Shell:
    """A user's shell, whose home has a stash of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = environment(home)

    def __call__(self, *words: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run an example or a command to its end."""
        return subprocess.run(
            self.line(*words), input=stdin, capture_output=True, env={**self.environ, **environ}, cwd=self.home,
            timeout=PATIENCE,
        )  # fmt: skip

    def ok(self, *words: str, stdin: bytes = b"", **environ: str) -> bytes:
        done = self(*words, stdin=stdin, **environ)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def start(self, *words: str, stdin: bytes = b"", **environ: str) -> subprocess.Popen[bytes]:
        """Start one, with all of its stdin."""
        running = subprocess.Popen(
            self.line(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**self.environ, **environ}, cwd=self.home,
        )  # fmt: skip
        assert running.stdin is not None
        running.stdin.write(stdin)
        running.stdin.close()
        running.stdin = None
        return running

    def line(self, *words: str) -> list[str]:
        return [str(EXAMPLES / words[0]) if words[0].endswith(".sh") else words[0], *words[1:]]

    def script(self, text: str) -> str:
        """A program of one's own; its path."""
        path = self.home / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return str(path)


@pytest.fixture
def shell() -> Iterator[Shell]:
    home = Path(tempfile.mkdtemp(prefix="st"))
    yield Shell(home)
    if (home / "stash.sock").exists():
        os.kill(int((home / "daemon.lock").read_text()), signal.SIGTERM)
        eventually(lambda: not (home / "stash.sock").exists())
    eventually(lambda: shutil.rmtree(home, ignore_errors=True) or not home.exists())  # the daemon may still tidy up


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_can_be_run_and_every_shell_reads_it(path: Path) -> None:
    assert os.access(path, os.X_OK)
    strict = "set -euo pipefail" if path.read_text().startswith("#!/usr/bin/env bash") else "set -eu"
    assert strict in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)
    if strict == "set -eu":
        subprocess.run(["sh", "-n", path], check=True)


# ── cached.sh ──


def test_a_slow_command_runs_once_until_its_output_is_too_old(shell: Shell) -> None:
    program = shell.script("echo x >> runs; head -c 3000 /dev/zero; printf 'a\\n\\n'")
    first = shell.ok("cached.sh", "2s", program)
    assert first == bytes(3000) + b"a\n\n"
    assert shell.ok("cached.sh", "2s", program) == first
    assert (shell.home / "runs").read_text() == "x\n"
    shell.ok("cached.sh", "2s", program, "other")
    assert (shell.home / "runs").read_text() == "x\n" * 2, "other arguments, another run"
    eventually(lambda: b"cached/" not in shell.ok("stash", "list"))
    shell.ok("cached.sh", "2s", program)
    assert (shell.home / "runs").read_text() == "x\n" * 3


def test_those_who_ask_meanwhile_wait_for_the_one_run(shell: Shell) -> None:
    program = shell.script("echo x >> runs; stash get go --wait 30s")
    shell.ok("stash", "list")  # a daemon is there
    asking = [shell.start("cached.sh", "1m", program) for _ in range(3)]
    eventually((shell.home / "runs").exists)
    shell.ok("stash", "set", "go", "gone")
    assert [each.communicate(timeout=PATIENCE)[0] for each in asking] == [b"gone"] * 3
    assert (shell.home / "runs").read_text() == "x\n"


def test_a_failure_is_not_kept_and_does_not_lock_others_out(shell: Shell) -> None:
    program = shell.script("echo x >> runs; echo partly; exit 7")
    for _ in range(2):
        done = shell("cached.sh", "1m", program)
        assert (done.returncode, done.stdout) == (7, b"partly\n")
    assert (shell.home / "runs").read_text() == "x\n" * 2
    assert shell.ok("stash", "list") == b""


def test_a_stash_out_of_reach_never_keeps_a_command_from_running(shell: Shell) -> None:
    assert shell.ok("cached.sh", "1m", "echo", "hello", STASH_AUTOSTART="0") == b"hello\n"


# ── workers.sh ──


def test_every_line_is_done_once_whoever_works(shell: Shell) -> None:
    shell.ok("stash", "list")
    lines = b"".join(b"line %d\n" % number for number in range(8))
    both = [shell.start("workers.sh", "job", "2", "sh", "-c", 'echo "$1" >> done', "sh", stdin=lines) for _ in "ab"]
    for each in both:
        each.communicate(timeout=PATIENCE)
    done = (shell.home / "done").read_text().splitlines()
    assert sorted(done) == [f"line {number}" for number in range(8)]
    assert shell.ok("stash", "get", "job/count") == b"8"
    assert shell.ok("stash", "list", "job/claim/") == b""
    shell.ok("workers.sh", "job", "2", "false", stdin=lines)  # nothing is left for it to do


def test_a_last_line_without_its_end_counts_and_an_empty_one_does_not(shell: Shell) -> None:
    done = shell("workers.sh", "job", "1", "sh", "-c", 'echo "$1" >> done', "sh", stdin=b"one\n\n  two \nthree")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, b"job: 3 of 3: three")
    assert (shell.home / "done").read_text() == "one\n  two \nthree\n"


def test_what_failed_is_said_and_tried_again(shell: Shell) -> None:
    lines = b"good\nbad\n"
    program = shell.script('[ "$1" = good ] || [ -e mended ]')
    first = shell("workers.sh", "job", "1", program, stdin=lines)
    assert first.returncode == 1
    assert b"job: 1 of 2: good\n" in first.stderr
    assert b"job: failed: bad\n" in first.stderr
    assert b"job: 1 of 2 are not done\n" in first.stderr
    (shell.home / "mended").touch()
    assert b"job: 2 of 2: bad\n" in shell("workers.sh", "job", "1", program, stdin=lines).stderr


def test_a_line_a_dead_worker_had_claimed_is_free_again_when_its_claim_expires(shell: Shell) -> None:
    shell.ok("stash", "set", "job/claim/a", "a dead one", "--ttl", "1500ms")
    assert shell("workers.sh", "job", "1", "true", stdin=b"a\n").returncode == 1
    eventually(lambda: shell("stash", "exists", "job/claim/a").returncode == 3)
    shell.ok("workers.sh", "job", "1", "true", stdin=b"a\n")


# ── handover.sh ──


def test_a_note_goes_to_one_who_waits_byte_for_byte_and_is_gone(shell: Shell) -> None:
    shell.ok("stash", "list")
    waiting = shell.start("handover.sh", "take", "review")
    note = b"# Notes\n\xc3\xa9 \x00 and so on\n\n"
    shell.ok("handover.sh", "give", "review", stdin=note)
    assert waiting.communicate(timeout=PATIENCE) == (note, b"")
    assert shell("handover.sh", "take", "review", HANDOVER_WAIT="50ms").returncode == 124
    assert shell("handover.sh", "peek", "review").returncode == 3


def test_an_earlier_note_is_not_overwritten(shell: Shell) -> None:
    shell.ok("handover.sh", "give", "review", stdin=b"first")
    assert shell("handover.sh", "give", "review", stdin=b"second").returncode == 6
    assert shell.ok("handover.sh", "peek", "review") == b"first"
    assert shell.ok("handover.sh", "take", "review") == b"first"
    shell.ok("handover.sh", "give", "review", stdin=b"second")


def test_of_several_who_wait_each_note_goes_to_one(shell: Shell) -> None:
    shell.ok("stash", "list")
    waiting = [shell.start("handover.sh", "take", "review", HANDOVER_WAIT="30s") for _ in range(3)]
    notes = [b"one", b"two", b"three"]
    for note in notes:
        eventually(lambda note=note: shell("handover.sh", "give", "review", stdin=note).returncode == 0)
    assert sorted(each.communicate(timeout=PATIENCE)[0] for each in waiting) == sorted(notes)


def test_a_word_it_does_not_know_is_refused(shell: Shell) -> None:
    for words in (("handover.sh", "steal", "x"), ("handover.sh", "give"), ("cached.sh",), ("workers.sh", "job")):
        done = shell(*words)
        assert done.returncode == 2
        assert done.stderr


# ── cron-prune.sh ──


def test_cron_prunes_by_policy_archives_and_says_nothing(shell: Shell) -> None:
    for number in range(4):
        shell.ok("stash", "set", f"builds/{number}", "v")
    shell.ok("stash", "set", "log/a", "old")
    shell.ok("stash", "set", "keep/a", "v")
    policies = shell.home / "policies"
    policies.write_text("# what we keep\n\nbuilds/ --keep-newest 2\nlog/  --older-than 1ms\n")
    done = shell("cron-prune.sh", str(policies), str(shell.home / "archive"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert shell.ok("stash", "list") == b"builds/2\nbuilds/3\nkeep/a\n"
    (archive,) = (shell.home / "archive").iterdir()
    assert archive.stat().st_mode & 0o777 == 0o600
    assert len(archive.read_bytes().splitlines()) == 3
    shell.ok("stash", "import", str(archive))
    assert shell.ok("stash", "get", "log/a") == b"old"


def test_cron_does_not_run_twice_at_once_and_says_what_went_wrong(shell: Shell) -> None:
    policies = shell.home / "policies"
    policies.write_text("log/ --nonsense\n")
    archive = str(shell.home / "archive")
    shell.ok("stash", "set", "cron-prune/running", "another")
    assert shell.ok("cron-prune.sh", str(policies), archive) == b""
    shell.ok("stash", "forget", "cron-prune/running")
    done = shell("cron-prune.sh", str(policies), archive)
    assert done.returncode == 2
    assert b"--nonsense" in done.stderr
    assert shell("stash", "exists", "cron-prune/running").returncode == 3
    shell.ok("stash", "stop")
    assert shell("cron-prune.sh", str(policies), archive, STASH_AUTOSTART="0").returncode == 5

"""The owner lock."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stash_daemon.lock import OwnerLock
from stash_protocol.errors import BadRequest, Busy

HOLD = """
import sys
from stash_daemon.lock import OwnerLock
OwnerLock(sys.argv[1], "x").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=rf"^x\.db is open in the process with pid {holder.pid}$"):
            OwnerLock(path, "x.db is open in the process").acquire()
        holder.kill()


def test_an_owner_that_was_killed_leaves_the_lock_free(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    lock = OwnerLock(path, "it is taken")
    lock.acquire()
    assert Path(path).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_can_be_taken_again_after_it_was_released(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.lock")
    first, second = OwnerLock(path, "it is taken"), OwnerLock(path, "it is taken")
    first.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_the_lock_file_is_private_and_no_symlink_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    lock = OwnerLock(str(path), "it is taken")
    lock.acquire()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lock.release()
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(BadRequest, match="symbolic"):
        OwnerLock(str(tmp_path / "link"), "it is taken").acquire()

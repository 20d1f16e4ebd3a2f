"""Disks with little room: a limit on the size of files, and, where this user may mount one, a small tmpfs."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon import RunningDaemon

KIB, MIB = 1 << 10, 1 << 20
ROOM = 3 * MIB  # bytes of each of them


class Limited:
    """No file of the daemon may grow beyond a size (EFBIG)."""

    before = f"""
import os, resource
if not os.path.exists(os.environ["STASH_HOME"] + "/room"):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, resource.RLIM_INFINITY))
"""
    home = None

    def make_room(self, daemon: RunningDaemon) -> None:
        (daemon.home / "room").touch()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Mounted:
    """All files of the daemon are on a small tmpfs that something else fills as well (ENOSPC)."""

    before = ""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "ballast").write_bytes(bytes(2 * ROOM))

    def make_room(self, _daemon: RunningDaemon) -> None:
        (self.home / "ballast").unlink()


@contextlib.contextmanager
def limited() -> Iterator[Limited]:
    yield Limited()


@contextlib.contextmanager
def mounted() -> Iterator[Mounted]:
    directory = Path(tempfile.mkdtemp(prefix="st"))
    try:
        _mount(directory)
        try:
            yield Mounted(directory)
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)
    finally:
        shutil.rmtree(directory)


def _mount(directory: Path) -> None:
    options = f"size={3 * ROOM},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True, capture_output=True)


def _may_mount() -> bool:
    try:
        with mounted():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


SMALL = {"a limit on files": limited} | ({"a small tmpfs": mounted} if _may_mount() else {})
"""Every kind there is here; SQLite meets a different error in each."""

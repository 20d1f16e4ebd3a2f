"""`stash export FILE`: a regular file is replaced whole, anything else is written through."""

from __future__ import annotations

import os
import pty
import stat
import subprocess

import pytest

PATIENCE = 30  # seconds


@pytest.fixture
def filled(own):
    """A stash with one entry."""
    own.ok("set", "k", "v")
    return own


def _keys(text: bytes) -> int:
    return text.count(b'"key": "k"')


def test_a_new_file_is_for_its_owner_alone(filled, tmp_path) -> None:
    filled.ok("export", str(tmp_path / "new"))
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o600
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(filled, tmp_path, mode: int) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"old\n" * 1000)
    file.chmod(mode)
    before = file.stat()
    filled.ok("export", str(file))
    assert (_keys(file.read_bytes()), stat.S_IMODE(file.stat().st_mode)) == (1, mode)
    assert file.stat().st_ino != before.st_ino, "the old one was whole until the new one was"
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_symbolic_link_is_followed(filled, tmp_path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("far/target")
    filled.ok("export", str(link))
    assert link.is_symlink()
    assert _keys(target.read_bytes()) == 1


def test_a_fifo_is_written_through(filled, tmp_path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    process = subprocess.Popen(filled.line("export", fifo), env=filled.environment)
    try:
        with open(fifo, "rb") as file:
            assert _keys(file.read()) == 1
        assert process.wait(PATIENCE) == 0
        assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    finally:
        process.kill()
        process.wait()


def test_a_device_is_written_through(filled) -> None:
    own, terminal = pty.openpty()
    try:
        filled.ok("export", os.ttyname(terminal))
        assert _keys(os.read(own, 65_536)) == 1
        assert stat.S_ISCHR(os.stat(os.ttyname(terminal)).st_mode)
    finally:
        os.close(own)
        os.close(terminal)


def test_a_descriptor_somebody_handed_over_is_written_to_where_it_stands(filled, tmp_path) -> None:
    reading, writing = os.pipe()
    line = filled.line("export", f"/dev/fd/{writing}")
    assert subprocess.run(line, env=filled.environment, pass_fds=[writing], timeout=PATIENCE).returncode == 0
    os.close(writing)
    with open(reading, "rb") as file:
        assert _keys(file.read()) == 1
    log = tmp_path / "log"
    log.write_bytes(b"first\n")
    with open(log, "ab") as file:
        subprocess.run(filled.line("export", "/dev/stdout"), env=filled.environment, stdout=file, timeout=PATIENCE)
    assert log.read_bytes().startswith(b"first\n")
    assert _keys(log.read_bytes()) == 1


@pytest.mark.parametrize("path", ["/dev/fd/3", "/dev/fd/9999", "/dev/fd/99999999999999999999"])
def test_a_descriptor_nobody_handed_over_is_refused(filled, path: str) -> None:
    status, error = filled.error("export", path)
    assert (status, error["code"]) == (2, "bad_request")
    assert path in error["message"]
    assert filled.ok("get", "k") == b"v", "least of all the socket"


def test_an_export_that_cannot_be_finished_leaves_the_file_as_it_was(filled, tmp_path) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"old")
    filled.ok("set", "large", stdin=b"v" * 100_000)
    line = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *filled.line("export", str(file))]
    done = subprocess.run(line, capture_output=True, env=filled.environment, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (2, f"stash: {file} cannot be written: file too large\n".encode())
    assert (file.read_bytes(), os.listdir(tmp_path)) == (b"old", ["old"])


def test_a_directory_is_refused(filled, tmp_path) -> None:
    assert filled.error("export", str(tmp_path))[0] == 2
    assert tmp_path.is_dir()

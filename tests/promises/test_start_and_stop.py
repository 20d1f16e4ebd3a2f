"""Start and stop: however many start, one wins; however busy it is, it ends in order and in time."""

from __future__ import annotations

import os
import signal
import time

import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, StartFailed, eventually
from tests.support.tenants import announced, answer, value
from tests.torture import start

MIB = 1 << 20
IDLE = 50
WITHIN = 5.0  # seconds
UNREAD = 8 * MIB  # bytes of a value whose reader never reads


def test_of_twenty_that_start_at_once_one_wins_and_the_others_name_it() -> None:
    start.run(2)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_five_seconds_whoever_is_there(number: signal.Signals) -> None:
    """Fifty that are idle, one amid eight mebibytes, one that never reads what it asked for, one that writes on."""
    with RunningDaemon() as daemon:
        lines = [daemon.connect() for _ in range(IDLE)]
        sender, reader, writer = (daemon.connect() for _ in range(3))
        lines += [sender, reader, writer]
        try:
            answer(writer, op.Set(key="large"), bytes(UNREAD))
            for _ in range(16):
                reader.send(op.Get(key="large"))
            sender.send_bytes(announced(op.Set(key="half", id=1), 8 * MIB) + bytes(4 * MIB))
            acknowledged = write_until_told_to_stop(daemon, writer, number)
            took = time.monotonic()
            assert daemon.wait() == 0
            assert time.monotonic() - took <= WITHIN
        finally:
            for line in lines:
                line.close()
        assert not daemon.socket.exists()
        daemon.restart()
        with daemon.connect() as line:
            assert all(value(line, f"k{n}") == b"v" for n in range(acknowledged))
            assert value(line, "half") is None
            assert len(value(line, "large") or b"") == UNREAD


def write_until_told_to_stop(daemon: RunningDaemon, line: Line, number: signal.Signals) -> int:
    """Set one key after the other, and send the signal amid it; how many were acknowledged, the last ones after it."""
    acknowledged = 0
    try:
        while acknowledged < 100_000:
            envelope, _ = line.call(op.Set(key=f"k{acknowledged}"), b"v")
            assert "reply" in envelope
            acknowledged += 1
            if acknowledged == 100:
                os.kill(daemon.pid, number)
    except (EOFError, ConnectionError):
        pass
    assert acknowledged >= 100
    return acknowledged


def test_what_was_sent_whole_before_the_signal_is_carried_out() -> None:
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            line.send(op.Set(key="large", id=7), bytes(8 * MIB))  # sent whole: it is in the daemon or in the socket
            os.kill(daemon.pid, signal.SIGTERM)
            assert line.read()[0]["id"] == 7
            assert daemon.wait() == 0
        daemon.restart()
        with daemon.connect() as line:
            assert len(value(line, "large") or b"") == 8 * MIB


def test_a_path_that_is_too_long_gets_a_message_that_says_what_to_do() -> None:
    with RunningDaemon() as daemon:
        with pytest.raises(StartFailed, match="may have 103; set STASH_SOCKET") as failed:
            RunningDaemon(environ={"STASH_SOCKET": str(daemon.home / ("x" * 120))})
        assert failed.value.status == 2


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_of_ours_is_left_untouched_where_the_socket_should_be(kind: str) -> None:
    with RunningDaemon() as daemon:
        daemon.stop()
        if kind == "directory":
            daemon.socket.mkdir()
        elif kind == "link":
            daemon.socket.symlink_to("/dev/null/elsewhere")
        else:
            daemon.socket.write_text("mine")
        before = os.lstat(daemon.socket)
        with pytest.raises(StartFailed, match="left untouched") as failed:
            daemon.restart()
        assert failed.value.status == 2
        after = os.lstat(daemon.socket)
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_daemon_that_ends_while_many_wait_for_a_key_leaves_none_of_them_waiting() -> None:
    with RunningDaemon() as daemon:
        lines = [daemon.connect() for _ in range(IDLE)]
        try:
            for line in lines:
                line.send(op.Get(key="never", wait_ms=60_000, timeout_ms=60_000))
            with daemon.connect() as other:
                eventually(lambda: answer(other, op.GetStatus())["connections"] == IDLE + 1)
            assert daemon.stop() == 0
            assert all(line.ended() for line in lines)
        finally:
            for line in lines:
                line.close()

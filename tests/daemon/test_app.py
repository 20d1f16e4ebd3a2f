"""The daemon as a process: it starts once, says when it is ready, and stops in order."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from stash_protocol.operations import Get, GetStatus, KeyCreate, Ping, Prune, Set, Stop, Watch
from tests.support.daemon import Line, RunningDaemon, StartFailed, eventually

TLS = Path(__file__).parent / "tls"

WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
from stash_daemon.__main__ import main
sys.exit(main([]))
"""

FEW_DESCRIPTORS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.execv(sys.executable, [sys.executable, "-P", "-m", "stash_daemon"])
"""

ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-P", "-m", "stash_daemon"])
"""


def test_a_value_comes_back_bit_for_bit_over_another_connection() -> None:
    value = bytes(range(256)) * 1000
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            assert line.call(Set(key="k"), value)[0]["reply"]["size"] == len(value)
        with daemon.connect() as line:
            assert line.call(Get(key="k"))[1] == value


def test_an_acknowledged_write_survives_kill_9_and_the_socket_left_behind_is_recovered() -> None:
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            for number in range(100):
                line.call(Set(key=f"k{number}"), b"v")
        daemon.kill()
        assert daemon.socket.is_socket()
        daemon.restart()
        with daemon.connect() as line:
            assert line.call(GetStatus())[0]["reply"]["entries"] == 100


def test_a_second_daemon_names_the_first_and_exits_with_9() -> None:
    with RunningDaemon() as daemon:
        with pytest.raises(StartFailed) as failed:
            RunningDaemon(home=daemon.home)
        assert failed.value.status == 9
        assert f"pid {daemon.pid}" in failed.value.said
        with daemon.connect() as line:
            assert "reply" in line.call(Ping())[0]


def test_a_daemon_of_another_home_does_not_steal_the_socket() -> None:
    with RunningDaemon() as daemon:
        with pytest.raises(StartFailed) as failed:
            RunningDaemon(environ={"STASH_SOCKET": str(daemon.socket)})
        assert failed.value.status == 9
        assert f"pid {daemon.pid}" in failed.value.said
        with daemon.connect() as line:
            assert "reply" in line.call(Ping())[0]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--colour", "blue"], "colour"),
        (["--tcp", "0.0.0.0:0"], "tls_cert"),
        (["--max-memory", "lots"], "max-memory"),
        (["serve"], "serve"),
        (["--ready-fd"], "ready-fd"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_and_exit_2(tmp_path: Path, flags: list[str], named: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stash_daemon", *flags],
        env={**os.environ, "STASH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr.replace("_", "-") or named in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_0_and_removes_the_socket(number: signal.Signals) -> None:
    with RunningDaemon() as daemon, daemon.connect() as line:
        os.kill(daemon.pid, number)
        assert daemon.wait() == 0
        assert not daemon.socket.exists()
        assert line.ended()


def test_what_is_in_flight_is_finished_before_it_stops() -> None:
    with RunningDaemon() as daemon, daemon.connect() as line:
        for number in range(2000):
            line.send(Set(key=f"k{number}"), b"v")
        assert all("reply" in line.read()[0] for _ in range(2000))
        line.send(Prune(id=9, keep_newest=0))
        with daemon.connect() as other:
            assert "reply" in other.call(Stop())[0]
        envelope, _ = line.read()
        assert envelope["id"] == 9
        assert envelope["reply"]["pruned"] == 2000
        assert line.ended()
        assert daemon.wait() == 0


def test_a_watch_and_a_waiting_get_do_not_hold_up_the_stop() -> None:
    with RunningDaemon() as daemon, daemon.connect() as line:
        assert "reply" in line.call(Watch(id=1))[0]
        line.send(Get(id=2, key="never", wait_ms=60_000, timeout_ms=60_000))
        line.call(Ping(id=3))
        os.kill(daemon.pid, signal.SIGTERM)
        assert line.ended()
        assert daemon.wait() == 0


def test_a_client_that_hangs_in_the_middle_of_a_frame_does_not_hold_up_the_stop_for_ever() -> None:
    with RunningDaemon() as daemon, daemon.connect() as line:
        line.send_bytes(b"\0\0")
        line_two = daemon.connect()
        line_two.call(Ping())
        assert daemon.stop() == 0
        line_two.close()


def test_sighup_takes_the_api_keys_as_the_file_has_them_now() -> None:
    with RunningDaemon("--tcp", "127.0.0.1:0") as daemon, daemon.connect() as line:
        secret = line.call(KeyCreate(name="bot"))[0]["reply"]["api_key"]
        with daemon.connect(api_key=secret, tcp=True) as remote:
            assert "reply" in remote.call(Set(key="k"), b"v")[0]
            (daemon.home / "config.toml").write_text("")
            os.kill(daemon.pid, signal.SIGHUP)
            eventually(lambda: "error" in remote.call(Get(key="k"))[0])
            assert remote.call(Get(key="k"))[0]["error"]["code"] == "unauthenticated"
            (daemon.home / "config.toml").write_text("keys = 3")
            os.kill(daemon.pid, signal.SIGHUP)
        eventually(lambda: "reload_refused" in (daemon.home / "stash.log").read_text())
        assert "reply" in line.call(Ping())[0]


def test_an_auto_started_daemon_leaves_when_nobody_needs_it() -> None:
    with RunningDaemon("--auto-started", "--idle-exit", "200ms") as daemon:
        assert daemon.wait() == 0
        assert daemon.said == ""
        assert not daemon.socket.exists()


def test_an_auto_started_daemon_stays_for_a_client_and_for_what_it_keeps() -> None:
    with RunningDaemon("--auto-started", "--idle-exit", "50ms") as daemon:
        with daemon.connect() as line:
            assert line.call(Get(key="never", wait_ms=300))[0]["error"]["code"] == "timeout"
            line.call(Set(key="k", ttl_ms=400), b"v")
        with daemon.connect() as line:
            assert line.call(Get(key="k"))[1] == b"v"
        assert daemon.wait() == 0


def test_tls_is_spoken_when_there_is_a_certificate() -> None:
    flags = ["--tcp", "127.0.0.1:0", "--tls-cert", str(TLS / "cert.pem"), "--tls-key", str(TLS / "key.pem")]
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    with RunningDaemon(*flags) as daemon, daemon.connect() as local:
        secret = local.call(KeyCreate(name="bot", tier="enterprise"))[0]["reply"]["api_key"]
        with Line(daemon.tcp) as line:
            line.sock = context.wrap_socket(line.sock, server_hostname="localhost")
            line.hello(api_key=secret)
            value = os.urandom(3_000_000)
            assert "reply" in line.call(Set(key="k"), value)[0]
            assert line.call(Get(key="k"))[1] == value


def test_tcp_needs_an_api_key_and_answers_no_plain_text_where_tls_is_spoken() -> None:
    with RunningDaemon("--tcp", "127.0.0.1:0") as daemon, Line(daemon.tcp) as line:
        assert line.hello(check=False)["error"]["code"] == "unauthenticated"
        assert line.ended()


def test_a_socket_that_systemd_listens_on_is_served_and_left_in_place(tmp_path: Path) -> None:
    with RunningDaemon() as probe:  # a short directory of the tests' own
        path = probe.home / "activated.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            process = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(listener.fileno())],
                env={**os.environ, "STASH_HOME": str(tmp_path)},
                pass_fds=[listener.fileno()],
                stderr=subprocess.DEVNULL,
            )
        try:
            with Line(str(path)) as line:
                line.hello()
                assert "reply" in line.call(Ping())[0]
                assert "reply" in line.call(Stop())[0]
            assert process.wait(10) == 0
            assert path.is_socket()
        finally:
            process.kill()
            process.wait()


def test_more_connections_than_allowed_are_turned_away_politely() -> None:
    with RunningDaemon("--max-connections", "3") as daemon:
        lines = [daemon.connect() for _ in range(3)]
        with Line(str(daemon.socket)) as refused:
            assert refused.read()[0]["error"]["code"] == "busy"
            assert refused.ended()
        lines.pop().close()
        eventually(lambda: _serves(daemon.socket))
        for line in lines:
            line.close()


def test_running_out_of_descriptors_turns_clients_away_and_passes(tmp_path: Path) -> None:
    with RunningDaemon() as other:  # for a short directory
        path = other.home / "few.sock"
        environ = {**os.environ, "STASH_HOME": str(tmp_path), "STASH_SOCKET": str(path)}
        process = subprocess.Popen([sys.executable, "-c", FEW_DESCRIPTORS], env=environ, stderr=subprocess.DEVNULL)
        lines: list[Line] = []
        try:
            eventually(path.is_socket)
            lines += (Line(str(path)) for _ in range(120))
            answers = [line.hello(check=False) for line in lines[:100]]
            served = [line for line, answer in zip(lines, answers, strict=False) if "reply" in answer]
            assert 0 < len(served) < 100
            assert {answer["error"]["code"] for answer in answers if "error" in answer} == {"busy"}
            assert all("reply" in line.call(Ping())[0] for line in served)
            for line in lines:
                line.close()
            eventually(lambda: _serves(path))
            log = tmp_path / "stash.log"
            assert not log.exists() or log.read_text().count("\n") < 200
        finally:
            for line in lines:
                line.close()
            process.terminate()
            assert process.wait(10) == 0


def test_it_runs_on_asyncios_own_loop_where_there_is_no_uvloop(tmp_path: Path) -> None:
    with RunningDaemon() as other:  # for a short directory
        path = other.home / "plain.sock"
        environ = {**os.environ, "STASH_HOME": str(tmp_path), "STASH_SOCKET": str(path)}
        process = subprocess.Popen([sys.executable, "-c", WITHOUT_UVLOOP], env=environ, stderr=subprocess.DEVNULL)
        try:
            eventually(path.is_socket)
            with Line(str(path)) as line:
                line.hello()
                value = os.urandom(3_000_000)
                for number in range(20):
                    line.send(Set(id=number, key=f"k{number}"), value)
                    assert "reply" in line.read()[0]
                for number in range(20):
                    line.send(Get(id=number, key=f"k{number}"))
                assert [line.read()[1] == value for _ in range(20)] == [True] * 20
        finally:
            process.terminate()
            assert process.wait(10) == 0


def _serves(path: Path) -> bool:
    with Line(str(path)) as line:
        return "reply" in line.hello(check=False)


def test_a_daemon_whose_socket_was_removed_makes_room_for_another() -> None:
    with RunningDaemon() as daemon:
        with daemon.connect() as line:
            line.call(Set(key="k"), b"v")
        daemon.socket.unlink()
        assert daemon.wait() == 0
        daemon.restart()
        with daemon.connect() as line:
            assert line.call(Get(key="k"))[1] == b"v"

"""The sockets a daemon listens on: private from the first moment, and nobody's is ever stolen."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_daemon.listen import (
    UnixSocket,
    activated,
    peer_of,
    private_directory,
    tcp_socket,
    tell_supervisor,
    tls_context,
)
from stash_daemon.settings import Settings
from stash_protocol.errors import BadRequest, Busy

TLS = Path(__file__).parent / "tls"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's."""
    path = Path(tempfile.mkdtemp(prefix="st"))
    yield path
    shutil.rmtree(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_socket_is_private_and_so_is_its_directory_even_under_a_generous_umask(short: Path) -> None:
    before = os.umask(0)
    try:
        made = UnixSocket(str(short / "home" / "stash.sock"))
    finally:
        os.umask(before)
    assert mode(short / "home" / "stash.sock") == 0o600
    assert mode(short / "home") == 0o700
    made.remove()
    made.listener.close()


def test_a_directory_of_ours_that_is_open_to_others_is_made_private(short: Path) -> None:
    (short / "home").mkdir()
    (short / "home").chmod(0o755)
    private_directory(str(short / "home"))
    assert mode(short / "home") == 0o700


def test_a_file_where_the_directory_should_be_is_refused(short: Path) -> None:
    (short / "home").write_text("")
    with pytest.raises(BadRequest, match="not a directory"):
        private_directory(str(short / "home"))


def test_a_directory_or_a_link_of_another_user_is_refused(short: Path) -> None:
    if os.geteuid() != 0:  # only root can make what another user owns; root's own directory is another user's to us
        with pytest.raises(BadRequest, match="uid 0"):
            private_directory("/usr")
        return
    (short / "theirs").mkdir()
    os.chown(short / "theirs", 12345, 12345)
    with pytest.raises(BadRequest, match="uid 12345"):
        private_directory(str(short / "theirs"))
    (short / "ours").mkdir()
    (short / "link").symlink_to(short / "ours")
    os.lchown(short / "link", 12345, 12345)
    with pytest.raises(BadRequest, match="uid 12345"):
        private_directory(str(short / "link"))


def test_a_live_socket_is_refused_with_the_pid_behind_it_and_goes_on_working(short: Path) -> None:
    path = str(short / "stash.sock")
    first = UnixSocket(path)
    with pytest.raises(Busy, match=rf"pid {os.getpid()}\b"):
        UnixSocket(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    first.remove()
    first.listener.close()


def test_a_dead_socket_is_recovered(short: Path) -> None:
    path = str(short / "stash.sock")
    UnixSocket(path).listener.close()
    assert Path(path).is_socket()
    second = UnixSocket(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    second.remove()
    second.listener.close()
    assert not Path(path).exists()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "dangling", "fifo"])
def test_whatever_else_stands_at_the_path_is_refused_and_left_untouched(short: Path, kind: str) -> None:
    path = short / "stash.sock"
    target = short / "target"
    match kind:
        case "file":
            path.write_text("mine")
        case "directory":
            path.mkdir()
        case "symlink":
            target.write_text("mine")
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(target)
        case _:
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(BadRequest, match="not a socket"):
        UnixSocket(str(path))
    assert path.lstat() == before
    assert kind == "symlink" or not target.exists()


def test_a_socket_that_was_replaced_is_not_removed(short: Path) -> None:
    path = str(short / "stash.sock")
    first = UnixSocket(path)
    Path(path).unlink()
    second = UnixSocket(path)
    first.remove()
    assert Path(path).is_socket()
    second.remove()
    first.listener.close()
    second.listener.close()


def test_a_path_of_103_bytes_works_and_one_of_104_is_refused(short: Path) -> None:
    longest = str(short) + "/" + "s" * (103 - len(str(short)) - 1)
    made = UnixSocket(longest)
    made.remove()
    made.listener.close()
    with pytest.raises(BadRequest, match="103 bytes"):
        UnixSocket(longest + "s")


def test_the_peer_of_a_unix_socket_is_this_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == (os.geteuid(), os.getpid())


def test_port_0_takes_a_free_port() -> None:
    with tcp_socket("127.0.0.1:0", tls=False) as listener, socket.create_connection(listener.getsockname()):
        assert listener.getsockname()[1] > 0


def test_ipv6_loopback_is_loopback() -> None:
    if not socket.has_ipv6:
        return
    with tcp_socket("[::1]:0", tls=False) as listener:
        assert listener.family == socket.AF_INET6


def test_a_port_that_is_taken_is_busy() -> None:
    with tcp_socket("127.0.0.1:0", tls=False) as listener, pytest.raises(Busy, match="listens"):
        tcp_socket(f"127.0.0.1:{listener.getsockname()[1]}", tls=False)


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0"])
def test_off_loopback_needs_tls(where: str) -> None:
    with pytest.raises(BadRequest, match="tls_cert"):
        tcp_socket(where, tls=False)
    tcp_socket(where, tls=True).close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot listen"):
        tcp_socket("192.0.2.1:0", tls=True)


def test_tls_is_1_2_or_newer_and_needs_both_files() -> None:
    import ssl

    cert, key = str(TLS / "cert.pem"), str(TLS / "key.pem")
    context = tls_context(Settings(tls_cert=cert, tls_key=key))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls_context(Settings()) is None
    with pytest.raises(BadRequest, match="belong together"):
        tls_context(Settings(tls_cert=cert))
    with pytest.raises(BadRequest, match="tls_key"):
        tls_context(Settings(tls_cert=cert, tls_key=str(TLS / "none.pem")))
    with pytest.raises(BadRequest, match="tls_key"):
        tls_context(Settings(tls_cert=cert, tls_key=cert))


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert activated() == []
    assert "LISTEN_FDS" not in os.environ


def test_the_supervisor_is_told_when_it_asked(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(short / "notify"))
        supervisor.settimeout(5)
        tell_supervisor("READY=1")
        monkeypatch.setenv("NOTIFY_SOCKET", str(short / "notify"))
        tell_supervisor("STOPPING=1")
        assert supervisor.recv(64) == b"STOPPING=1"

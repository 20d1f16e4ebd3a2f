"""Network: TLS from 1.2 on, nobody waits for a handshake that never comes, and guessing slows only the guesser."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, StartFailed, eventually
from tests.support.tenants import answer, issue

TLS = Path(__file__).parents[1] / "daemon" / "tls"
CERTIFICATE = ["--tls-cert", str(TLS / "cert.pem"), "--tls-key", str(TLS / "key.pem")]
HALF_OPEN = 100
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 40  # the first third of one
GUESSES = 8
HASTE = "from stash_daemon import app\napp.HANDSHAKE_PATIENCE = 1.0\n"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(TLS / "cert.pem"))


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """One that speaks TLS, and has less patience with handshakes than is shipped."""
    with RunningDaemon("--tcp", "127.0.0.1:0", *CERTIFICATE, before=HASTE) as daemon:
        yield daemon


@contextlib.contextmanager
def encrypted(daemon: RunningDaemon, context: ssl.SSLContext | None = None) -> Iterator[Line]:
    with Line(daemon.tcp) as line:
        line.sock = (context or trusting()).wrap_socket(line.sock, server_hostname="localhost")
        yield line


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0"])
def test_off_loopback_without_tls_it_does_not_start(where: str) -> None:
    with pytest.raises(StartFailed, match="tls_cert") as failed:
        RunningDaemon("--tcp", where)
    assert (failed.value.status, failed.value.said.count("\n")) == (2, 1)


@pytest.mark.parametrize("encrypted_", [False, True], ids=["plain", "TLS"])
def test_over_tcp_nobody_is_let_in_without_an_api_key(daemon: RunningDaemon, encrypted_: bool) -> None:
    if encrypted_:
        with encrypted(daemon) as line:
            assert line.hello(check=False)["error"]["code"] == "unauthenticated"
        return
    with RunningDaemon("--tcp", "127.0.0.1:0") as plain, Line(plain.tcp) as line:
        assert line.hello(check=False)["error"]["code"] == "unauthenticated"
        assert line.ended()


def test_tls_older_than_1_2_is_refused(daemon: RunningDaemon) -> None:
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)), encrypted(daemon, context):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(daemon: RunningDaemon, version: ssl.TLSVersion) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    with encrypted(daemon, context) as line:
        line.hello(api_key=issue(daemon))
        assert line.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]  # type: ignore[attr-defined]
        assert answer(line, op.Ping())


def test_handshakes_that_never_end_hold_nobody_up_and_are_ended() -> None:
    with (
        RunningDaemon("--tcp", "127.0.0.1:0", *CERTIFICATE, before=HASTE) as daemon,
        ExitStack() as stack,
    ):
        api_key = issue(daemon)
        half_open = [stack.enter_context(contextlib.closing(_knock(daemon.tcp))) for _ in range(HALF_OPEN)]
        for sock in half_open[::2]:
            sock.sendall(CLIENT_HELLO)
        began = time.monotonic()
        with encrypted(daemon) as line:
            line.hello(api_key=api_key)
            assert answer(line, op.Set(key="k"), b"v")
        assert time.monotonic() - began < 1.0
        for sock in half_open:
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
        with daemon.connect() as line:
            eventually(lambda: answer(line, op.GetStatus())["connections"] == 1)


def _knock(where: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(where, 10, source_address=(source, 0))


def guess(daemon: RunningDaemon, source: str, api_key: str) -> dict[str, object]:
    """Say hello over TCP, from one of the loopback's addresses."""
    with contextlib.closing(_knock(daemon.tcp, source)) as sock, Line(str(daemon.socket)) as line:
        line.sock.close()
        line.sock = sock
        return line.hello(api_key=api_key, check=False)


def test_who_guesses_api_keys_is_slowed_down_and_nobody_else_is() -> None:
    with RunningDaemon("--tcp", "127.0.0.1:0") as daemon:
        api_key = issue(daemon)
        outcomes = [guess(daemon, "127.0.0.1", f"sk_{n:043}")["error"] for n in range(GUESSES)]
        assert {error["code"] for error in outcomes} == {"unauthenticated"}  # type: ignore[index]
        waits = [error.get("retry_after", 0) for error in outcomes]  # type: ignore[attr-defined]
        assert waits[0] == 0
        assert waits[-1] > 0
        assert "error" in guess(daemon, "127.0.0.1", api_key), "the right one is not even looked at meanwhile"
        with daemon.connect(api_key=api_key) as line:
            assert answer(line, op.Ping())

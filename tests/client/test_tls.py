"""Over TLS a client talks to nobody but the daemon whose name the certificate has."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stash_memory import Stash, Unreachable
from tests.client.ways import opened
from tests.support.daemon import RunningDaemon

both = pytest.mark.parametrize("mode", ["sync", "async"])


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="st"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    yield directory / "cert.pem"
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def daemon(certificate: Path) -> Iterator[RunningDaemon]:
    flags = ["--tcp", "127.0.0.1:0", "--tls-cert", str(certificate), "--tls-key", str(certificate.with_name("key.pem"))]
    with RunningDaemon(*flags) as daemon:
        yield daemon


@both
@pytest.mark.timeout(20)  # a wait that ends in a second try would pass unseen otherwise
def test_values_go_both_ways(mode: str, daemon: RunningDaemon, certificate: Path, api_key_of_tls: str) -> None:
    url = f"tls://localhost:{daemon.tcp[1]}"
    with opened(mode, url=url, api_key=api_key_of_tls, tls_ca=certificate) as stash:
        for size in (1, 100_000, 900_000):
            stash.set("k", bytes(size))
            assert stash.get("k") == bytes(size)
        first, second = stash.pipeline().incr("n").incr("n").run()
        assert stash.incr("n") == second + 1 == first + 2
        with stash.watch("w") as watch:
            assert watch.next(0.01) is None
            stash.set("w", "v")
            assert watch.next(10).key == "w"


@both
def test_a_certificate_nobody_vouches_for_is_refused(mode: str, daemon: RunningDaemon, api_key_of_tls: str) -> None:
    with (
        opened(mode, url=f"tls://localhost:{daemon.tcp[1]}", api_key=api_key_of_tls) as stash,
        pytest.raises(Unreachable, match="TLS"),
    ):
        stash.ping()


@both
def test_a_certificate_of_another_name_is_refused(
    mode: str, daemon: RunningDaemon, certificate: Path, api_key_of_tls: str
) -> None:
    with (
        opened(mode, url=f"tls://127.0.0.1:{daemon.tcp[1]}", api_key=api_key_of_tls, tls_ca=certificate) as stash,
        pytest.raises(Unreachable, match="TLS"),
    ):
        stash.ping()


@pytest.fixture(scope="module")
def api_key_of_tls(daemon: RunningDaemon) -> str:
    with Stash(socket=daemon.socket) as admin:
        return admin.api_keys.create("tls", tier="enterprise").secret

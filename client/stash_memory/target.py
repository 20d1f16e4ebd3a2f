"""Which daemon: where it is, who we are there, and whether it may be started."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from stash_memory import autostart, given
from stash_protocol.address import Address
from stash_protocol.errors import BadRequest, Timeout, Unreachable

if TYPE_CHECKING:
    import _socket
    import ssl


class Target(NamedTuple):
    """One daemon, as one caller reaches it.

    Attributes:
        tls: how its certificate is verified; None where the address has no TLS.
    """

    address: Address
    api_key: str | None
    autostart: bool
    tls: ssl.SSLContext | None

    def connect(self, timeout: float) -> _socket.socket | ssl.SSLSocket:
        """A connected socket; over TLS with the handshake made, and the daemon's name verified.

        Raises:
            Unreachable: no daemon answers, or not the one its certificate should be of.
            Timeout: the time ran out.
        """
        deadline = time.monotonic() + timeout
        plain = autostart.connect(self.address, timeout, autostart=self.autostart)
        if self.tls is None:
            return plain
        try:
            plain.settimeout(max(autostart.POLL, deadline - time.monotonic()))
            return self.tls.wrap_socket(plain, server_hostname=self.address.host)  # type: ignore[arg-type]  # any will do
        except TimeoutError:
            plain.close()
            raise Timeout(f"{self.address} did not answer within {timeout:g} s") from None
        except OSError as error:
            plain.close()
            raise Unreachable(f"no TLS with {self.address}: {error}") from None


def is_embedded(
    backend: str | None, path: str | os.PathLike[str] | None, **of_a_daemon: str | os.PathLike[str] | None
) -> bool:
    """Whether the arguments ask for a stash in this process.

    Raises:
        BadRequest: they contradict each other.
    """
    if backend is None:
        if path is not None:
            raise BadRequest('path belongs to backend="sqlite"')
        return False
    if backend not in ("sqlite", "memory"):
        raise BadRequest(f'backend is "sqlite" or "memory", not {backend!r}; leave it out for the daemon')
    if (backend == "sqlite") != bool(path):
        raise BadRequest('backend="sqlite" needs the path of its file' if not path else 'backend="memory" has no path')
    if path == ":memory:":  # SQLite's word for it; a file of that name is nobody's wish
        raise BadRequest('a stash that keeps nothing is backend="memory", without a path')
    for name, value in of_a_daemon.items():
        if value is not None:
            raise BadRequest(f"{name} belongs to a daemon, and backend={backend!r} has none")
    return True


def find(
    url: str | None,
    socket: str | os.PathLike[str] | None,
    api_key: str | None,
    tls_ca: str | os.PathLike[str] | None,
) -> Target:
    """The daemon the arguments name, else the environment, else the configuration file, else the user's own.

    Raises:
        BadRequest: they contradict each other, name no address, or say neither yes nor no to autostart.
    """
    if url is not None and socket is not None:
        raise BadRequest("give url or socket, not both")
    config = given.read_config()
    address = given.address(url, os.fspath(socket) if socket else None, config)
    autostarts = autostart.may_start(config) and address.scheme == "unix"
    tls = None
    if address.scheme == "tls":
        import ssl  # 8 ms, and few need it

        try:
            tls = ssl.create_default_context(cafile=tls_ca)
        except OSError as error:
            raise BadRequest(f"the CA certificates in {tls_ca} cannot be read: {error}") from None
    return Target(address, api_key or given.api_key(config), autostarts, tls)

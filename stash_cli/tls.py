"""TLS on a connected socket; only for ``tls://`` addresses, for `ssl` takes as long as two hot verbs."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from stash_protocol.errors import Timeout, Unreachable

if TYPE_CHECKING:
    import _socket

    from stash_protocol.address import Address


def secure(connected: _socket.socket, address: Address, timeout: float) -> ssl.SSLSocket:
    """The same connection under TLS, with the server's certificate checked.

    Authorities are the system's; ``SSL_CERT_FILE`` names others, as everywhere.

    Raises:
        Unreachable: the certificate is not trusted, or the other end does not speak TLS.
        Timeout: it does not answer in time.
    """
    plain = socket.socket(fileno=connected.detach())
    plain.settimeout(timeout)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=address.host)
    except TimeoutError:
        raise Timeout(f"no TLS handshake with {address} within {timeout:g} s") from None
    except OSError as error:
        plain.close()
        reason = getattr(error, "verify_message", "") or error.strerror or str(error)
        raise Unreachable(f"no TLS with {address}: {reason}; SSL_CERT_FILE names a certificate to trust") from None

"""One POST to an embedder, with one deadline for all of it and a bound on what comes back.

Redirects are not followed and no proxy is asked: texts and API key go where the settings say, and nowhere else.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from stash_daemon.search.embedders import EmbedderFailed
from stash_protocol.errors import BadRequest

MAX_RETRY_AFTER = 600.0  # seconds: whatever a server asks for
REFUSES_THE_TEXT = (400, 413, 422)  # statuses that are about what was sent, not about the server
TIMED_OUT = "did not answer in time"


class Endpoint(NamedTuple):
    """Where an embedder listens.

    Attributes:
        path: of its interface, without a slash at the end.
    """

    secure: bool
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        """For messages: without the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read an API key."""
        if self.secure or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def endpoint(url: str, where: str, default_port: int | None = None) -> Endpoint:
    """Read a URL.

    Args:
        url: of http or https.
        where: the setting or variable it is from, for the error.
        default_port: where it names none; None: the scheme's.

    Raises:
        BadRequest: it is no such URL; what is in it is not repeated, it might be a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadRequest(f"{where} is not a URL such as http://127.0.0.1:11434") from None
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise BadRequest(f"{where} is not a URL such as http://127.0.0.1:11434")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadRequest(f"{where} has more than host, port and path; an API key belongs in STASH_EMBEDDER_API_KEY")
    secure = parts.scheme == "https"
    port = port or default_port or (443 if secure else 80)
    return Endpoint(secure, parts.hostname, port, parts.path.rstrip("/"))


class Post:
    """Sends one request at a time, or several from several threads, until it is closed."""

    def __init__(self, where: Endpoint, headers: Mapping[str, str]) -> None:
        self.where = where
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        self._tls = ssl.create_default_context() if where.secure else None
        self._under_way: set[_Connection] = set()
        self._closed = False

    def __call__(self, path: str, body: bytes, *, timeout: float, limit: int) -> bytes:
        """What the server answers with 200.

        Args:
            path: after the endpoint's own.
            body: JSON.
            timeout: seconds for all of it, from the connection to the last byte.
            limit: bytes the answer may have.

        Raises:
            EmbedderFailed: no answer, another status, too long.
        """
        connection = _Connection(self.where, self._tls, time.monotonic() + timeout)
        self._under_way.add(connection)
        try:
            if self._closed:
                raise EmbedderFailed("is closed")
            connection.request("POST", self.where.path + path, body, self._headers)
            return _answer(connection.getresponse(), limit)
        except TimeoutError:
            raise EmbedderFailed(TIMED_OUT) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EmbedderFailed(_reason(error)) from None
        finally:
            self._under_way.discard(connection)
            connection.end()

    def close(self) -> None:
        """End what is under way."""
        self._closed = True
        for connection in tuple(self._under_way):
            connection.abort()


def _answer(response: http.client.HTTPResponse, limit: int) -> bytes:
    status = response.status
    if 300 <= status < 400:
        raise EmbedderFailed(f"redirects elsewhere (status {status}), which is not followed: set embedder_url to that")
    if status != http.client.OK:
        reason = {401: "wants another API key", 403: "wants another API key", 404: "has no such model or path"}
        raise EmbedderFailed(
            f"{reason.get(status, 'refused')} (status {status})",
            permanent=status in REFUSES_THE_TEXT,
            retry_after=_seconds(response.getheader("Retry-After")) if status in (429, 503) else None,
        )
    announced = response.length or 0
    answer = response.read(limit + 1) if announced <= limit else b""
    if announced > limit or len(answer) > limit:
        raise EmbedderFailed(f"answered with more than {limit:,} bytes")
    return answer


def _seconds(text: str | None) -> float | None:
    return min(float(text), MAX_RETRY_AFTER) if text and text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "has a host name nobody knows"
    if isinstance(error, ssl.SSLError):
        return f"cannot be trusted: TLS failed ({error.reason or type(error).__name__})"
    if isinstance(error, OSError) and not isinstance(error, http.client.RemoteDisconnected):
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    return f"does not speak HTTP as it should ({type(error).__name__})"


class _Connection(http.client.HTTPConnection):
    """One connection whose every wait ends at the same time, however slowly bytes drip in."""

    def __init__(self, where: Endpoint, tls: ssl.SSLContext | None, deadline: float) -> None:
        super().__init__(where.host, where.port)
        self._tls = tls
        self._deadline = deadline
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Called by `request`."""
        raw = socket.create_connection((self.host, self.port), _left(self._deadline))
        self._socket = raw
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                raw.settimeout(_left(self._deadline))
                self._socket = raw = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise
        self.sock: Any = _Timed(raw, self._deadline)

    def end(self) -> None:
        """Close it, and what was read from it."""
        self.close()
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """From another thread: whoever waits for it waits no more."""
        try:
            if self._socket is not None:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:  # it has ended by itself
            return


class _Timed:
    """As much of a socket as `http.client` uses, with a deadline."""

    def __init__(self, raw: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._raw.settimeout(_left(self._deadline))
        self._raw.sendall(data)

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_Reader(self._raw, self._deadline))

    def close(self) -> None:
        """An answer without a length is read after this; `_Connection.end` closes."""


class _Reader(io.RawIOBase):
    def __init__(self, raw: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw.settimeout(_left(self._deadline))
        return self._raw.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

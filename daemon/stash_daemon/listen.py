"""The sockets a daemon listens on, made so that nobody else can ever connect, and nobody's socket is ever stolen.

asyncio's own ``path=`` unlinks whatever listens there, alive or not; so the sockets are bound here and handed over
ready. Call everything here under the owner lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stash_protocol.address import MAX_SOCKET_PATH, split_host_port
from stash_protocol.errors import BadRequest, Busy

if TYPE_CHECKING:
    from ssl import SSLContext

    from stash_daemon.settings import Settings

BACKLOG = 1024  # connections waiting to be accepted: a burst of that many commands finds room
PROBE_PATIENCE = 1.0  # seconds a listener may take to accept the probe before it counts as alive
FIRST_ACTIVATED = 3  # the first descriptor systemd passes


class UnixSocket:
    """A listening Unix socket and the file it stands in the directory as.

    Attributes:
        path: absolute, at most 103 bytes.
        listener: bound and listening, mode 0600.
    """

    def __init__(self, path: str) -> None:
        """Make the directory and the socket.

        Raises:
            Busy: another process listens there; the message names it.
            BadRequest: the path is too long, or something else than a dead socket of ours stands there.
        """
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise BadRequest(f"the socket path is longer than {MAX_SOCKET_PATH} bytes; set STASH_SOCKET: {path}")
        self.path = path
        private_directory(os.path.dirname(path))
        with _only_one_at_a_time(os.path.dirname(path)):
            _make_way(path)
            self.listener = _bind(path)
        self._identity = _identity(path)

    @property
    def stands(self) -> bool:
        """Whether the file is still there and this socket's: else nobody can find it."""
        with contextlib.suppress(OSError):
            return _identity(self.path) == self._identity
        return False

    def remove(self) -> None:
        """Take the file away, if it is still this socket's."""
        with contextlib.suppress(FileNotFoundError), _only_one_at_a_time(os.path.dirname(self.path)):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)


def private_directory(path: str) -> None:
    """Make a directory, or make one that is ours, private (0700).

    Raises:
        BadRequest: it is another user's, a symlink another user made, or not a directory.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        for found in (os.lstat(path), os.stat(path)):
            if found.st_uid != os.geteuid():
                raise BadRequest(f"{path} belongs to uid {found.st_uid}; the daemon's directory must be its own user's")
        if not stat.S_ISDIR(found.st_mode):
            raise BadRequest(f"{path} is not a directory")
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(path, 0o700)
    except OSError as error:
        raise BadRequest(f"{path} cannot be the daemon's directory: {error.strerror}") from None


@contextlib.contextmanager
def _only_one_at_a_time(directory: str) -> Iterator[None]:
    """Two daemons of two data directories may be told the same socket path; probing and binding is one step."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_way(path: str) -> None:
    """Remove a dead socket of ours; refuse everything else that stands at the path."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BadRequest(f"{path} is not a socket; it is left untouched, set STASH_SOCKET to another path")
    if found.st_uid != os.geteuid():
        raise BadRequest(f"{path} is a socket of uid {found.st_uid}; it is left untouched")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_PATIENCE)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError:  # a full backlog or a listener that hangs: somebody is there
            raise Busy(f"another process listens on {path}") from None
        raise Busy(f"the process with pid {peer_of(probe)[1]} listens on {path}")


def _bind(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket appears with mode 0600: no moment in which another user could connect
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Busy(f"another process listens on {path}") from None
        raise BadRequest(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Uid and pid of the process at the other end of a Unix socket.

    Raises:
        OSError: the other end has gone already.
    """
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = struct.unpack("iII", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return uid, pid
    sol_local, local_peercred, local_peerpid = 0, 1, 2  # macOS, <sys/un.h>; Python does not name them
    credentials = connected.getsockopt(sol_local, local_peercred, 76)  # struct xucred: version, uid, groups
    return struct.unpack_from("I", credentials, 4)[0], connected.getsockopt(sol_local, local_peerpid)


# ── TCP ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tcp_socket(where: str, *, tls: bool) -> socket.socket:
    """A listening TCP socket at ``host:port``; port 0 takes a free one.

    Raises:
        BadRequest: not an address, not this machine's, or off loopback without TLS.
        Busy: the port is taken.
    """
    host, port = split_host_port(where)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError:
        raise BadRequest(f"tcp: {host!r} is not an address of this machine") from None
    refuse_open_door(str(address[0]), tls=tls)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Busy(f"tcp: another process listens on {where}") from None
        raise BadRequest(f"tcp: cannot listen on {where}: {error.strerror}") from None
    return listener


def refuse_open_door(host: str, *, tls: bool) -> None:
    """Raise BadRequest for a host that others can reach, unless what they say there is encrypted."""
    import ipaddress

    if not tls and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise BadRequest(f"tcp: {host} can be reached from elsewhere; set tls_cert and tls_key, or use 127.0.0.1")


def tls_context(settings: Settings) -> SSLContext | None:
    """TLS 1.2 or newer with the certificate of the settings; None when they name none.

    Raises:
        BadRequest: only one of the two files is named, or they cannot be used.
    """
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise BadRequest("tls_cert and tls_key belong together; one of them is missing")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise BadRequest(f"tls_cert, tls_key: {error.strerror or error}") from None
    return context


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────────────────────


def activated() -> list[socket.socket]:
    """The sockets systemd listens on for this process; it forgets them, so that children do not find them."""
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    sockets = [socket.socket(fileno=FIRST_ACTIVATED + number) for number in range(int(count))]
    for inherited in sockets:
        os.set_inheritable(inherited.fileno(), False)  # noqa: FBT003  (positional only)
    return sockets


def tell_supervisor(state: str) -> None:
    """Say ``READY=1`` or ``STOPPING=1`` to systemd, when it asked to be told."""
    where = os.environ.get("NOTIFY_SOCKET")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(state.encode(), "\0" + where[1:] if where.startswith("@") else where)

"""Where things are: the directories of one user's stash, and the addresses a daemon can have.

`platformdirs` says the same of directories (a test compares), but costs twice a whole hot verb to import. The
socket lives in the data directory, not in ``XDG_RUNTIME_DIR``: cron has no such variable, and a cron job must reach
the daemon its user's shell reaches.
"""

from __future__ import annotations

import os
import sys

from stash_protocol.errors import BadRequest

DEFAULT_PORT = 7437
MAX_SOCKET_PATH = 103  # bytes: macOS's sun_path less its closing zero; Linux has four more


def directory(kind: str, environ: dict[str, str] | None = None) -> str:
    """The user's directory for ``"config"``, ``"data"`` or ``"log"``; ``STASH_HOME`` puts all three in one.

    Raises:
        BadRequest: ``STASH_HOME`` is relative: every working directory would have a store and a daemon of its own.
    """
    env = os.environ if environ is None else environ
    home = env.get("STASH_HOME")
    if home:
        path = os.path.expanduser(home)
        if not os.path.isabs(path):
            raise BadRequest(f"STASH_HOME must be an absolute path, not {home!r}")
        return os.path.normpath(path)
    user = env.get("HOME") or os.path.expanduser("~")
    if sys.platform == "darwin":
        return user + ("/Library/Logs/stash" if kind == "log" else "/Library/Application Support/stash")
    variable, fallback = {
        "config": ("XDG_CONFIG_HOME", "/.config"),
        "data": ("XDG_DATA_HOME", "/.local/share"),
        "log": ("XDG_STATE_HOME", "/.local/state"),
    }[kind]
    return (env.get(variable) or user + fallback) + ("/stash/log" if kind == "log" else "/stash")


def config_path(environ: dict[str, str] | None = None) -> str:
    """The configuration file.

    Raises:
        BadRequest: see `directory`.
    """
    return directory("config", environ) + "/config.toml"


def socket_path(environ: dict[str, str] | None = None) -> str:
    """The daemon's socket: ``STASH_SOCKET``, or ``stash.sock`` in the data directory.

    Raises:
        BadRequest: the path is longer than a socket's may be; or see `directory`.
    """
    env = os.environ if environ is None else environ
    path = os.path.abspath(env.get("STASH_SOCKET") or directory("data", environ) + "/stash.sock")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise BadRequest(
            f"the socket path has {len(os.fsencode(path))} bytes, a socket's may have {MAX_SOCKET_PATH}; "
            f"set STASH_SOCKET to a shorter one: {path}"
        )
    return path


class Address:
    """Where a daemon listens.

    Attributes:
        scheme: ``"unix"``, ``"tcp"`` or ``"tls"``.
        path: the socket's path, for ``unix``; else empty.
        host, port: for ``tcp`` and ``tls``; else empty and 0.
    """

    __slots__ = ("host", "path", "port", "scheme")

    def __init__(self, scheme: str, path: str = "", host: str = "", port: int = 0) -> None:
        self.scheme = scheme
        self.path = path
        self.host = host
        self.port = port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.path}" if self.scheme == "unix" else f"{self.scheme}://{host}:{self.port}"


def parse_address(url: str) -> Address:
    """The address in ``unix:///path``, ``tcp://host:port`` or ``tls://host:port``.

    Raises:
        BadRequest: none of these.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "unix" and rest:
        return Address("unix", path=socket_path({"STASH_SOCKET": rest}))
    if separator and scheme in ("tcp", "tls") and rest:
        host, port = split_host_port(rest.rstrip("/"))
        return Address(scheme, host=host, port=port)
    raise BadRequest(f"{url!r} is not an address; write unix:///path, tcp://host:port or tls://host:port")


def split_host_port(text: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``:port`` or ``[::1]:port``; 127.0.0.1 and 7437 when left out.

    Raises:
        BadRequest: the port is not one.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise BadRequest(f"{text!r} is not host:port")
    return host or "127.0.0.1", int(port or DEFAULT_PORT)

"""What clients are given: the daemon's address and the caller's API key, by environment and configuration file.

The hot verbs of the command line load this module, so it imports next to nothing.
"""

from __future__ import annotations

import os

from stash_protocol.address import Address, config_path, parse_address, socket_path

SETTINGS = ("url", "api_key", "autostart")  # `CLIENT_SETTINGS` of the daemon, which ignores them; a test compares
CONFIG_HEAD = 1 << 16  # bytes of the configuration file that are looked at: clients' settings stand above all tables


def read_config() -> dict[str, str]:
    """The clients' settings (`url`, `api_key`, `autostart`) of the configuration file; it need not exist.

    They stand above the first table, one a line, as TOML has it. Reading just those takes 0.1 ms; a TOML parser 12.

    Raises:
        BadRequest: ``STASH_HOME`` is relative.
    """
    try:
        with open(config_path(), "rb") as file:
            text = file.read(CONFIG_HEAD).decode(errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if line.lstrip().startswith("["):
            break
        if equals and name.strip() in SETTINGS:
            found[name.strip()] = _toml_scalar(value.strip())
    return found


def _toml_scalar(text: str) -> str:
    quote = text[:1]
    if quote in ('"', "'") and text.find(quote, 1) > 0 and "\\" not in text:
        return text[1 : text.find(quote, 1)]
    return text.partition("#")[0].strip()


def address(url: str | None, socket: str | None, config: dict[str, str]) -> Address:
    """Where the daemon is: what was said in so many words, then environment, then configuration.

    Args:
        url: as `parse_address` takes it.
        socket: the path of a Unix socket; whoever takes both has refused them together.
        config: as `read_config` found it.

    Raises:
        BadRequest: not an address.
    """
    if socket:
        return Address("unix", path=socket_path({"STASH_SOCKET": socket}))
    if not url:
        url = os.environ.get("STASH_URL")
        if not url and not os.environ.get("STASH_SOCKET"):
            url = config.get("url")
    return parse_address(url) if url else Address("unix", path=socket_path())


def api_key(config: dict[str, str]) -> str | None:
    """The caller's API key, if there is one: environment, then configuration."""
    return os.environ.get("STASH_API_KEY") or config.get("api_key") or None

from __future__ import annotations

import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from stash_protocol.address import (
    DEFAULT_PORT,
    MAX_SOCKET_PATH,
    Address,
    config_path,
    directory,
    parse_address,
    socket_path,
    split_host_port,
)
from stash_protocol.errors import BadRequest

XDG = {"config": "XDG_CONFIG_HOME", "data": "XDG_DATA_HOME", "log": "XDG_STATE_HOME"}


@pytest.mark.parametrize("kind", XDG)
@pytest.mark.parametrize("set_variable", [False, True])
def test_directories_are_where_platformdirs_has_them_on_linux(
    kind: str, set_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    environ = {"HOME": "/home/ada"} | ({XDG[kind]: "/elsewhere"} if set_variable else {})
    monkeypatch.setenv("HOME", environ["HOME"])
    monkeypatch.delenv(XDG[kind], raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert directory(kind, environ) == getattr(Unix("stash"), f"user_{kind}_dir")


@pytest.mark.parametrize("kind", XDG)
def test_directories_are_where_platformdirs_has_them_on_a_mac(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for name in XDG.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/Users/ada")
    assert directory(kind, {"HOME": "/Users/ada"}) == getattr(MacOS("stash"), f"user_{kind}_dir")


@pytest.mark.parametrize("kind", XDG)
def test_stash_home_puts_everything_in_one_directory(kind: str) -> None:
    environ = {"STASH_HOME": "/srv/../srv/stash", "XDG_DATA_HOME": "/x", "HOME": "/home/ada"}
    assert directory(kind, environ) == "/srv/stash"
    assert config_path(environ) == "/srv/stash/config.toml"
    assert socket_path(environ) == "/srv/stash/stash.sock"


@pytest.mark.parametrize("home", ["here", "./here", "~nobody-of-that-name/here"])
def test_a_relative_home_is_refused(home: str) -> None:
    for find in (config_path, socket_path):
        with pytest.raises(BadRequest, match="STASH_HOME must be an absolute path"):
            find({"STASH_HOME": home})


def test_a_home_may_begin_with_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert directory("data", {"STASH_HOME": "~/memory"}) == "/home/ada/memory"


def test_an_empty_variable_is_no_variable() -> None:
    assert directory("data", {"HOME": "/home/ada", "XDG_DATA_HOME": "", "STASH_HOME": ""}).startswith("/home/ada/")


def test_the_socket_can_be_named() -> None:
    assert socket_path({"STASH_SOCKET": "/run/s.sock", "STASH_HOME": "/srv"}) == "/run/s.sock"


def test_a_socket_path_of_the_longest_length_is_taken() -> None:
    assert len(socket_path({"STASH_SOCKET": "/" + "a" * (MAX_SOCKET_PATH - 1)})) == MAX_SOCKET_PATH


@pytest.mark.parametrize("path", ["/" + "a" * MAX_SOCKET_PATH, "/" + "é" * 52])
def test_a_socket_path_over_the_limit_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(BadRequest, match=r"a socket's may have 103; set STASH_SOCKET"):
        socket_path({"STASH_SOCKET": path})


@pytest.mark.parametrize(
    "url", ["unix:///run/s.sock", "tcp://127.0.0.1:7437", "tls://stash.example:443", "tcp://[::1]:7437"]
)
def test_an_address_is_written_as_it_is_read(url: str) -> None:
    assert str(parse_address(url)) == url


@given(
    st.sampled_from(["tcp", "tls"]),
    st.text(string.ascii_lowercase + string.digits + ".-", min_size=1) | st.ip_addresses().map(str),
    st.integers(0, 65_535),
)
def test_any_host_and_port_round_trip(scheme: str, host: str, port: int) -> None:
    address = parse_address(str(Address(scheme, host=host, port=port)))
    assert (address.scheme, address.host, address.port) == (scheme, host, port)


def test_a_trailing_slash_means_nothing() -> None:
    assert str(parse_address("tcp://host:1/")) == "tcp://host:1"


@pytest.mark.parametrize("url", ["", "unix://", "tcp://", "http://host", "/run/s.sock", "host:7437", "tcp:host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="is not an address"):
        parse_address(url)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "127.0.0.1", DEFAULT_PORT),
        ("host", "host", DEFAULT_PORT),
        (":80", "127.0.0.1", 80),
        ("host:80", "host", 80),
        ("[::1]", "::1", DEFAULT_PORT),
        ("[::1]:80", "::1", 80),
        ("host:0", "host", 0),
    ],
)
def test_host_and_port_may_be_left_out(text: str, host: str, port: int) -> None:
    assert split_host_port(text) == (host, port)


@pytest.mark.parametrize("text", ["host:port", "host:-1", "host:65536", "host:٣", "host:1:2", "[::1]:x"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not host:port"):
        split_host_port(text)

"""`serve`, `status`, `ping`, `ready`, `stop`, `stats`, `top`, `doctor`, `key`, `config`, `completion`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def served(own):
    """A daemon in the foreground."""
    daemon = subprocess.Popen(own.line("serve"), stderr=subprocess.PIPE, env=own.environment)
    own.ok("ready", "--timeout", "20s")
    yield daemon
    daemon.kill()
    daemon.communicate()


def test_serve_runs_until_it_is_told_to_stop(own, served) -> None:
    assert own.json("status")["pid"] == served.pid
    own.ok("set", "k", "v")
    assert own.json("stop") == {"stopped": True}
    assert served.wait(10) == 0
    assert own.json("stop") == {"stopped": False}
    done = own("stop")
    assert (done.returncode, done.stderr) == (0, b"stash: no daemon runs\n")


def test_ctrl_c_ends_serve_in_order(own, served) -> None:
    served.send_signal(signal.SIGINT)
    _, said = served.communicate(timeout=10)
    assert served.returncode == 0
    assert b"Traceback" not in said


def test_a_second_serve_names_the_first(own, served) -> None:
    status, error = own.error("serve")
    assert (status, error["code"]) == (9, "busy")
    assert str(served.pid) in error["message"]


def test_serve_reads_flags_and_the_env_file(own, tmp_path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("# comment\nexport STASH_MODE='dev'\nSTASH_LOG_LEVEL=ERROR\n\n")
    words = ["serve", "--env-file", str(file), "--log-level", "WARNING", "--backend", "memory"]
    daemon = subprocess.Popen(own.line(*words), stderr=subprocess.DEVNULL, env=own.environment)
    try:
        own.ok("ready", "--timeout", "20s")
        status = own.json("status")
        assert (status["environment"], status["durability"]) == ("dev", "memory")
        own.ok("stop")
    finally:
        daemon.kill()
        daemon.wait()


def test_a_setting_that_is_wrong_is_named(own, tmp_path) -> None:
    for words in (["--max-ttl", "x"], ["--mode", "x"], ["--env-file", "/dev/null/x"], ["--tcp", "0.0.0.0:1"]):
        status, error = own.error("serve", *words)
        assert (status, error["code"]) == (2, "bad_request")
        assert words[0] in error["message"]
    bad = tmp_path / "bad.env"
    bad.write_text("STASH_MODE\n")
    assert "line 1" in own.error("serve", "--env-file", str(bad))[1]["message"]


def test_without_a_daemon_and_without_autostart_it_is_unreachable(own) -> None:
    for words in (["get", "k"], ["status"], ["ping"], ["list"], ["batch"]):
        done = own(*words, "--json", stdin=b'{"op": "list"}\n', STASH_AUTOSTART="0")
        assert done.returncode == 5, words
        assert json.loads(done.stdout)["error"]["code"] == "unreachable"
    status, error = own.error("ready", "--timeout", "100ms")
    assert (status, error["code"]) == (124, "timeout")
    assert not Path(own.home, "daemon.lock").exists(), "ready starts none"


def test_an_autostart_that_says_neither_yes_nor_no_is_refused(own) -> None:
    done = own("get", "k", "--json", STASH_AUTOSTART="never")
    assert done.returncode == 2
    assert "STASH_AUTOSTART: 'never' is none of 0, 1" in json.loads(done.stdout)["error"]["message"]
    assert own("get", "k", STASH_AUTOSTART="OFF").returncode == 5
    assert not Path(own.home, "daemon.lock").exists()


def test_any_verb_starts_the_daemon_and_says_so_only_when_asked(own) -> None:
    done = own("set", "k", "v")
    assert (done.stdout, done.stderr) == (b"k\n", b"")
    own.ok("stop")
    done = own("get", "k", "-v")
    assert done.stdout == b"v"
    assert b"started the daemon" in done.stderr


def test_the_configuration_says_where_the_daemon_is_and_who_calls(two) -> None:
    one, other = two
    one.ok("ping")
    config = Path(other.home, "config.toml")
    config.write_text(
        f'autostart = false # not here\nurl = "unix://{one.home}/stash.sock"\n[tiers.local]\nurl = "no"\n'
    )
    config.chmod(0o600)
    one.ok("set", "k", "v")
    assert other.ok("get", "k") == b"v"
    assert other("get", "k", "--socket", other.home + "/stash.sock").returncode == 5


def test_health_is_shown_to_people_and_scripts(stash) -> None:
    status = stash.json("status")
    wanted = (
        "status database version environment uptime_seconds latency_ms sqlite_version connections entries bytes now"
    )
    assert set(wanted.split()) <= set(status)
    assert b"sqlite version" in stash.ok("status")
    assert stash.ok("ping") == b"pong\n"
    assert stash.json("ready") == {"ready": True}
    stash.ok("set", "figure", "v")
    assert stash.json("stats")["figures"]["requests"]
    text = stash.ok("stats").decode()
    assert "OP" in text.split()
    assert "set" in text.split()
    assert b"# TYPE" in stash.ok("stats", "--prometheus")
    assert "# TYPE" in stash.json("stats", "--prometheus")["prometheus"]
    assert b"daemon" in stash.ok("top")
    assert set(stash.json("top")) == {"status", "stats"}


def test_api_keys_are_made_listed_rotated_and_revoked(own) -> None:
    made = own.json("key", "create", "ci", "--tier", "pro", "--scope", "read", "--ttl", "30d")
    assert made["api_key"].startswith("sk_")
    assert len(made["api_key"]) == 46
    assert (made["namespace"], made["tier"], made["scopes"]) == ("ci", "pro", ["read"])
    plain = own.ok("key", "create", "writer", "--namespace", "ci").decode().strip()
    assert own("set", "k", "v", STASH_API_KEY=plain).returncode == 0
    assert own("get", "k").returncode == 3, "another namespace"
    assert own("get", "k", STASH_API_KEY=made["api_key"]).stdout == b"v"
    assert own("set", "k", "v", STASH_API_KEY=made["api_key"]).returncode == 4, "read only"
    listed = own.ok("key", "list").decode()
    assert [line.split()[0] for line in listed.splitlines()] == ["NAME", "ci", "writer"]
    assert made["api_key"] not in listed
    assert {key["name"] for key in own.json("key", "list")["keys"]} == {"ci", "writer"}
    fresh = own.ok("key", "rotate", "writer").decode().strip()
    assert own("get", "k", STASH_API_KEY=plain).returncode == 4
    assert own("get", "k", STASH_API_KEY=fresh).returncode == 0
    own.ok("key", "revoke", "writer")
    assert own("get", "k", STASH_API_KEY=fresh).returncode == 4
    assert own.error("key", "revoke", "writer")[0] in (2, 3)


def test_an_api_key_can_lie_in_a_file_but_not_in_the_command_line(own, tmp_path) -> None:
    file = tmp_path / "key"
    file.write_bytes(own.ok("key", "create", "ci"))
    own.ok("set", "k", "v", "--api-key-file", str(file))
    assert own("get", "k", "--api-key-file", str(file)).stdout == b"v"
    assert own("get", "k").returncode == 3
    file.write_text("sk_wrong")
    assert own("get", "k", "--api-key-file", str(file)).returncode == 4
    file.write_text("two\nlines")
    assert own("get", "k", "--api-key-file", str(file)).returncode == 2
    assert own("get", "k", "--api-key", "sk_x").returncode == 2


@pytest.mark.parametrize("words", [["list"], ["status"], ["doctor"]])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o444])
def test_a_file_with_an_api_key_others_can_read_is_used_with_one_line_of_warning(own, tmp_path, words, mode) -> None:
    file = tmp_path / "key"
    file.write_bytes(own.ok("key", "create", "ci", "--scope", "read", "--scope", "admin"))
    file.chmod(mode)
    done = own(*words, "--api-key-file", str(file))
    assert done.returncode == 0
    warning = f"stash: --api-key-file: others can read {file}, which has mode {mode:04o}: chmod 0600 {file}\n"
    assert done.stderr.decode() == (warning if mode & 0o044 else "")


def test_tcp_takes_the_same_verbs(own) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = subprocess.Popen(
        own.line("serve", "--tcp", f"127.0.0.1:{port}"), stderr=subprocess.DEVNULL, env=own.environment
    )
    try:
        own.ok("ready", "--timeout", "20s")
        api_key = own.ok("key", "create", "far").decode().strip()
        url = f"tcp://127.0.0.1:{port}"
        assert own("set", "k", "v", "--url", url).returncode == 4
        assert own("set", "k", "v", "--url", url, STASH_API_KEY=api_key).returncode == 0
        assert own("get", "k", STASH_URL=url, STASH_API_KEY=api_key).stdout == b"v"
        assert own("get", "k", "--url", url.replace("tcp", "tls"), STASH_API_KEY=api_key).returncode == 5
    finally:
        daemon.kill()
        daemon.wait()


def test_config_shows_settings_and_where_they_come_from(own) -> None:
    assert own.ok("config", "path").decode().strip() == own.home + "/config.toml"
    done = own("config", "show", "--json", STASH_MAX_TTL="2h")
    shown = json.loads(done.stdout)
    assert shown["tiers.local.max_ttl"] == {"value": "2h", "source": "STASH_MAX_TTL"}
    assert shown["durability"]["source"] == "default"
    assert b"tiers.local.max_ttl" in own.ok("config", "show")


def test_completion_prints_the_script_that_is_shipped(own) -> None:
    for shell, name in (("bash", "stash.bash"), ("zsh", "_stash"), ("fish", "stash.fish")):
        shipped = Path(__file__).parents[2] / "completions" / name
        assert own.ok("completion", shell) == shipped.read_bytes()
    assert own("completion", "tcsh").returncode == 2

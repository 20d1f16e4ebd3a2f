"""`stash doctor`: what it looks into, and what it says to do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import free_port
from tests.support import fake_embedders as fakes

HUMBLE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
"""Starts a command as a root that must ask like anybody else."""


def found(own, subject: str, **environment: str) -> tuple[str, str]:
    """The verdict on one subject, and what is said about it."""
    done = own("doctor", **environment)
    assert done.stderr == b""
    for line in done.stdout.decode().splitlines():
        if line[5:].startswith(subject):
            assert (done.returncode == 9) or not line.startswith("fail")
            return line[:4].strip(), line[5 + len(subject) :].strip()
    raise AssertionError(f"no line on {subject}: {done.stdout.decode()}")


def test_doctor_finds_nothing_wrong_where_nothing_is(own) -> None:
    assert own.json("doctor")["ok"] is True  # before the first start
    own.ok("set", "k", "v")
    report = own.json("doctor")
    assert report["ok"] is True
    assert {check["verdict"] for check in report["checks"]} == {"ok"}
    own.ok("stop")
    report = own.json("doctor")
    assert "whole" in next(check["said"] for check in report["checks"] if check["subject"] == "database")


def test_doctor_says_what_is_wrong_and_what_to_do(own) -> None:
    own.ok("set", "k", "v" * 100_000)
    own.ok("stop")
    os.chmod(own.home, 0o755)
    with open(own.home + "/stash.db", "r+b") as file:
        file.seek(4096)  # all but the first page, which says whose file it is
        file.write(b"\xff" * 8 * 4096)
    done = own("doctor")
    assert done.returncode == 9
    assert done.stderr == b""
    said = done.stdout.decode()
    assert f"chmod 700 {own.home}" in said
    assert "fail database" in said
    assert "stash export" not in said, "it needs the daemon that cannot start"
    Path(own.home, "config.toml").write_text("nonsense = 1\n")
    os.chmod(own.home + "/config.toml", 0o600)
    assert "nonsense" in own("doctor").stdout.decode()


def test_a_file_that_is_no_database_is_named_with_what_can_be_done_without_a_daemon(own) -> None:
    Path(own.home, "stash.db").write_bytes(os.urandom(20_000))
    verdict, said = found(own, "database")
    assert verdict == "fail"
    assert f"mv {own.home}/stash.db* ELSEWHERE" in said
    assert "any verb starts one" not in found(own, "daemon")[1]
    Path(own.home, "stash.db").rename(own.home + "/elsewhere")
    assert own("set", "k", "v").returncode == 0, "as was promised"


def test_a_database_of_something_else_is_named(own) -> None:
    import sqlite3

    with sqlite3.connect(own.home + "/stash.db") as other:
        other.execute("create table mine (x)")
    other.close()
    verdict, said = found(own, "database")
    assert (verdict, "something else" in said) == ("fail", True)


def test_an_api_key_that_is_wrong_in_the_file_is_found_and_stops_config_show(own) -> None:
    own.configure('[keys.a]\nsha256 = "zz"\n')
    verdict, said = found(own, "API keys")
    assert verdict == "fail"
    assert "keys.a" in said
    assert "any verb starts one" not in found(own, "daemon")[1]
    status, error = own.error("config", "show")
    assert status == 2
    assert "keys.a" in error["message"]


def test_where_an_api_key_is_asked_for_and_none_exists_the_cure_is_named(own) -> None:
    verdict, said = found(own, "API keys", STASH_MODE="production")
    assert (verdict, "stash key create NAME" in said) == ("warn", True)


@pytest.mark.parametrize("autostart", ["1", "0"])
def test_a_daemon_that_no_verb_can_start_is_a_failure_if_it_does_not_answer(own, autostart: str) -> None:
    own.configure(f'url = "tcp://127.0.0.1:{free_port()}"\n')
    verdict, said = found(own, "daemon", STASH_AUTOSTART=autostart)
    assert verdict == "fail"
    assert "any verb starts one" not in said
    assert "tcp://127.0.0.1" in said


def test_a_daemon_that_no_verb_may_start_is_worth_a_warning(own) -> None:
    verdict, said = found(own, "daemon", STASH_AUTOSTART="0")
    assert verdict == "warn"
    assert "stash serve" in said
    own.configure("autostart = false\n")
    assert found(own, "daemon")[0] == "warn"
    assert found(own, "daemon", STASH_AUTOSTART="1") == (
        "ok",
        f"none runs at unix://{own.home}/stash.sock; any verb starts one",
    )


def test_an_embedder_is_tried_and_what_ails_it_is_said(own) -> None:
    assert found(own, "embedder")[0] == "ok"
    with fakes.fake_embedder() as fake:
        environment = {"STASH_EMBEDDER": "ollama", "OLLAMA_HOST": fake.url}
        verdict, said = found(own, "embedder", **environment)
        assert (verdict, said.split(",")[:2]) == ("ok", ["ollama:nomic-embed-text", " 16 dimensions"])
        fake.reply = fakes.status(404)
        verdict, said = found(own, "embedder", **environment)
        assert (verdict, "has no such model" in said, "ollama pull" in said) == ("warn", True, True)
        fake.stop()
        verdict, said = found(own, "embedder", **environment)
        assert (verdict, "Connection refused" in said) == ("warn", True)
    verdict, said = found(own, "embedder", STASH_EMBEDDER="ollama", STASH_EMBEDDER_URL="nonsense")
    assert (verdict, "embedder_url" in said) == ("fail", True)


def test_the_embedder_is_judged_by_the_daemon_that_runs(own) -> None:
    with fakes.fake_embedder() as fake:
        own.ok("ping", STASH_EMBEDDER="ollama", OLLAMA_HOST=fake.url)
        verdict, said = found(own, "embedder")
        assert (verdict, said.partition(",")[0]) == ("ok", "ollama:nomic-embed-text")
        assert found(own, "embedder", STASH_EMBEDDER="hash")[1].endswith("says the daemon")
        fake.reply = fakes.status(404)
        verdict, said = found(own, "embedder")
        assert (verdict, "does not answer" in said or "no such model" in said) == ("warn", True)
        assert "ollama pull" in said
    own.ok("stop")
    assert found(own, "embedder", STASH_EMBEDDER="hash")[1].endswith("(by the configuration; no daemon told)")


def test_an_embedder_the_running_daemon_does_not_have_is_worth_a_warning(own) -> None:
    own.ok("ping")
    assert found(own, "embedder")[1].startswith("none, ")
    verdict, said = found(own, "embedder", STASH_EMBEDDER="hash")
    assert (verdict, "stash stop" in said) == ("warn", True)


def test_a_configuration_others_can_read_is_one_finding_of_many(own) -> None:
    own.configure(f'data_dir = "{own.home}/there"\n')
    path = f"{own.home}/config.toml"
    os.chmod(path, 0o644)
    assert f"chmod 0600 {path}".encode() in own("set", "k", "v").stderr
    report = own("doctor", "--json")
    checks = {check["subject"]: check for check in json.loads(report.stdout)["checks"]}
    assert report.returncode == 9
    assert [name for name, check in checks.items() if check["verdict"] == "fail"] == ["configuration"]
    assert f"chmod 0600 {path}" in checks["configuration"]["said"]
    assert checks["data"]["said"].startswith(f"{own.home}/there "), "the file was read all the same"
    assert "none can start" in checks["daemon"]["said"]


def humbly(own, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command that file modes bind, whoever runs the tests."""
    kept = {name: value for name, value in own.environment.items() if name != "STASH_HOME" and name[:4] != "XDG_"}
    line = [*(HUMBLE if os.geteuid() == 0 else ()), *own.line(*words)]
    return subprocess.run(line, input=b"", capture_output=True, env={**kept, **environment}, timeout=30)


def test_a_home_nobody_can_write_is_named_by_what_needs_it_and_by_doctor(own) -> None:
    os.chmod(own.home, 0o555)
    for words in (["set", "a", "b"], ["incr", "a"]):
        done = humbly(own, *words, HOME=own.home)
        assert done.returncode == 5
        assert b"/stash cannot be made: %s cannot be written" % own.home.encode() in done.stderr
    done = humbly(own, "doctor", "--json", HOME=own.home)
    checks = {check["subject"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 9
    assert [name for name, check in checks.items() if check["verdict"] == "fail"] == ["data", "logs"]
    assert f"cannot be made: {own.home} cannot be written" in checks["logs"]["said"]
    assert "none can start" in checks["daemon"]["said"]


@pytest.mark.parametrize(("variable", "subject"), [("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "logs")])
def test_a_directory_below_a_file_is_named_with_that_file(own, variable: str, subject: str) -> None:
    file = Path(own.home, "file")
    file.touch()
    environment = {"HOME": own.home, variable: str(file)}
    done = humbly(own, "set", "a", "b", **environment)
    assert done.returncode == 5
    assert f"cannot be made: {file} is not a directory" in done.stderr.decode()
    checks = json.loads(humbly(own, "doctor", "--json", **environment).stdout)["checks"]
    said = {check["subject"]: check["said"] for check in checks if check["verdict"] == "fail"}
    assert list(said) == [subject]
    assert f"cannot be made: {file} is not a directory" in said[subject]

"""A stash inside one's own process: what a daemon would do beside answering."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stash_memory import AsyncStash, BadRequest, Busy, Forbidden, Stash

WRITER = """
import sys, os
from stash_memory import Stash
stash = Stash(backend="sqlite", path=sys.argv[1])
for number in range(50):
    stash.set(f"k{number}", "v")
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def fork(work: Callable[[], None]) -> int:
    """Do it in a forked child; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def exit_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        first = stash.set("k", {"a": 1}, ttl=60)
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        assert stash.get("k") == {"a": 1}
        assert stash.entry("k").expires_at == first.expires_at
    assert not (tmp_path / "x.db-wal").exists()


def test_what_was_acknowledged_survives_a_kill_and_a_second_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        pid = writer.stdout.readline().strip()
        with pytest.raises(Busy, match=rf"^{path} is open in the process with pid {pid}$"):
            Stash(backend="sqlite", path=path)
        writer.kill()
    with Stash(backend="sqlite", path=path) as stash:
        assert len(list(stash.list())) == 50


def test_what_is_expired_leaves_the_file_in_passing(tmp_path: Path) -> None:
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        with stash.pipeline() as pipeline:
            for number in range(40):
                pipeline.set(f"old{number}", b"expired-secret-bytes", ttl=0.001)
        for number in range(64):
            stash.set(f"new{number}", "v")
        engine = stash._transport._engine  # type: ignore[attr-defined]
        assert engine.store.expired(engine.clock.now(), 100) == []
    assert b"expired-secret-bytes" not in (tmp_path / "x.db").read_bytes()


def test_the_file_shrinks_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Stash(backend="sqlite", path=path) as stash:
        with stash.pipeline() as pipeline:
            for number in range(100):
                pipeline.set(f"k{number}", bytes(50_000))
        stash.clear(prefix="")
    assert path.stat().st_size < 2 << 20


def test_the_log_does_not_grow_without_end(tmp_path: Path) -> None:
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        for _ in range(400):
            stash.set("k", os.urandom(100_000))
        assert (tmp_path / "x.db-wal").stat().st_size < 16 << 20


def test_a_forked_child_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    def child() -> None:
        with pytest.raises(BadRequest, match="fork"):
            stash.get("k")
        stash.close()

    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        stash.set("k", "v")
        assert exit_status(fork(child)) == 0
        assert stash.get("k") == "v"
        stash.set("k", "w")
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        assert stash.get("k") == "w"


def test_a_forked_child_that_ends_like_any_program_leaves_the_parents_log_alone(tmp_path: Path) -> None:
    program = f"""
import os, sys
from stash_memory import Stash
stash = Stash(backend="sqlite", path={str(tmp_path / "x.db")!r})
stash.set("before", "v")
pid = os.fork()
if not pid:
    sys.exit(0)
os.waitpid(pid, 0)
assert os.path.getsize({str(tmp_path / "x.db-wal")!r}) > 0
stash.set("after", "v")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    with Stash(backend="sqlite", path=tmp_path / "x.db") as stash:
        assert [entry.key for entry in stash.list()] == ["after", "before"]


def test_sockets_of_the_parent_are_not_used_by_a_forked_child(daemon: Any, api_key: str) -> None:
    def child() -> None:
        assert [stash.incr("n") for _ in range(50)][-1] > 50

    with Stash(socket=daemon.socket, api_key=api_key) as stash:
        assert stash.incr("n") == 1
        pid = fork(child)
        numbers = [stash.incr("n") for _ in range(50)]
        assert exit_status(pid) == 0
        assert numbers == sorted(set(numbers))
        assert stash.incr("n") == 102


def test_what_only_a_daemon_can_do_is_refused_with_the_reason() -> None:
    with Stash(backend="memory") as stash:
        for call in (stash.stop, stash.api_keys.list, lambda: stash.api_keys.create("x")):
            with pytest.raises(BadRequest, match="your own process"):
                call()


def test_scopes_hold_over_the_socket(daemon: Any, api_key: str) -> None:
    with Stash(socket=daemon.socket, api_key=api_key) as admin:
        issued = admin.api_keys.create("reader", namespace="read-only", scopes=["read"], ttl="1h")
        assert issued.secret not in repr(issued)
        assert issued.info.expires_at is not None
        with Stash(socket=daemon.socket, api_key=issued.secret) as reader:
            assert reader.get("k") is None
            with pytest.raises(Forbidden):
                reader.set("k", "v")
            assert [key.name for key in admin.api_keys.list() if key.namespace == "read-only"] == ["reader"]
            rotated = admin.api_keys.rotate("reader")
            assert rotated.secret != issued.secret
            admin.api_keys.revoke("reader")


@pytest.mark.parametrize("timeout", [-1, 0, float("nan"), float("inf"), "5"])
@pytest.mark.parametrize("kind", [Stash, AsyncStash])
def test_what_is_no_time_to_wait_is_refused_when_the_stash_is_made(kind: Any, timeout: Any) -> None:
    with pytest.raises(BadRequest, match="a timeout is more than 0"):
        kind(timeout=timeout)


@pytest.mark.parametrize(
    "arguments",
    [
        {"backend": "sqlite"},
        {"backend": "memory", "path": "x.db"},
        {"backend": "sqlite", "path": ":memory:"},
        {"backend": "postgres"},
        {"path": "x.db"},
        {"backend": "memory", "url": "tcp://localhost"},
        {"url": "tcp://localhost", "socket": "x"},
        {"url": "http://localhost"},
        {"socket": "x" * 200},
        {"url": "tls://localhost", "tls_ca": "/nowhere"},
    ],
)
@pytest.mark.parametrize("kind", [Stash, AsyncStash])
def test_arguments_that_contradict_each_other_are_refused(kind: Any, arguments: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        kind(**arguments)


def test_the_environment_names_the_daemon(daemon: Any, api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STASH_API_KEY", api_key)
    monkeypatch.setenv("STASH_SOCKET", str(daemon.socket))
    with Stash() as stash:
        stash.set("k", "v")
    monkeypatch.setenv("STASH_URL", "tcp://{}:{}".format(*daemon.tcp))
    with Stash() as stash:
        assert stash.get("k") == "v"


def test_one_async_stash_serves_one_loop_after_another(daemon: Any, api_key: str) -> None:
    stash = AsyncStash(socket=daemon.socket, api_key=api_key)
    assert asyncio.run(_get_set(stash)) is None
    assert asyncio.run(_get_set(stash)) == "v"
    asyncio.run(stash.close())
    with warnings.catch_warnings(
        action="ignore", category=ResourceWarning
    ):  # asyncio's: a loop ended before its socket
        gc.collect()


async def _get_set(stash: AsyncStash) -> Any:
    found = await stash.get("k")
    await stash.set("k", "v")
    return found


@pytest.mark.parametrize(
    ("path", "said"),
    [(".", "is a directory"), ("file/x.db", "the directory .* cannot be made"), ("file/deep/x.db", "cannot be made")],
)
def test_a_path_where_no_file_can_be_is_refused_and_nothing_is_left(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match=said):
        Stash(backend="sqlite", path=tmp_path / path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]

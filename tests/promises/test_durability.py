"""Durability: a write that was acknowledged is there after ``kill -9``, whatever the daemon was doing.

`make torture` goes on with the same rounds for a thousand of them.
"""

from __future__ import annotations

import contextlib
import threading
import tomllib

import pytest

from stash_protocol import operations as op
from tests.support.daemon import Line, RunningDaemon, eventually
from tests.support.tenants import answer, exported, packed
from tests.torture import crash

ROUNDS = 15  # for each of four seeds: sixty
ACKNOWLEDGED = 20


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_was_acknowledged_is_lost_by_a_kill(seed: int) -> None:
    assert crash.run(ROUNDS, seed) >= ROUNDS * crash.LEAST_ACKNOWLEDGED


def test_nothing_is_lost_where_every_commit_is_synced_either() -> None:
    assert crash.run(3, 7, durability="full") >= 3 * crash.LEAST_ACKNOWLEDGED


# ── inside of what takes long ──

PAGES, ROWS, KEPT = 4, 1000, 10
LONG = {
    "prune": op.Prune(keep_newest=KEPT, prefix="prey/"),
    "clear": op.Clear(prefix="prey/"),
    "export": op.Export(),
    "list": op.List(),
}


@pytest.mark.parametrize("name", LONG)
def test_a_kill_inside_of_a_long_operation_leaves_each_entry_whole(name: str) -> None:
    """Some are gone, if they were to go; what was not meant is all there; and the same again goes through."""
    with RunningDaemon() as daemon:
        inside, delay = 0, 0.008
        while inside < 2:
            with daemon.connect() as line:
                before = filled(line)
                line.call(op.Ping())
            if crash.killed_within(daemon, LONG[name], delay):
                inside += 1
            delay *= 0.7  # until it is not over yet
            crash.whole(daemon)
            assert crash.restarted(daemon) <= crash.READY_WITHIN
            with daemon.connect() as line:
                after = {entry["key"]: value for entry, value, *_ in exported(line)}
                assert all(after[key] == value for key, value in before.items() if key in after)
                gone = before.keys() - after.keys()
                assert all(key.startswith("prey/") for key in gone)
                assert not gone or name in ("prune", "clear")
                answer(line, LONG[name])


def filled(line: Line) -> dict[str, bytes]:
    """Some thousand entries, most of which a prune would take."""
    for page in range(PAGES):
        name = "prey" if page else "kept"
        rows = [[f"{name}/{page}/{n}", "bytes", crash.HOUR, b"%d" % n * 20, []] for n in range(ROWS)]
        answer(line, op.Import(replace=True), packed(rows))
    return {entry["key"]: value for entry, value, *_ in exported(line)}


# ── inside of a change of API keys ──


class Administrator:
    """Makes API keys, and rotates or revokes some of them, until the daemon dies.

    Attributes:
        known: what each name's API key is; None: revoked. The one that is being changed is left out.
    """

    def __init__(self) -> None:
        self.known: dict[str, str | None] = {}
        self.changes = 0
        self._made = 0

    def work(self, daemon: RunningDaemon) -> None:
        with contextlib.suppress(EOFError, ConnectionError), daemon.connect() as line:
            while True:
                self._made += 1
                name = f"bot-{self._made}"
                secret = self._change(line, name, op.KeyCreate(name=name))
                if self._made % 3 == 1:
                    secret = self._change(line, name, op.KeyRotate(name=name))
                elif self._made % 3 == 2:
                    secret = self._change(line, name, op.KeyRevoke(name=name))
                self.known[name] = secret

    def _change(self, line: Line, name: str, request: op.Request) -> str | None:
        secret: str | None = answer(line, request).get("api_key")
        self.changes += 1
        return secret


def test_a_kill_inside_of_a_change_of_api_keys_leaves_the_old_ones_or_the_new() -> None:
    admin = Administrator()
    with RunningDaemon() as daemon:
        for _ in range(6):
            before = admin.changes
            working = threading.Thread(target=admin.work, args=[daemon])
            working.start()
            try:
                eventually(lambda before=before: admin.changes >= before + ACKNOWLEDGED)
            finally:
                daemon.kill()
                working.join()
            tables = tomllib.loads((daemon.home / "config.toml").read_text())["keys"]
            assert {name for name, secret in admin.known.items() if secret} - tables.keys() == set()
            assert {name for name, secret in admin.known.items() if not secret} & tables.keys() == set()
            assert crash.restarted(daemon) <= crash.READY_WITHIN
            with daemon.connect() as line:
                assert {api_key["name"] for api_key in answer(line, op.KeyList())["keys"]} == tables.keys()
            for secret in filter(None, admin.known.values()):
                daemon.connect(api_key=secret).close()


# ── what is counted ──


def test_a_counter_is_as_high_as_it_was_said_to_be() -> None:
    """An increment is neither lost nor done twice."""
    with RunningDaemon() as daemon:
        said = 0
        for _ in range(3):
            reached = threading.Event()
            seen: list[int] = []

            def count(seen: list[int] = seen, reached: threading.Event = reached) -> None:
                try:
                    with daemon.connect() as line:
                        for _ in range(1_000_000):
                            seen.append(line.call(op.Incr(key="n"))[0]["reply"]["number"])
                            if len(seen) >= ACKNOWLEDGED:
                                reached.set()
                except (EOFError, ConnectionError):
                    pass

            counter = threading.Thread(target=count)
            counter.start()
            assert reached.wait(20)
            daemon.kill()
            counter.join()
            daemon.restart()
            assert seen == list(range(said + 1, said + 1 + len(seen)))
            with daemon.connect() as line:
                said = int(line.call(op.Get(key="n"))[1])
            assert said - seen[-1] in (0, 1), "at most the one increment that nobody was told of"

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stash_daemon.keys import ApiKeys, Caller
from stash_daemon.settings import Settings
from stash_protocol.errors import BadRequest, Conflict, NotFound, StashError, StorageFull, Unauthenticated
from stash_protocol.operations import KeyCreate
from tests.support.clock import ManualClock

SHAPE = re.compile(r"sk_[A-Za-z0-9_-]{43}")


class House:
    """API keys over a file of their own."""

    def __init__(self, directory: Path, text: str = "") -> None:
        self.path = directory / "config.toml"
        self.clock = ManualClock()
        if text:
            self.write(text)
        self.keys = ApiKeys(Settings(config_path=str(self.path)), self.clock)

    def write(self, text: str) -> None:
        self.path.touch(0o600)
        self.path.write_text(text)

    def refused(self, api_key: str) -> bool:
        try:
            self.keys.authenticate(api_key)
        except Unauthenticated as error:
            if error.message != "the API key is unknown, expired or revoked":
                raise
            return True
        return False


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_api_key_is_256_random_bits_behind_a_prefix(house: House) -> None:
    issued = {house.keys.create(KeyCreate(name=f"k{number}")).api_key for number in range(20)}
    assert len(issued) == 20
    assert all(SHAPE.fullmatch(api_key) for api_key in issued)


def test_only_the_digest_is_kept_in_a_private_file(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    text = house.path.read_text()
    assert api_key not in text
    assert hashlib.sha256(api_key.encode()).hexdigest() in text
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    assert [name.name for name in house.path.parent.iterdir()] == ["config.toml"]


def test_while_no_api_key_is_an_admins_somebody_may_come_without_to_make_one_and_nothing_else(house: House) -> None:
    first = house.keys.first_caller()
    assert first is not None
    assert first.scopes == {"admin"}
    house.keys.create(KeyCreate(name="ci"))
    assert house.keys.first_caller() is first
    house.keys.create(KeyCreate(name="ops", scopes=["admin"]))
    assert (first.revoked, house.keys.first_caller()) == (True, None)
    house.keys.revoke("ops")
    again = house.keys.first_caller()
    assert again is not None
    assert not again.revoked


def test_a_new_api_key_is_known_at_once_and_after_a_restart(house: House, tmp_path: Path) -> None:
    request = KeyCreate(name="ci", namespace="shared", tier="pro", scopes=["write", "read", "write"], ttl_ms=5_000)
    issued = house.keys.create(request)
    assert house.keys.any
    for keys in (house.keys, House(tmp_path).keys):
        caller = keys.authenticate(issued.api_key)
        assert (caller.namespace, caller.tier.name, caller.api_key_name) == ("shared", "pro", "ci")
        assert caller.scopes == {"read", "write"}
        assert caller.expires_at == house.clock.now() + 5_000
        assert keys.list().keys == [issued.info]
    assert issued.info.created_at == house.clock.now()


def test_the_namespace_is_the_name_unless_given(house: House) -> None:
    assert house.keys.create(KeyCreate(name="ci")).info.namespace == "ci"


def test_connections_with_the_same_api_key_share_a_caller(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    assert house.keys.authenticate(api_key) is house.keys.authenticate(api_key)


def test_the_local_caller_has_all_scopes_of_the_default_namespace(house: House) -> None:
    caller = house.keys.local_caller()
    assert (caller.namespace, caller.tier.name, caller.api_key_name) == ("default", "local", None)
    assert caller.scopes == {"read", "write", "admin"}


@pytest.mark.parametrize("wrong", ["", "sk_", "é", "\udc80", "sk_" + "a" * 43, "sk_" + "é" * 43, "x" * 10_000])
def test_what_is_no_api_key_is_refused_without_saying_why(house: House, wrong: str) -> None:
    house.keys.create(KeyCreate(name="ci"))
    assert house.refused(wrong)


def test_the_digest_itself_is_no_api_key(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    assert house.refused(hashlib.sha256(api_key.encode()).hexdigest())


def test_an_api_key_ends_when_its_time_is_over(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci", ttl_ms=1_000)).api_key
    house.clock.advance(ms=999)
    assert not house.refused(api_key)
    house.clock.advance(ms=1)
    assert house.refused(api_key)
    assert [info.name for info in house.keys.list().keys] == ["ci"]


def test_a_revoked_api_key_is_refused_on_open_connections_too(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    other = house.keys.authenticate(house.keys.create(KeyCreate(name="other")).api_key)
    caller = house.keys.authenticate(api_key)
    house.keys.revoke("ci")
    assert caller.revoked
    assert house.refused(api_key)
    assert not other.revoked


def test_a_rotated_api_key_leaves_only_the_new_secret(house: House) -> None:
    old = house.keys.create(KeyCreate(name="ci", namespace="n", tier="pro"))
    caller = house.keys.authenticate(old.api_key)
    new = house.keys.rotate("ci")
    assert new.info == old.info
    assert caller.revoked
    assert house.refused(old.api_key)
    assert not house.keys.authenticate(new.api_key).revoked


def test_what_is_wrong_with_a_request_is_said_and_nothing_changes(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    before = house.path.read_text()
    wrong: list[tuple[type[StashError], Callable[[], object]]] = [
        (Conflict, lambda: house.keys.create(KeyCreate(name="ci", tier="pro"))),
        (BadRequest, lambda: house.keys.create(KeyCreate(name="b", tier="gold"))),
        (BadRequest, lambda: house.keys.create(KeyCreate(name="b\n"))),
        (BadRequest, lambda: house.keys.create(KeyCreate(name="b", namespace="\x1b[2J"))),
        (NotFound, lambda: house.keys.rotate("b")),
        (NotFound, lambda: house.keys.revoke("b")),
    ]
    for error, call in wrong:
        with pytest.raises(error):
            call()
    assert house.path.read_text() == before
    assert not house.refused(api_key)


def test_comments_and_other_settings_survive(house: House) -> None:
    before = '# mine\nmode = "dev" # loud\n\n[tiers.free]\nrate = 90 # more\n\n[keys] # who\n'
    house.write(before)
    house.keys.create(KeyCreate(name="a.b c"))
    house.keys.create(KeyCreate(name="z"))
    house.keys.revoke("a.b c")
    text = house.path.read_text()
    assert text.startswith(before)
    assert list(tomllib.loads(text)["keys"]) == ["z"]


@pytest.mark.parametrize(
    "form", ["[keys]\na.sha256 = '{0}'", "keys = {{a = {{sha256 = '{0}'}}}}", "keys.a = {{sha256 = '{0}'}}"]
)
def test_whatever_form_the_file_has_an_api_key_can_be_added(tmp_path: Path, form: str) -> None:
    house = House(tmp_path, "mode = 'dev'\n" + form.format(hashlib.sha256(b"mine").hexdigest()) + "\n")
    api_key = house.keys.create(KeyCreate(name="b")).api_key
    again = House(tmp_path).keys
    assert [again.authenticate(each).api_key_name for each in ("mine", api_key)] == ["a", "b"]
    assert tomllib.loads(house.path.read_text())["mode"] == "dev"


def test_keys_of_a_hand_written_file_are_known(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"mine").hexdigest()
    house = House(tmp_path, f'[keys.ci]\nsha256 = "{digest}"\nexpires_at = 2099-01-01T00:00:00.5+01:00\n')
    caller = house.keys.authenticate("mine")
    assert (caller.namespace, caller.tier.name, set(caller.scopes)) == ("ci", "free", {"read", "write"})
    assert caller.expires_at == 4_070_905_200_500


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys.a]\nsha256 = 'x'", "keys.a: sha256 is not written as it must be"),
        ("[keys.a]\ntier = 'pro'", "keys.a: sha256 is missing"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\nteir = 'pro'", "keys.a: there is no field teir"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\nscopes = ['all']", "keys.a: scopes cannot be 'all'"),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\ntier = 'gold'",
            "keys.a: there is no tier 'gold'; there are enterprise, free",
        ),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\nexpires_at = 2026-01-01T00:00:00",
            "keys.a: expires_at: Expected `datetime` with a timezone component",
        ),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\n[keys.b]\nsha256 = '{DIGEST}'",
            "keys.b: the same sha256 as keys.a",
        ),
        (
            f'[keys."a\\n"]\nsha256 = "{DIGEST}"',
            "keys.'a\\n': the name and the namespace of an API key must be printable",
        ),
        ("keys = 3", "keys is written as sections [keys.NAME]"),
        ("[keys.a", "Expected ']' at the end of a table declaration"),
    ],
)
def test_a_broken_file_keeps_the_old_api_keys_and_says_where(house: House, text: str, said: str) -> None:
    api_key = house.keys.create(KeyCreate(name="old")).api_key
    house.write(text)
    changes: list[Callable[[], object]] = [house.keys.reload, lambda: house.keys.create(KeyCreate(name="new"))]
    for broken in changes:
        with pytest.raises(BadRequest) as caught:
            broken()
        assert "\n" not in caught.value.message
    with pytest.raises(BadRequest) as caught:
        house.keys.reload()
    assert caught.value.message.startswith(f"{house.path}: {said}")
    assert not house.refused(api_key)
    assert house.path.read_text() == text


def test_a_reload_reaches_open_connections(house: House) -> None:
    kept, gone, moved = (house.keys.create(KeyCreate(name=name)).api_key for name in ("kept", "gone", "moved"))
    callers = [house.keys.authenticate(api_key) for api_key in (kept, gone, moved)]
    document = tomllib.loads(house.path.read_text())["keys"]
    digests = {name: document[name]["sha256"] for name in document} | {"added": hashlib.sha256(b"added").hexdigest()}
    more = {"kept": "tier = 'pro'\nscopes = ['admin']\nexpires_at = 2099-01-01T00:00:00Z\n", "moved": "namespace = 'x'"}
    house.write(
        "\n".join(f"[keys.{n}]\nsha256 = '{digests[n]}'\n{more.get(n, '')}" for n in ("kept", "moved", "added"))
    )
    house.keys.reload()
    assert [caller.revoked for caller in callers] == [False, True, True]
    assert (callers[0].tier.name, set(callers[0].scopes)) == ("pro", {"admin"})
    assert callers[0].expires_at == 4_070_908_800_000
    assert house.keys.authenticate(kept) is callers[0]
    assert house.keys.authenticate(moved).namespace == "x"
    assert house.keys.authenticate("added").namespace == "added"
    assert house.refused(gone)


def test_a_file_that_cannot_be_written_changes_nothing(house: House) -> None:
    api_key = house.keys.create(KeyCreate(name="ci")).api_key
    blocked = Path(str(house.path) + ".new")
    blocked.mkdir()
    changes: list[Callable[[], object]] = [
        lambda: house.keys.create(KeyCreate(name="b")),
        lambda: house.keys.rotate("ci"),
    ]
    for call in changes:
        with pytest.raises(StorageFull):
            call()
    blocked.rmdir()
    assert [info.name for info in house.keys.list().keys] == ["ci"]
    assert not house.refused(api_key)


def test_without_a_configuration_file_there_are_no_api_keys() -> None:
    keys = ApiKeys(Settings(), ManualClock())
    assert not keys.any
    with pytest.raises(BadRequest):
        keys.create(KeyCreate(name="ci"))


WRITER = """
import sys
from stash_daemon.clock import SystemClock
from stash_daemon.keys import ApiKeys
from stash_daemon.settings import Settings
from stash_protocol.operations import KeyCreate
keys = ApiKeys(Settings(config_path=sys.argv[1]), SystemClock())
for number in range(int(sys.argv[2]), 100_000):
    keys.create(KeyCreate(name=f"k{number}"))
    print(number, flush=True)
"""


def test_a_kill_in_mid_write_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.touch(0o600)
    number = 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as writer:
            assert writer.stdout is not None
            for _, line in zip(range(5), writer.stdout, strict=False):
                number = int(line)
            writer.send_signal(signal.SIGKILL)
            number = max([number, *map(int, writer.stdout)])
        known = House(tmp_path).keys.list().keys
        assert len(known) in (number + 1, number + 2)  # what was told is there; what was begun may be
        number = len(known)


names = st.text(min_size=1, max_size=20).filter(str.isprintable)


@given(names=st.lists(names, min_size=1, max_size=4, unique=True), namespace=names)
@hypothesis_settings(max_examples=40)
def test_any_printable_name_is_kept_as_it_is(names: list[str], namespace: str) -> None:
    with TemporaryDirectory() as directory:
        house = House(Path(directory))
        issued = [house.keys.create(KeyCreate(name=name, namespace=namespace)).api_key for name in names]
        again = House(Path(directory)).keys
        assert [info.name for info in again.list().keys] == sorted(names)
        assert [again.authenticate(api_key).api_key_name for api_key in issued] == names
        assert {info.namespace for info in again.list().keys} == {namespace}


class ApiKeyLife(RuleBasedStateMachine):
    """Create, rotate, revoke, reload and time, in any order, against a model of who may come in."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.house = House(Path(self.directory.name))
        self.valid: dict[str, tuple[str, int | None]] = {}
        self.dead: list[str] = []
        self.live: dict[str, Caller] = {}

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(name=st.sampled_from("abc"), ttl=st.none() | st.integers(1, 100))
    def create(self, name: str, ttl: int | None) -> None:
        try:
            issued = self.house.keys.create(KeyCreate(name=name, ttl_ms=ttl))
        except StashError as error:
            assert isinstance(error, Conflict) and name in self.valid  # noqa: PT017, PT018
            return
        assert name not in self.valid
        self.valid[name] = (issued.api_key, None if ttl is None else self.house.clock.now() + ttl)

    @rule(name=st.sampled_from("abc"))
    def rotate(self, name: str) -> None:
        if name in self.valid:
            old, expires = self.valid[name]
            self.dead.append(old)
            self.valid[name] = (self.house.keys.rotate(name).api_key, expires)

    @rule(name=st.sampled_from("abc"))
    def revoke(self, name: str) -> None:
        if name in self.valid:
            self.dead.append(self.valid.pop(name)[0])
            self.house.keys.revoke(name)

    @rule()
    def reload(self) -> None:
        self.house.keys.reload()

    @rule(ms=st.integers(1, 60))
    def wait(self, ms: int) -> None:
        self.house.clock.advance(ms=ms)

    @invariant()
    def only_valid_api_keys_come_in(self) -> None:
        now = self.house.clock.now()
        for name, (api_key, expires) in self.valid.items():
            if expires is not None and expires <= now:
                assert self.house.refused(api_key)
                continue
            caller = self.house.keys.authenticate(api_key)
            assert not caller.revoked
            assert self.live.setdefault(api_key, caller) is caller
            assert caller.api_key_name == name
        for api_key in self.dead:
            assert self.house.refused(api_key)
            assert api_key not in self.live or self.live[api_key].revoked


TestApiKeyLife = ApiKeyLife.TestCase
TestApiKeyLife.settings = hypothesis_settings(max_examples=25, stateful_step_count=20)

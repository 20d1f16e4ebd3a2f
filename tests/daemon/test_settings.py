from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stash_daemon import settings as page
from stash_daemon.rules import LISTS, RULE_SETTINGS
from stash_daemon.setting import Setting, read, written
from stash_daemon.settings import DAY, HOUR, MIB, MINUTE, SETTINGS, TIER_SETTINGS, describe, load
from stash_protocol import address
from stash_protocol.errors import BadRequest

CONFIGURATION = Path(__file__).parents[2] / "docs/configuration.md"

Home = Callable[..., dict[str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An environment whose STASH_HOME holds this config.toml."""

    def make(text: str | None = None, **variables: str) -> dict[str, str]:
        if text is not None:
            file = tmp_path / "config.toml"
            file.touch(0o600)
            file.write_text(text)
        return {"STASH_HOME": str(tmp_path), "STASH_SOCKET": "/tmp/st.sock", **variables}

    return make


def refusal(flags: dict[str, str], environ: dict[str, str]) -> str:
    with pytest.raises(BadRequest) as caught:
        load(flags, environ)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_without_anything_the_shipped_defaults_hold(home: Home) -> None:
    environ = home()
    found = load({}, environ)
    defaults = {name: setting.default for name, setting in SETTINGS.items() if not name.endswith(("_path", "_dir"))}
    assert {name: getattr(found, name) for name in defaults} == defaults | {"socket": "/tmp/st.sock"}
    assert (found.config_path, found.data_dir, found.log_dir) == (
        address.config_path(environ),
        address.directory("data", environ),
        address.directory("log", environ),
    )
    assert found.tiers == {tier.name: tier for tier in page.SHIPPED_TIERS}


def test_the_shipped_tiers_are_those_of_the_contract() -> None:
    rows = [
        (tier.name, tier.max_value // MIB, tier.default_ttl // HOUR, tier.max_ttl // HOUR, tier.rate, tier.burst,
         tier.quota // MIB)
        for tier in page.SHIPPED_TIERS
    ]  # fmt: skip
    assert rows == [
        ("local", 16, 1, 365 * 24, None, 0, 256),
        ("free", 1, 1, 1, 60, 10, 64),
        ("pro", 50, 24, 24, 300, 50, 1024),
        ("enterprise", 500, 24, 7 * 24, None, 0, 16 * 1024),
    ]


def test_flags_beat_environment_beats_file_beats_mode(home: Home) -> None:
    text = 'mode = "production"\nlog_level = "ERROR"\n'
    assert load({}, home('mode = "production"\n')).log_level == "INFO"
    assert load({}, home(text)).log_level == "ERROR"
    assert load({}, home(text, STASH_LOG_LEVEL="debug")).log_level == "DEBUG"
    assert load({"log-level": "WARNING"}, home(text, STASH_LOG_LEVEL="debug")).log_level == "WARNING"


def test_each_mode_is_its_preset(home: Home) -> None:
    for mode, preset in page.MODES.items():
        found = load({}, home(STASH_MODE=mode))
        assert {name: getattr(found, name) for name in preset} == preset
        assert found.mode == mode


def test_production_asks_for_an_api_key_and_survives_power_loss(home: Home) -> None:
    found = load({"mode": "production"}, home())
    assert (found.require_api_key, found.durability, found.log_format) == (True, "full", "json")


def test_every_setting_is_also_a_variable_and_a_flag(home: Home) -> None:
    for name in SETTINGS:
        default = getattr(load({}, home("")), name)
        text = written(SETTINGS[name], default)
        if text == "off" or name == "config_path":
            continue
        found = load({}, home("", **{f"STASH_{name.upper()}": text}))
        assert getattr(found, name) == default
        assert getattr(load({name.replace("_", "-"): text}, home("")), name) == default
        assert found.sources[name] == f"STASH_{name.upper()}"


def test_the_environment_overrides_the_local_tier(home: Home) -> None:
    environ = home(
        '[tiers.local]\nmax_ttl = "2h"\n',
        STASH_DEFAULT_TTL="5m",
        STASH_MAX_TTL="30d",
        STASH_MAX_PAYLOAD_BYTES="2M",
    )
    local = load({}, environ).tiers["local"]
    assert (local.default_ttl, local.max_ttl, local.max_value) == (5 * MINUTE, 30 * DAY, 2 * MIB)


def test_a_default_ttl_nobody_set_follows_a_lower_maximum(home: Home) -> None:
    assert load({}, home(STASH_MAX_TTL="10m")).tiers["local"].default_ttl == 10 * MINUTE


def test_a_quota_nobody_set_has_room_for_the_largest_value(home: Home) -> None:
    assert load({}, home(STASH_MAX_PAYLOAD_BYTES="512M")).tiers["local"].quota == 512 * MIB


def test_a_default_ttl_above_the_maximum_is_refused(home: Home) -> None:
    said = refusal({}, home(STASH_DEFAULT_TTL="2h", STASH_MAX_TTL="1h"))
    assert said == "STASH_DEFAULT_TTL: default_ttl of tier local is above its max_ttl"


def test_tiers_can_be_changed_and_added(home: Home) -> None:
    text = """
        [tiers.free]
        rate = "off"
        [tiers.tiny]
        max_value = "4K"
        default_ttl = 60
        max_ttl = "1h"
        quota = 65536
        rate = 12
        evict = "soonest"
    """
    tiers = load({}, home(text)).tiers
    assert tiers["free"].rate is None
    tiny = tiers["tiny"]
    assert (tiny.max_value, tiny.default_ttl, tiny.quota, tiny.evict) == (4096, MINUTE, 65536, "soonest")
    assert (tiny.rate, tiny.burst) == (12, 2)


def test_a_new_tier_must_say_what_it_is(home: Home, tmp_path: Path) -> None:
    said = refusal({}, home('[tiers.tiny]\nmax_value = "4K"\n'))
    assert said == f"{tmp_path}/config.toml: tiers.tiny needs default_ttl, max_ttl, quota"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("idle = 3", "idle: there is no such setting here; did you mean idle_exit?"),
        ('idle_exit = "soon"', "idle_exit must be a duration such as 45s, 30m, 2h or 7d, 0s to 36500d, not 'soon'"),
        ("idle_exit = []", "idle_exit must be a duration such as 45s, 30m, 2h or 7d, 0s to 36500d, not []"),
        ('mode = "fast"', "mode must be dev, local or production, not 'fast'"),
        ("require_api_key = 7", "require_api_key must be true or false, not 7"),
        ("max_connections = 0", "max_connections must be a whole number, 1 to 1,000,000,000, not 0"),
        ("peer_rate = -1", "peer_rate must be a whole number, 1 to 1,000,000,000, or off, not -1"),
        ('audit_log = ""', "audit_log must be a path, or off, not ''"),
        ("tiers = 3", "tiers is written as sections [tiers.NAME]"),
        ("[keys]\nsha256 = 'x'", "keys is written as sections [keys.NAME]"),
        ("default_ttl = 3", "default_ttl is written as default_ttl in section [tiers.local]"),
        ("max_payload_bytes = 3", "max_payload_bytes is written as max_value in section [tiers.local]"),
        ('config_path = "/x"', "config_path: there is no such setting here"),
        ("[tiers.free]\nrates = 3", "tiers.free.rates: there is no such setting of a tier; did you mean rate?"),
        ('[tiers.free]\nquota = "1T"', "tiers.free.quota must be a size such as 512K, 16M or 1G, 1 to 4294967296G"),
        ("a = = 3", "Invalid value (at line 1, column 5)"),
        ('tcp = "localhost:x"', "tcp: 'localhost:x' is not host:port, such as 127.0.0.1:7437"),
        ('tcp = "nonsense"', "tcp: 'nonsense' is not host:port, such as 127.0.0.1:7437"),
        ('tcp = "0.0.0.0:7437"', "tcp: 0.0.0.0 is not loopback, and needs tls_cert and tls_key"),
        ('tls_key = "k.pem"', "tls_key: tls_cert is missing; TLS needs both"),
    ],
)
def test_a_refusal_names_file_setting_and_what_is_allowed(home: Home, tmp_path: Path, text: str, said: str) -> None:
    assert refusal({}, home(text)).startswith(f"{tmp_path}/config.toml: {said}")


def test_unknown_variables_and_flags_are_refused(home: Home) -> None:
    said = refusal({}, home(STASH_IDLE_EXT="1"))
    assert said == "STASH_IDLE_EXT: there is no such setting; did you mean STASH_IDLE_EXIT?"
    assert refusal({"--idle-ext": "1"}, home()) == "--idle-ext: there is no such setting; did you mean idle_exit?"
    assert refusal({}, home(STASH_IDLE_EXIT="x")).startswith("STASH_IDLE_EXIT must be a duration")


def test_what_only_clients_read_is_left_to_them(home: Home) -> None:
    load({}, home('api_key = "sk_x"\nurl = "tls://h"\n', STASH_URL="x", STASH_API_KEY="x", STASH_AUTOSTART="0"))


def test_an_empty_variable_is_one_that_is_not_set(home: Home) -> None:
    assert load({}, home(STASH_AUDIT_LOG="", STASH_MODE="")).audit_log is None


def test_paths_in_the_file_are_meant_from_where_it_lies(home: Home, tmp_path: Path) -> None:
    found = load({}, home('tls_cert = "tls/c.pem"\ntls_key = "~/k.pem"\n'))
    assert found.tls_cert == f"{tmp_path}/tls/c.pem"
    assert found.tls_key == os.path.expanduser("~/k.pem")


def test_loopback_needs_no_certificate(home: Home) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]:1", ":0"):
        assert load({"tcp": host}, home()).tcp == host


def test_a_named_configuration_file_must_exist(home: Home, tmp_path: Path) -> None:
    assert refusal({"config-path": f"{tmp_path}/c"}, home()) == f"--config-path: there is no file {tmp_path}/c"


def test_a_file_others_can_read_is_refused(home: Home, tmp_path: Path) -> None:
    environ = home("")
    for mode in (0o640, 0o604, 0o620):
        (tmp_path / "config.toml").chmod(mode)
        assert refusal({}, environ) == (
            f"{tmp_path}/config.toml has mode {mode:04o}, but may hold API keys: chmod 0600 {tmp_path}/config.toml"
        )


def test_a_link_a_directory_and_a_pipe_are_refused(home: Home, tmp_path: Path) -> None:
    environ, path = home(), tmp_path / "config.toml"
    path.symlink_to(tmp_path / "elsewhere")
    assert refusal({}, environ) == f"{path} is a symbolic link; write its target"
    path.unlink()
    path.mkdir()
    assert refusal({}, environ) == f"{path} is not a regular file"
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert refusal({}, environ) == f"{path} is not a regular file"


def test_somebody_elses_file_is_refused(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ, uid = home(""), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert refusal({}, environ) == f"{tmp_path}/config.toml belongs to uid {uid}, not to you (uid {uid + 1})"


def test_a_file_that_is_not_text_is_refused(home: Home, tmp_path: Path) -> None:
    environ = home("")
    (tmp_path / "config.toml").write_bytes(b"mode = '\xff'")
    assert refusal({}, environ) == f"{tmp_path}/config.toml is not UTF-8 at byte 8"


def test_show_says_where_each_value_comes_from(home: Home, tmp_path: Path) -> None:
    environ = home('idle_exit = "90m"\n[tiers.free]\nrate = 90\n', STASH_MODE="dev", STASH_MAX_TTL="2d")
    shown = {line.name: (line.value, line.source) for line in describe(load({"tcp": ":0"}, environ))}
    assert shown["idle_exit"] == ("90m", f"{tmp_path}/config.toml: idle_exit")
    assert shown["mode"] == ("dev", "STASH_MODE")
    assert shown["log_level"] == ("DEBUG", "mode dev")
    assert shown["tcp"] == (":0", "--tcp")
    assert shown["tiers.local.max_ttl"] == ("2d", "STASH_MAX_TTL")
    assert shown["tiers.free.rate"] == ("90", f"{tmp_path}/config.toml: tiers.free.rate")
    assert shown["audit_log"] == ("off", "default")
    assert shown["durability"] == ("normal", "default")


numbers = st.sampled_from([s for s in (*SETTINGS.values(), *TIER_SETTINGS.values()) if s.most])


@given(data=st.data(), setting=numbers)
def test_what_is_written_reads_back_the_same(data: st.DataObject, setting: Setting) -> None:
    value = data.draw(st.integers(setting.least, setting.most))
    assert read(setting, written(setting, value), "here") == value


@given(setting=st.sampled_from([*SETTINGS.values(), *TIER_SETTINGS.values()]), raw=st.text() | st.floats())
def test_whatever_is_written_is_read_or_refused_in_one_line(setting: Setting, raw: object) -> None:
    said, value = "", None
    try:
        value = read(setting, raw, "here")
    except BadRequest as error:
        said = error.message
    assert said.startswith("here must be ") == bool(said)
    assert len(said.splitlines()) <= 1
    assert value is None or not setting.most or setting.least <= value <= setting.most  # type: ignore[operator]


def test_the_page_of_the_docs_has_every_setting_with_its_default() -> None:
    text = CONFIGURATION.read_text()
    for table in (SETTINGS, TIER_SETTINGS):
        for line in documented(table):
            assert line in text.splitlines(), f"docs/configuration.md lacks this line:\n{line}"


def documented(table: dict[str, Setting]) -> list[str]:
    """The rows of a table of docs/configuration.md."""
    if table is TIER_SETTINGS:
        tiers = [
            [written(setting, getattr(tier, setting.name)) for tier in page.SHIPPED_TIERS] for setting in table.values()
        ]
        return [
            f"| `{s.name}` | {s.meaning} | {s.allowed} | " + " | ".join(row) + " |"
            for s, row in zip(table.values(), tiers, strict=True)
        ]
    return [f"| `{s.name}` | {s.meaning} | {s.allowed} | {_default(s)} |" for s in table.values()]


def _default(setting: Setting) -> str:
    return "see below" if setting.default == "" else f"`{written(setting, setting.default)}`"


# ── retention ──

RULES = """
[retention]
every = "12h"
archive_below = 0.5
delete_after = "off"

[[retention.rules]]
name = "spared"
action = "extend"
roles = "user"
importance_from = 0.6
keep = "90d"

[[retention.rules]]
action = "delete"
tags = ["draft", "scratch"]
older_than = "7d"
"""


def test_the_section_of_retention_is_read_with_its_rules_in_order(home: Home) -> None:
    found = load({}, home(RULES))
    assert (found.retention_every, found.retention_archive_below) == (12 * HOUR, 0.5)
    assert (found.retention_delete_after, found.retention_archive_after) == (None, 30 * DAY)
    spared, second = found.rules
    assert (spared.name, spared.action, spared.roles, spared.keep) == ("spared", "extend", ("user",), 90 * DAY)
    assert (second.name, second.tags, second.older_than) == ("rule 2", ("draft", "scratch"), 7 * DAY)


def test_retention_is_set_by_flags_and_variables_too(home: Home) -> None:
    assert load({}, home(RULES, STASH_RETENTION_EVERY="2h")).retention_every == 2 * HOUR
    assert load({"retention-archive-below": ".2"}, home(RULES)).retention_archive_below == 0.2
    assert load({"retention-every": "off"}, home(RULES)).retention_every is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retention = 1", "retention is written as section [retention]"),
        ('retention_every = "1d"', "retention_every is written as every in section [retention]"),
        ('[retention]\nevry = "1d"', "retention.evry: there is no such setting of retention; did you mean every?"),
        ('[retention]\nevery = "1s"', "retention.every must be a duration"),
        ("[retention]\narchive_below = 1.5", "retention.archive_below must be a number, 0 to 1, not 1.5"),
        ("[retention]\narchive_below = nan", "retention.archive_below must be a number"),
        ("[retention]\narchive_below = -0.1", "retention.archive_below must be a number"),
        ("[retention]\nrules = 1", "retention.rules are written as sections [[retention.rules]]"),
        ('[[retention.rules]]\ntags = "t"', "retention.rules[1].action is missing; it must be archive, delete or"),
        ('[[retention.rules]]\naction = "drop"', "retention.rules[1].action must be archive, delete or extend"),
        ('[[retention.rules]]\naction = "delete"', "retention.rules[1] has no condition, and would delete every"),
        (
            '[[retention.rules]]\naction = "delete"\nolder_than = "x"',
            "retention.rules[1].older_than must be a duration",
        ),
        (
            '[[retention.rules]]\naction = "delete"\nolder = "1d"',
            "retention.rules[1].older: there is no such setting of a rule; did you mean older_than?",
        ),
        (
            '[[retention.rules]]\naction = "delete"\nroles = ["robot"]',
            "retention.rules[1].roles must be of system, user, assistant, tool, not 'robot'",
        ),
        ('[[retention.rules]]\naction = "delete"\ntags = []', "retention.rules[1].tags must be a text"),
        ('[[retention.rules]]\naction = "delete"\ntags = [1]', "retention.rules[1].tags must be a text"),
        ('[[retention.rules]]\naction = "extend"\ntags = "t"', "retention.rules[1].keep is missing"),
        (
            '[[retention.rules]]\naction = "delete"\ntags = "t"\nkeep = "1d"',
            "retention.rules[1].keep does not go with action delete",
        ),
        (
            '[[retention.rules]]\nname = "a"\naction = "delete"\ntags = "t"\n' * 2,
            "retention.rules[2].name: there is another rule 'a'",
        ),
    ],
)
def test_a_rule_that_is_wrong_is_named_with_file_and_setting(text: str, said: str, home: Home, tmp_path: Path) -> None:
    message = refusal({}, home(text))
    assert message.startswith(f"{tmp_path}/config.toml: ")
    assert said in message


def test_the_page_of_the_docs_has_every_setting_of_a_rule() -> None:
    text = CONFIGURATION.read_text()
    for name, setting in RULE_SETTINGS.items():
        assert f"| `{name}` | {setting.meaning} |" in text
    for name, meaning in LISTS.items():
        assert f"| `{name}` | {meaning} |" in text

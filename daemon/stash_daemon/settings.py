"""Settings: what can be set, its default, and where a value came from. Flags beat environment beat file beat mode.

The fields of `Settings` and `Tier` are the only table: names, types, bounds, defaults and meanings are read from
them, by `load`, by `describe` and by the test that holds docs/configuration.md against them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, field

from stash_daemon import config
from stash_daemon.rules import Rule, Share, read_rules, unknown
from stash_daemon.setting import DURATION, PATH, SIZE, Setting, read, table_of, written
from stash_protocol import address
from stash_protocol.errors import BadRequest
from stash_protocol.types import MAX_DURATION, SIZES, UNITS
from stash_protocol.vectors import MAX_DIMENSIONS

KIB, MIB, GIB = SIZES["K"], SIZES["M"], SIZES["G"]
SECOND, MINUTE, HOUR, DAY = UNITS["s"], UNITS["m"], UNITS["h"], UNITS["d"]

MAX_VALUE = 900 * MIB  # bytes: SQLite's rows end at 1,000,000,000 bytes
MAX_RATE = 1_000_000_000  # requests a minute: more than any machine answers

Duration = Annotated[int, Meta(ge=0, le=MAX_DURATION, extra=DURATION)]
Ttl = Annotated[int, Meta(ge=1, le=MAX_DURATION, extra=DURATION)]
Period = Annotated[int, Meta(ge=MINUTE, le=MAX_DURATION, extra=DURATION)]
Patience = Annotated[int, Meta(ge=10, le=HOUR, extra=DURATION)]
Size = Annotated[int, Meta(ge=1, le=1 << 62, extra=SIZE)]
Path = Annotated[str, Meta(min_length=1, max_length=4096, extra=PATH)]
Text = Annotated[str, Meta(min_length=1, max_length=1024)]
PerMinute = Annotated[int, Meta(ge=1, le=MAX_RATE)]
Many = Annotated[int, Meta(ge=1, le=MAX_RATE)]


class Tier(Struct, frozen=True, kw_only=True):
    """The limits a caller lives under. Sizes in bytes, times in milliseconds."""

    name: str
    max_value: Annotated[int, Meta(ge=1, le=MAX_VALUE, extra=SIZE, description="the largest value")]
    default_ttl: Annotated[Ttl, Meta(description="the TTL of an entry that was given none")]
    max_ttl: Annotated[Ttl, Meta(description="the longest TTL")]
    rate: Annotated[PerMinute | None, Meta(description="requests a minute")] = None
    burst: Annotated[int, Meta(ge=0, le=MAX_RATE, description="requests that may come at once; 0: a sixth of rate")] = 0
    quota: Annotated[Size, Meta(description="what all values of a namespace may have together")]
    evict: Annotated[
        Literal["refuse", "soonest"],
        Meta(description="over quota: refuse the write, or make room by deleting what expires soonest"),
    ] = "refuse"


SHIPPED_TIERS = (
    Tier(name="local", max_value=16 * MIB, default_ttl=HOUR, max_ttl=365 * DAY, quota=256 * MIB),
    Tier(name="free", max_value=MIB, default_ttl=HOUR, max_ttl=HOUR, rate=60, burst=10, quota=64 * MIB),
    Tier(name="pro", max_value=50 * MIB, default_ttl=DAY, max_ttl=DAY, rate=300, burst=50, quota=GIB),
    Tier(name="enterprise", max_value=500 * MIB, default_ttl=DAY, max_ttl=7 * DAY, quota=16 * GIB),
)


class Settings(Struct, kw_only=True):
    """Everything that can be set. Sizes in bytes, times in milliseconds.

    Attributes:
        rules: of retention, in the order in which they are tried.
        tiers: by name.
        sources: where each value came from that is not a default, by the name `describe` shows.
    """

    mode: Annotated[Literal["local", "dev", "production"], Meta(description="which preset the defaults come from")] = (
        "local"
    )
    config_path: Annotated[Path, Meta(description="the configuration file (not to be set in it)")] = ""
    data_dir: Annotated[Path, Meta(description="where the database lies")] = ""
    log_dir: Annotated[Path, Meta(description="where stash.log lies")] = ""
    socket: Annotated[Path, Meta(description="the Unix socket; clients must be told too")] = ""
    tcp: Annotated[str | None, Meta(description="host:port to listen on beside the socket")] = None
    tls_cert: Annotated[Path | None, Meta(description="PEM file; TCP off loopback needs it")] = None
    tls_key: Annotated[Path | None, Meta(description="PEM file of the certificate's private key")] = None
    backend: Annotated[Literal["sqlite", "memory"], Meta(description="a file, or nothing but memory")] = "sqlite"
    durability: Annotated[
        Literal["normal", "full", "memory"],
        Meta(description="what a write survives: kill -9; power loss too; nothing"),
    ] = "normal"
    require_api_key: Annotated[bool, Meta(description="ask for an API key on the Unix socket too")] = False
    idle_exit: Annotated[
        Duration,
        Meta(description="an auto-started daemon exits after so long without clients and live entries; 0: never"),
    ] = 30 * MINUTE
    max_connections: Annotated[Many, Meta(description="connections at once")] = 10_000
    max_memory: Annotated[Size, Meta(description="requests and replies held at once, all connections together")] = (
        512 * MIB
    )
    peer_rate: Annotated[PerMinute | None, Meta(description="requests a minute of one peer (uid, or IP)")] = None
    peer_burst: Annotated[Many, Meta(description="requests of one peer that may come at once")] = 100
    memory_ttl: Annotated[Ttl, Meta(description="the TTL of a message or episode that was given none")] = 90 * DAY
    search_memory: Annotated[Size, Meta(description="vectors held for searching, all namespaces together")] = 512 * MIB
    importance_percent: Annotated[
        int, Meta(ge=0, le=100, description="what importance counts in the rank of a hit; similarity counts the rest")
    ] = 30
    retention_every: Annotated[
        Period | None, Meta(description="between two runs of retention by the daemon; off: only when somebody asks")
    ] = DAY
    retention_archive_after: Annotated[
        Ttl | None, Meta(description="after which a memory that matters little is archived; off: never")
    ] = 30 * DAY
    retention_archive_below: Annotated[Share, Meta(description="the importance that is little")] = 0.35
    retention_delete_after: Annotated[
        Ttl | None, Meta(description="after which an archived memory is deleted; off: when its time is over")
    ] = 30 * DAY
    half_life: Annotated[Ttl, Meta(description="after which the recency part of importance is a half")] = 7 * DAY
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="the least that is logged")] = (
        "WARNING"
    )
    log_format: Annotated[
        Literal["json", "console"] | None, Meta(description="unset: console on a terminal, else JSON lines in log_dir")
    ] = None
    audit_log: Annotated[Path | None, Meta(description="file for a line per operation and refusal")] = None
    audit_required: Annotated[bool, Meta(description="refuse writes that cannot be audited")] = True
    audit_keep: Annotated[Duration | None, Meta(description="how long rotated audit files stay; off: for good")] = None
    embedder: Annotated[
        Literal["none", "ollama", "openai", "local", "hash"],
        Meta(description="what makes vectors of texts; see embedders.md"),
    ] = "none"
    embedder_model: Annotated[Text | None, Meta(description="the model; unset: the embedder's usual one")] = None
    embedder_url: Annotated[
        Text | None, Meta(description="where it listens; unset: OLLAMA_HOST, or api.openai.com")
    ] = None
    embedder_dimensions: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None,
        Meta(description="how many numbers its vectors must have; unset: as many as the model gives"),
    ] = None
    embedder_batch: Annotated[int, Meta(ge=1, le=512, description="texts in one call")] = 32
    embedder_timeout: Annotated[Patience, Meta(description="for one call of the queue")] = 60 * SECOND
    embedder_query_timeout: Annotated[
        Patience, Meta(description="for the text of a search; then it goes by keyword")
    ] = 2 * SECOND
    embedder_keep_alive: Annotated[Duration, Meta(description="how long Ollama keeps the model loaded")] = 5 * MINUTE
    rules: tuple[Rule, ...] = ()
    tiers: dict[str, Tier] = field(default_factory=lambda: {tier.name: tier for tier in SHIPPED_TIERS})
    sources: dict[str, str] = field(default_factory=dict)


MODES: dict[str, dict[str, Any]] = {
    "local": {},
    "dev": {"log_level": "DEBUG", "log_format": "console"},
    "production": {"require_api_key": True, "durability": "full", "log_level": "INFO", "log_format": "json"},
}

SETTINGS = table_of(Settings, leave_out=("rules", "tiers", "sources"))
TIER_SETTINGS = table_of(Tier, leave_out=("name",))

LOCAL_TIER = {"default_ttl": "default_ttl", "max_ttl": "max_ttl", "max_payload_bytes": "max_value"}
"""Flags and variables that override one setting of tier ``local``; the file has ``[tiers.local]`` for it."""

RETENTION = "retention_"
"""What the settings of section ``[retention]`` begin with, as flags and variables."""

CLIENT_SETTINGS = ("url", "api_key", "autostart")
"""What clients read from the same file and environment, and the daemon does not."""

_HOME = "STASH_HOME"

EMBEDDER_API_KEY = "STASH_EMBEDDER_API_KEY"
"""Only ever read from the environment: it is in no file, flag or log."""


class Given(NamedTuple):
    """A value as somebody wrote it, and where."""

    raw: object
    where: str


def load(flags: Mapping[str, str], environ: Mapping[str, str], *, private: bool = True) -> Settings:
    """The settings of one start.

    Args:
        flags: by name, with ``-`` or ``_``.
        environ: the process's environment.
        private: refuse a file that is readable for others, as every start does.

    Raises:
        BadRequest: an unknown or invalid setting, or a file that is not private; one line that names file,
            variable or flag, the setting, and what is allowed.
    """
    override = _from_environment(environ) | _from_flags(flags)
    env = dict(environ)
    given = override.get("config_path")
    path = str(read(SETTINGS["config_path"], given.raw, given.where)) if given else address.config_path(env)
    file = config.read(path, private=private)
    if given and not os.path.lexists(path):
        raise BadRequest(f"{given.where}: there is no file {path}")
    local = {LOCAL_TIER[name]: override.pop(name) for name in LOCAL_TIER if name in override}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, (raw, where) in (_from_file(path, file) | override).items():
        base = os.path.dirname(path) if where.startswith(path) else None
        values[name] = read(SETTINGS[name], raw, where, base=base)
        sources[name] = where
    mode = values.get("mode", "local")
    for name, value in MODES[mode].items():
        if name not in values:
            values[name], sources[name] = value, f"mode {mode}"
    tiers = _tiers(path, file.get("tiers", {}), local, sources)
    rules = read_rules(path, file.get("retention", {}).get("rules", []))
    settings = Settings(**values, rules=rules, tiers=tiers, sources=sources)
    settings.config_path = path
    settings.data_dir = settings.data_dir or address.directory("data", env)
    settings.log_dir = settings.log_dir or address.directory("log", env)
    settings.socket = address.socket_path({**env, **({"STASH_SOCKET": settings.socket} if settings.socket else {})})
    _check_listening(settings)
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    known = {f"STASH_{name.upper()}": name for name in (*SETTINGS, *LOCAL_TIER)}
    ignored = {_HOME, EMBEDDER_API_KEY, *(f"STASH_{name.upper()}" for name in CLIENT_SETTINGS)}
    found: dict[str, Given] = {}
    for variable, text in environ.items():
        if variable in known and text:
            found[known[variable]] = Given(text, variable)
        elif variable.startswith("STASH_") and variable not in known and variable not in ignored:
            raise BadRequest(f"{variable}: there is no such setting{unknown(variable, known)}")
    return found


def _from_flags(flags: Mapping[str, str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for flag, text in flags.items():
        name = flag.removeprefix("--").replace("-", "_")
        shown = "--" + name.replace("_", "-")
        if name not in SETTINGS and name not in LOCAL_TIER:
            raise BadRequest(f"{shown}: there is no such setting{unknown(name, SETTINGS)}")
        found[name] = Given(text, shown)
    return found


def _from_file(path: str, file: Mapping[str, Any]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, raw in file.items():
        where = f"{path}: {name}"
        if name in ("tiers", "keys"):
            if not (isinstance(raw, dict) and all(isinstance(section, dict) for section in raw.values())):
                raise BadRequest(f"{where} is written as sections [{name}.NAME]")
        elif name == "retention":
            found |= _retention(path, raw)
        elif name.startswith(RETENTION):
            raise BadRequest(f"{where} is written as {name.removeprefix(RETENTION)} in section [retention]")
        elif name in LOCAL_TIER:
            raise BadRequest(f"{where} is written as {LOCAL_TIER[name]} in section [tiers.local]")
        elif name == "config_path" or name not in (*SETTINGS, *CLIENT_SETTINGS):
            raise BadRequest(f"{where}: there is no such setting here{unknown(name, SETTINGS)}")
        elif name in SETTINGS:
            found[name] = Given(raw, where)
    return found


def _retention(path: str, section: object) -> dict[str, Given]:
    """The settings of section [retention], beside its rules."""
    if not isinstance(section, dict):
        raise BadRequest(f"{path}: retention is written as section [retention]")
    known = {name.removeprefix(RETENTION): name for name in SETTINGS if name.startswith(RETENTION)}
    for name in section:
        if name not in known and name != "rules":
            where = f"{path}: retention.{name}"
            raise BadRequest(f"{where}: there is no such setting of retention{unknown(name, (*known, 'rules'))}")
    return {known[name]: Given(raw, f"{path}: retention.{name}") for name, raw in section.items() if name in known}


def _tiers(
    path: str, file: Mapping[str, Mapping[str, Any]], local: dict[str, Given], sources: dict[str, str]
) -> dict[str, Tier]:
    tiers = {tier.name: tier for tier in SHIPPED_TIERS}
    for name in {**tiers, **file}:
        given = {key: Given(raw, f"{path}: tiers.{name}.{key}") for key, raw in file.get(name, {}).items()}
        tiers[name] = _tier(name, tiers.get(name), given | (local if name == "local" else {}), path, sources)
    return tiers


def _tier(name: str, shipped: Tier | None, given: dict[str, Given], path: str, sources: dict[str, str]) -> Tier:
    values: dict[str, Any] = {}
    for key, (raw, where) in given.items():
        if key not in TIER_SETTINGS:
            raise BadRequest(f"{where}: there is no such setting of a tier{unknown(key, TIER_SETTINGS)}")
        values[key] = read(TIER_SETTINGS[key], raw, where)
        sources[f"tiers.{name}.{key}"] = where
    if shipped is not None:
        unset = {key: getattr(shipped, key) for key in TIER_SETTINGS if key not in values}
        if "max_ttl" in values and "default_ttl" in unset:
            unset["default_ttl"] = min(unset["default_ttl"], values["max_ttl"])
        if "max_value" in values and "quota" in unset:
            unset["quota"] = max(unset["quota"], values["max_value"])
        if "rate" in values and "burst" in unset:
            unset["burst"] = 0
        values = {**unset, **values}
    missing = [key for key, setting in TIER_SETTINGS.items() if setting.required and key not in values]
    if missing:
        raise BadRequest(f"{path}: tiers.{name} needs {', '.join(missing)}")
    if values["default_ttl"] > values["max_ttl"]:
        where = next(given[key].where for key in ("default_ttl", "max_ttl") if key in given)
        raise BadRequest(f"{where}: default_ttl of tier {name} is above its max_ttl")
    if values.get("rate") and not values.get("burst"):
        values["burst"] = max(1, values["rate"] // 6)
    return Tier(name=name, **values)


def _check_listening(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        there, missing = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise BadRequest(f"{settings.sources.get(there, there)}: {missing} is missing; TLS needs both")
    if settings.tcp is None:
        return
    where = settings.sources.get("tcp", "tcp")
    try:
        host = _host_of(settings.tcp)
    except BadRequest as error:
        raise BadRequest(f"{where}: {error.message}, such as 127.0.0.1:{address.DEFAULT_PORT}") from None
    if settings.tls_cert is None and not _is_loopback(host):
        raise BadRequest(f"{where}: {host} is not loopback, and needs tls_cert and tls_key")


def _host_of(tcp: str) -> str:
    host, _ = address.split_host_port(tcp)
    if ":" not in tcp and not _is_ip(host) and host != "localhost":
        raise BadRequest(f"{tcp!r} is not host:port")  # a lone word is a slip more often than the name of a host
    return host


def _is_loopback(host: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(host).is_loopback if _is_ip(host) else host == "localhost"


def _is_ip(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Described(NamedTuple):
    """One line of ``stash config show``.

    Attributes:
        name: of the setting; a tier's with ``tiers.NAME.`` before it.
        value: as it would be written in the file; ``off`` for one that is not set.
        source: ``default``, ``mode NAME``, or file, variable or flag.
    """

    name: str
    value: str
    source: str


def describe(settings: Settings) -> list[Described]:
    """All settings, and where each came from."""

    def line(prefix: str, setting: Setting, holder: Struct) -> Described:
        name = prefix + setting.name
        return Described(name, written(setting, getattr(holder, setting.name)), settings.sources.get(name, "default"))

    lines = [line("", setting, settings) for setting in SETTINGS.values()]
    for tier in settings.tiers.values():
        lines += [line(f"tiers.{tier.name}.", setting, tier) for setting in TIER_SETTINGS.values()]
    return lines

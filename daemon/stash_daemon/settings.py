"""Settings: what can be set, its default, and where a value came from. Flags beat environment beat file."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from stash_protocol.types import SIZES, UNITS

MIB, GIB = SIZES["M"], SIZES["G"]
HOUR, DAY = UNITS["h"], UNITS["d"]


class Tier(Struct, frozen=True, kw_only=True):
    """The limits a caller lives under.

    Attributes:
        max_value: bytes of the largest value.
        default_ttl, max_ttl: milliseconds.
        rate: requests a minute; None: off.
        burst: requests that may come at once.
        quota: bytes all values of a namespace may have together.
        evict: what happens over quota: refuse, or make room by deleting what expires soonest.
    """

    name: str
    max_value: int
    default_ttl: int
    max_ttl: int
    rate: int | None = None
    burst: int = 0
    quota: int
    evict: Literal["refuse", "soonest"] = "refuse"


SHIPPED_TIERS = (
    Tier(name="local", max_value=16 * MIB, default_ttl=HOUR, max_ttl=365 * DAY, quota=256 * MIB),
    Tier(name="free", max_value=MIB, default_ttl=HOUR, max_ttl=HOUR, rate=60, burst=10, quota=64 * MIB),
    Tier(name="pro", max_value=50 * MIB, default_ttl=DAY, max_ttl=DAY, rate=300, burst=50, quota=GIB),
    Tier(name="enterprise", max_value=500 * MIB, default_ttl=DAY, max_ttl=7 * DAY, quota=16 * GIB),
)


class Settings(Struct, kw_only=True):
    """Everything that can be set; the comment of a field is its line in docs/configuration.md."""

    mode: Literal["local", "dev", "production"] = "local"
    config_path: str = ""
    data_dir: str = ""
    log_dir: str = ""
    socket: str = ""  # path of the Unix socket
    tcp: str | None = None  # host:port to listen on beside the socket
    tls_cert: str | None = None  # PEM file; TCP off loopback needs it
    tls_key: str | None = None  # PEM file
    backend: Literal["sqlite", "memory"] = "sqlite"
    durability: Literal["normal", "full", "memory"] = "normal"
    require_api_key: bool = False  # on the Unix socket too
    idle_exit: int = 30 * UNITS["m"]  # milliseconds without clients and live entries; only when auto-started; 0: never
    max_connections: int = 10_000
    max_memory: int = 512 * MIB  # bytes of requests and replies held at once, all connections together
    peer_rate: int | None = None  # requests a minute of one peer (uid, or IP), beside the API key's
    peer_burst: int = 100
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    log_format: Literal["json", "console"] | None = None  # None: console on a terminal, else JSON lines
    audit_log: str | None = None  # path; None: no audit
    audit_required: bool = True  # a write that cannot be audited is refused
    tiers: dict[str, Tier] = field(default_factory=lambda: {tier.name: tier for tier in SHIPPED_TIERS})

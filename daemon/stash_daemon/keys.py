"""Who calls: callers, and the API keys that name them."""

from __future__ import annotations

from msgspec import Struct

from stash_daemon.settings import Tier
from stash_protocol.operations import Scope


class Caller(Struct, kw_only=True, eq=False):
    """Who a request comes from. One object per API key, shared by its connections, so that revoking is at once.

    Attributes:
        namespace: the only one it can ever reach.
        tier: its limits.
        scopes: what it may do.
        api_key_name: None for a trusted local caller without an API key.
        expires_at: when its API key ends, milliseconds since the epoch; None: never.
        revoked: its API key was revoked or rotated; every further request is refused.
    """

    namespace: str
    tier: Tier
    scopes: frozenset[Scope]
    api_key_name: str | None = None
    expires_at: int | None = None
    revoked: bool = False


class Peer(Struct, frozen=True):
    """The other end of a connection.

    Attributes:
        name: what limits per peer count by: ``uid:1000`` or an IP address.
        pid: of the process, where the socket can say.
    """

    name: str
    uid: int | None = None
    pid: int | None = None

"""key_create, key_list, key_rotate, key_revoke: the API keys, for callers with scope admin."""

from __future__ import annotations

from stash_daemon.engine.core import Core, Reply
from stash_daemon.keys import Caller
from stash_protocol.operations import KeyCreate, KeyList, KeyRevoke, KeyRotate
from stash_protocol.reader import Payload
from stash_protocol.replies import Done


def key_create(core: Core, _caller: Caller, request: KeyCreate, _payload: Payload) -> Reply:
    """Make an API key; its secret is in this reply and nowhere else."""
    return Reply(core.keys.create(request))


def key_list(core: Core, _caller: Caller, _request: KeyList, _payload: Payload) -> Reply:
    """All API keys, without their secrets."""
    return Reply(core.keys.list())


def key_rotate(core: Core, _caller: Caller, request: KeyRotate, _payload: Payload) -> Reply:
    """A new secret; the old one is refused from now on, on open connections too."""
    return Reply(core.keys.rotate(request.name))


def key_revoke(core: Core, _caller: Caller, request: KeyRevoke, _payload: Payload) -> Reply:
    """Delete an API key; it is refused from now on, on open connections too."""
    core.keys.revoke(request.name)
    return Reply(Done())

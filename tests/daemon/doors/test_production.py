"""Production: an API key is asked for on every door, and the first can be made all the same."""

from __future__ import annotations

from stash_protocol.operations import Hello, KeyCreate, Ping, Set
from tests.support.daemon import RunningDaemon, code


def test_the_first_api_key_is_made_without_one_and_nothing_else_is_done() -> None:
    with RunningDaemon(environ={"STASH_MODE": "production"}) as daemon:
        with daemon.connect() as founder:
            assert code(founder.call(Set(key="k"), b"v")) == "forbidden"
            secret = founder.call(KeyCreate(name="ops", scopes=["read", "write", "admin"]))[0]["reply"]["api_key"]
            assert code(founder.call(Ping())) == "unauthenticated"
        with daemon.connect(hello=False) as stranger:
            assert code(stranger.call(Hello(version=1))) == "unauthenticated"
        with daemon.connect(api_key=secret) as owner:
            assert "reply" in owner.call(Set(key="k"), b"v")[0]

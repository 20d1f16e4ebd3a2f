"""Who calls: callers, and the API keys that name them.

Of an API key only the SHA-256 is kept, in section ``[keys.NAME]`` of config.toml. That is enough: an API key is 256
random bits, so there is nothing a slow hash could protect.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct, field

from stash_daemon import config
from stash_daemon.clock import Clock
from stash_daemon.settings import Settings, Tier
from stash_protocol import replies
from stash_protocol.errors import BadRequest, Conflict, NotFound, Unauthenticated
from stash_protocol.operations import KeyCreate, Name
from stash_protocol.replies import ApiKeyInfo, ApiKeyIssued, Scope
from stash_protocol.requests import explain

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

API_KEY_BYTES = 32  # random: nobody guesses 256 bits
LOCAL_NAMESPACE, LOCAL_TIER = "default", "local"
ALL_SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


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


class _Section(Struct, forbid_unknown_fields=True, kw_only=True):
    """``[keys.NAME]`` of the file."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    namespace: Name | None = None
    tier: Name = "free"
    scopes: Annotated[list[Scope], Meta(min_length=1)] = field(default_factory=lambda: ["read", "write"])
    created_at: Annotated[datetime, Meta(tz=True)] = _EPOCH
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class _Known(Struct):
    """An API key in memory."""

    digest: bytes
    info: ApiKeyInfo
    caller: Caller


class ApiKeys:
    """The API keys of ``settings.config_path``.

    Args:
        settings: where the file is, and which tiers there are.
        clock: for what is created and what has expired.

    Raises:
        BadRequest: the file is not private, or a section in it is not right.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._path = settings.config_path
        self._tiers = settings.tiers
        self._clock = clock
        self._required = settings.require_api_key
        self._managed = False  # whether any API key has scope admin
        self._by_name: dict[str, _Known] = {}
        self._by_digest: dict[bytes, _Known] = {}
        self._parsed: tuple[str, TOMLDocument] | None = None  # the file as last written: parsing 300 API keys takes 1 s
        self._local = self._without_api_key(ALL_SCOPES)
        self._first = self._without_api_key(frozenset({"admin"}))
        self.reload()

    @property
    def any(self) -> bool:
        """Whether there is any API key."""
        return bool(self._by_name)

    def local_caller(self) -> Caller:
        """Whoever comes over the Unix socket with the daemon's uid and without an API key."""
        return self._local

    def first_caller(self) -> Caller | None:
        """Who needs no API key to make one where all others do, while none has scope ``admin``.

        It has scope ``admin`` and no other, and is revoked as soon as there is such an API key.
        """
        return None if self._managed else self._first

    def authenticate(self, api_key: str) -> Caller:
        """Who has this API key.

        Raises:
            Unauthenticated: nobody, or not any more; the text never says which.
        """
        digest = _digest(api_key)
        known = self._by_digest.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest) or self._expired(known):
            raise Unauthenticated("the API key is unknown, expired or revoked")
        return known.caller

    def create(self, request: KeyCreate) -> ApiKeyIssued:
        """Make an API key and keep its digest.

        Raises:
            BadRequest: no such tier, or a name that cannot be printed.
            Conflict: the name is taken.
            StorageFull: the file cannot be written; nothing was made.
        """
        import tomlkit

        document = self._document()
        sections = document.setdefault("keys", tomlkit.table(is_super_table=True))
        if request.name in sections:
            raise Conflict(f"there is an API key {request.name!r} already; rotate or revoke it")
        now, secret = self._clock.now(), _new_secret()
        section: dict[str, Any] = {
            "sha256": _digest(secret).hex(),
            "namespace": request.namespace or request.name,
            "tier": request.tier,
            "scopes": sorted({*request.scopes, *self._first_scopes()}),
            "created_at": _moment(now),
        }
        if request.ttl_ms is not None:
            section["expires_at"] = _moment(now + request.ttl_ms)
        sections[request.name] = section
        self._keep(document)
        return ApiKeyIssued(secret, self._by_name[request.name].info)

    def _first_scopes(self) -> frozenset[Scope]:
        """What an API key gets besides where one is asked for everywhere and none has scope admin: that scope."""
        return self._first.scopes if self._required and not self._managed else frozenset()

    def rotate(self, name: str) -> ApiKeyIssued:
        """Give an API key a new secret; connections that used the old one are refused from now on.

        Raises:
            NotFound: there is none of that name.
            StorageFull: the file cannot be written; the old secret stands.
        """
        document = self._document()
        secret = _new_secret()
        _section_of(document, name)["sha256"] = _digest(secret).hex()
        self._keep(document)
        return ApiKeyIssued(secret, self._by_name[name].info)

    def revoke(self, name: str) -> None:
        """Delete an API key; connections that used it are refused from now on.

        Raises:
            NotFound: there is none of that name.
            StorageFull: the file cannot be written; the API key stands.
        """
        document = self._document()
        _section_of(document, name)
        del document["keys"][name]
        self._keep(document)

    def list(self) -> replies.ApiKeys:
        """All API keys by name, without their secrets; expired ones stay until they are revoked."""
        return replies.ApiKeys([self._by_name[name].info for name in sorted(self._by_name)])

    def reload(self) -> None:
        """Take the file as it stands: API keys added, changed and removed, for open connections too.

        Tiers are not read again; those need a restart.

        Raises:
            BadRequest: the file is not right, in one line that says where; everything stays as it was.
        """
        self._apply(self._read(config.read(self._path)))

    # ── the file ──

    def _document(self) -> TOMLDocument:
        import tomlkit  # 30 ms, for what happens once a week

        if not self._path:
            raise BadRequest("there is no configuration file that could keep an API key")
        text = config.read_text(self._path) or ""
        parsed, self._parsed = self._parsed, None
        if parsed is not None and parsed[0] == text:
            return parsed[1]
        self._read(config.parse(self._path, text))
        return tomlkit.parse(text)

    def _keep(self, document: TOMLDocument) -> None:
        import tomlkit

        text = tomlkit.dumps(document)
        known = self._read(config.parse(self._path, text))
        config.write(self._path, text)
        self._parsed = text, document
        self._apply(known)

    def _read(self, file: dict[str, Any]) -> dict[str, _Known]:
        known: dict[str, _Known] = {}
        digests: dict[bytes, str] = {}
        sections = file.get("keys", {})
        if not isinstance(sections, dict):
            raise BadRequest(f"{self._path}: keys is written as sections [keys.NAME]")
        for name, raw in sections.items():
            entry = self._known(name, raw)
            if other := digests.get(entry.digest):
                raise BadRequest(f"{self._path}: keys.{name}: the same sha256 as keys.{other}")
            digests[entry.digest] = name
            known[name] = entry
        return known

    def _known(self, name: str, raw: object) -> _Known:
        where = f"{self._path}: keys.{name if name.isprintable() else repr(name)}"
        try:
            section = msgspec.convert(raw, _Section)
            msgspec.convert(name, Name)
        except msgspec.ValidationError as error:
            raise BadRequest(f"{where}: {explain(error)}") from None
        namespace = section.namespace or name
        if not (name.isprintable() and namespace.isprintable()):
            raise BadRequest(f"{where}: the name and the namespace of an API key must be printable")
        if section.tier not in self._tiers:
            raise BadRequest(f"{where}: there is no tier {section.tier!r}; there are {', '.join(sorted(self._tiers))}")
        expires_at = None if section.expires_at is None else _milliseconds(section.expires_at)
        info = ApiKeyInfo(
            name=name,
            namespace=namespace,
            tier=section.tier,
            scopes=sorted(set(section.scopes)),
            created_at=_milliseconds(section.created_at),
            expires_at=expires_at,
        )
        caller = Caller(
            namespace=namespace,
            tier=self._tiers[section.tier],
            scopes=frozenset(section.scopes),
            api_key_name=name,
            expires_at=expires_at,
        )
        return _Known(bytes.fromhex(section.sha256), info, caller)

    def _without_api_key(self, scopes: frozenset[Scope]) -> Caller:
        return Caller(namespace=LOCAL_NAMESPACE, tier=self._tiers[LOCAL_TIER], scopes=scopes)

    def _apply(self, fresh: dict[str, _Known]) -> None:
        self._managed = any("admin" in known.info.scopes for known in fresh.values())
        if self._managed:
            self._first.revoked = True
        elif self._first.revoked:
            self._first = self._without_api_key(self._first.scopes)
        for name, old in self._by_name.items():
            new = fresh.get(name)
            if new is None or new.digest != old.digest or new.info.namespace != old.info.namespace:
                old.caller.revoked = True  # a namespace never changes under an open connection and its watches
                continue
            old.caller.tier, old.caller.scopes = new.caller.tier, new.caller.scopes
            old.caller.expires_at = new.caller.expires_at
            new.caller = old.caller
        self._by_name = fresh
        self._by_digest = {known.digest: known for known in fresh.values()}

    def _expired(self, known: _Known) -> bool:
        return known.caller.expires_at is not None and known.caller.expires_at <= self._clock.now()


def _digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).digest()


def _new_secret() -> str:
    return "sk_" + urlsafe_b64encode(os.urandom(API_KEY_BYTES)).rstrip(b"=").decode()


def _section_of(document: TOMLDocument, name: str) -> Any:
    sections = document.get("keys", {})
    if name not in sections:
        raise NotFound(f"there is no API key {name!r}")
    return sections[name]


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MILLISECOND


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND

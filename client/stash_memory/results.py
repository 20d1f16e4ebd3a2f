"""What calls return."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from stash_memory.values import moment, read_value
from stash_protocol import replies
from stash_protocol.memories import Memory
from stash_protocol.reader import Payload
from stash_protocol.replies import EmbeddingStatus, Scope, ValueType


class Entry:
    """An entry, as it was when the daemon answered."""

    __slots__ = ("_wire",)

    def __init__(self, wire: replies.Entry) -> None:
        self._wire = wire

    @property
    def key(self) -> str:
        """As it is stored; made by stash when none was given."""
        return self._wire.key

    @property
    def type(self) -> ValueType:
        """What the value is: ``"bytes"``, ``"text"`` or ``"json"``."""
        return self._wire.type

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self._wire.size

    @property
    def version(self) -> int:
        """Grows with each write; what ``if_version`` compares."""
        return self._wire.version

    @property
    def ttl(self) -> float:
        """Seconds left."""
        return self._wire.ttl_ms / 1000

    @property
    def expires_at(self) -> datetime:
        """From this moment on, nothing can read it."""
        return moment(self._wire.expires_at)

    @property
    def created_at(self) -> datetime:
        """When its key was first set."""
        return moment(self._wire.created_at)

    @property
    def updated_at(self) -> datetime:
        """When its value was last written."""
        return moment(self._wire.updated_at)

    @property
    def embedding_status(self) -> EmbeddingStatus | None:
        """Of a memory that was just written: how far an embedder is with it."""
        return self._wire.embedding_status

    @property
    def clamped(self) -> bool:
        """Whether the tier's maximum cut the time that was asked for."""
        return self._wire.clamped

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._wire == other._wire

    def __hash__(self) -> int:
        return hash((self.key, self.version, self._wire.created_at))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key={self.key!r}, type={self.type!r}, size={self.size}, ttl={self.ttl})"


class StoredEntry(Entry):
    """An entry with its value.

    Attributes:
        raw: the value's bytes.
    """

    __slots__ = ("raw",)

    def __init__(self, wire: replies.Entry, raw: Payload) -> None:
        super().__init__(wire)
        self.raw = bytes(raw)

    @property
    def value(self) -> Any:
        """The value, in the type it was given.

        Raises:
            BadRequest: whoever set it called it text or JSON, and it is not.
        """
        return read_value(self.type, self.raw)


class ExportedEntry(StoredEntry):
    """An entry with its value, tags and memory, as `Stash.export` yields it and `Stash.import_` takes it."""

    __slots__ = ("memory", "tags")

    def __init__(self, wire: replies.Entry, raw: Payload, tags: list[str], memory: Memory | None) -> None:
        super().__init__(wire, raw)
        self.tags = tags
        self.memory = memory


class Portable(NamedTuple):
    """An entry to import that was not exported by this library.

    Attributes:
        raw: the value's bytes.
        ttl: seconds.
    """

    key: str
    type: ValueType
    raw: bytes
    ttl: float
    tags: Sequence[str] = ()
    memory: Memory | None = None


class Remaining(NamedTuple):
    """The time an entry has left.

    Attributes:
        ttl: seconds.
        clamped: the tier's maximum cut the time that was asked for.
    """

    ttl: float
    expires_at: datetime
    version: int
    clamped: bool


class Event(NamedTuple):
    """One change under a watched prefix.

    Attributes:
        version: of the entry after the change.
        expires_at: of the entry after the change; None once it is gone.
    """

    event: Literal["set", "update", "extend", "forget", "expire"]
    key: str
    at: datetime
    version: int
    expires_at: datetime | None


class Pruned(NamedTuple):
    """What a prune deleted, or would delete.

    Attributes:
        expired: entries whose time was over.
        pruned: live entries the policies chose.
        bytes: of all their values.
        keys: of the live ones, when ``report`` was asked for.
    """

    expired: int
    pruned: int
    bytes: int
    keys: list[str]


class Imported(NamedTuple):
    """What became of an import.

    Attributes:
        imported: entries written.
        skipped: entries that were there already (without ``replace``) or whose time was over.
        clamped: entries whose time the tier's maximum cut.
    """

    imported: int
    skipped: int
    clamped: int


class ApiKey(NamedTuple):
    """One API key, without its secret; ``expires_at`` None: never."""

    name: str
    namespace: str
    tier: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None


class IssuedApiKey(NamedTuple):
    """A new API key; ``secret`` is shown this once."""

    secret: str
    info: ApiKey

    def __repr__(self) -> str:
        return f"IssuedApiKey(secret='sk_…', info={self.info!r})"

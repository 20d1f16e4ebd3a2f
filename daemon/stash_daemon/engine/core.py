"""What the operations share: the caller's rows, how long an entry lives, whether there is room, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from stash_daemon.clock import Clock
from stash_daemon.engine.events import Events
from stash_daemon.keys import ApiKeys, Caller
from stash_daemon.memory_store import REMEMBERED
from stash_daemon.observe import Observer
from stash_daemon.search.embedders.troubles import Health
from stash_daemon.search.shelves import Shelves
from stash_daemon.settings import Settings, Tier
from stash_daemon.store import TYPES, Expired, Head, Row, Store, Value
from stash_protocol.errors import BadRequest, Forbidden, NotFound, OverQuota, TooLarge
from stash_protocol.operations import OPERATIONS, Access, Cargo, Forget, Get, Request, Tail
from stash_protocol.replies import Entry, Event, Scope
from stash_protocol.types import check_key, format_duration, format_size

MAX_EVICTIONS = 256  # rows one write may push out: bounds the time it takes

EventName = Literal["set", "update", "extend", "forget", "expire"]


class Reply(NamedTuple):
    """What an operation answers."""

    body: Struct
    payload: Value = b""


class Aside(NamedTuple):
    """What may take long and writes nothing: for another thread, outside of any turn, before the next slice.

    A store in memory has one connection: there it is for the loop itself, see `Engine.scans_inline`.
    """

    work: Callable[[], None]


Step = Reply | Aside | None
"""What a slice of a long write ends with; only the last is a `Reply`."""


class QueryEmbedder(Protocol):
    """What makes vectors of queries."""

    name: str

    def vector(self, text: str, namespace: str) -> bytes | None:
        """The vector of a text that a namespace searches for; None when it cannot be had now."""
        ...


class EmbeddingQueue(Protocol):
    """What makes the vectors of memories."""

    def health(self, namespace: int) -> Health:
        """How its embedder is, as far as a namespace may know; from any thread."""
        ...


class Core:
    """The parts of one engine, and the rules more than one operation follows."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, keys: ApiKeys, observer: Observer) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.keys = keys
        self.observer = observer
        self.events = Events()
        self.shelves = Shelves(store, settings.search_memory)
        self.embedder: QueryEmbedder | None = None
        self.queue: EmbeddingQueue | None = None
        self.started = clock.now()
        self._evicted: list[tuple[str, str, int]] = []  # of the turn: namespace, key, bytes

    def live(self, namespace: int, key: str, now: int) -> Head:
        """The head of a live entry.

        Raises:
            NotFound: there is none; whether it expired or never was is not said.
        """
        head = self.store.head(namespace, key)
        if head is None or head.expires <= now:
            raise absent(key)
        return head

    def make_room(self, caller: Caller, namespace: int, growth: int, *, now: int, spared: int = 0) -> None:
        """See that the namespace may grow by so many bytes.

        Args:
            caller: whose tier says what is too much, and whether entries may go for it.
            namespace: the caller's.
            growth: bytes, what is replaced being taken off already.
            now: milliseconds since the epoch.
            spared: the row that is being written: it never goes.

        Raises:
            OverQuota: it may not grow, and nothing (more) may be evicted; nothing was.
        """
        quota = caller.tier.quota
        if growth <= 0 or self.store.held(namespace) + growth <= quota:
            return
        excess = self.store.usage(namespace, now).bytes + growth - quota
        if excess <= 0 or (caller.tier.evict == "soonest" and self._evict(caller, namespace, excess, now, spared)):
            return
        raise OverQuota(
            f"{format_size(growth)} more would put the namespace {format_size(excess)} over the"
            f" {format_size(quota)} of tier {caller.tier.name}; forget or prune something"
        )

    def _evict(self, caller: Caller, namespace: int, excess: int, now: int, spared: int) -> bool:
        """Delete what expires soonest, if that makes enough room; else nothing."""
        chosen: list[Expired] = []
        for row in self.store.soonest(namespace, now, MAX_EVICTIONS):
            if excess <= 0:
                break
            if row.id != spared:
                chosen.append(row)
                excess -= row.size + self.store.memory_bytes(row.id)
        if excess > 0:
            return False
        self.store.delete(namespace, chosen)
        for row in chosen:
            self.tell(caller.namespace, "forget", row.key, at=now, version=row.version, expires=row.expires)
            self._evicted.append((caller.namespace, row.key, row.size))
        return True

    def held_by(self, head: Head | Row) -> int:
        """Bytes of a live entry, with what it is remembered by: what goes when it is replaced."""
        return head.size + (self.store.memory_bytes(head.id) if head.tagged & REMEMBERED else 0)

    def mark(self) -> tuple[int, int]:
        """Where what the turn will tell stands now; see `discard`."""
        return self.events.mark(), len(self._evicted)

    def discard(self, mark: tuple[int, int] = (0, 0)) -> None:
        """What was to be told since the mark was rolled back."""
        self.events.discard(mark[0])
        del self._evicted[mark[1] :]

    def publish(self) -> None:
        """The turn was committed: tell."""
        self.events.publish()
        evicted, self._evicted = self._evicted, []
        for namespace, key, size in evicted:
            self.observer.evicted(namespace, key, size)

    def tell(self, namespace: str, name: EventName, key: str, *, at: int, version: int, expires: int) -> None:
        """Let watchers know, once the turn is committed."""
        if self.events.wanted(namespace):
            self.events.add(namespace, Event(name, key, at, version, expires))


SCOPES: dict[type[Request], Scope | None] = {
    request: None if row.access is Access.KNOWN else row.access.value for request, row in OPERATIONS.items()
}
KEYED = frozenset(request for request in OPERATIONS if "key" in request.__struct_fields__)


def writes(request: Request) -> bool:
    """Whether the request changes entries."""
    return SCOPES[type(request)] == "write" or (isinstance(request, (Get, Tail)) and request.touch)


def permit(request: Request, payload_length: int, caller: Caller) -> Scope | None:
    """What holds for every request, alone or in a batch; the scope it takes, None for none.

    Raises:
        Forbidden: the caller's scopes do not cover it.
        BadRequest: a key that is none, or a payload where none belongs.
    """
    kind = type(request)
    scope: Scope | None = "write" if writes(request) else SCOPES[kind]
    if scope not in caller.scopes and scope is not None:
        if caller.api_key_name is None and caller.scopes == {"admin"}:  # see ApiKeys.first_caller
            raise Forbidden("nothing goes without an API key here, and there is none yet: stash key create NAME")
        raise Forbidden(f"{OPERATIONS[kind].name} needs scope {scope}, which this API key does not have")
    if kind in KEYED:
        key: str | None = request.key  # type: ignore[attr-defined]  # that is what KEYED says
        if key is not None:
            check_key(key)
    elif isinstance(request, Forget):
        for key in request.keys:
            check_key(key)
    if payload_length and OPERATIONS[kind].cargo is Cargo.NONE:
        raise BadRequest(f"{OPERATIONS[kind].name} takes no payload; {payload_length:,} bytes came with it")
    return scope


def check_size(tier: Tier, size: int) -> None:
    """Refuse a value the tier has no room for.

    Raises:
        TooLarge: names both sizes.
    """
    if size > tier.max_value:
        raise TooLarge(
            f"the value has {size:,} bytes ({format_size(size)}); tier {tier.name} allows {tier.max_value:,}"
            f" ({format_size(tier.max_value)})"
        )


def lifetime(tier: Tier, ttl: int | None, default: int | None = None) -> int:
    """The TTL a new entry gets, milliseconds; ``default`` in place of the tier's.

    Raises:
        BadRequest: beyond the tier's maximum.
    """
    if ttl is None:
        return min(tier.default_ttl if default is None else default, tier.max_ttl)
    if ttl > tier.max_ttl:
        raise BadRequest(
            f"a TTL of {format_duration(ttl)} is more than the {format_duration(tier.max_ttl)} tier {tier.name} allows"
        )
    return ttl


def prolonged(head: Head | Row, by: int, tier: Tier, now: int) -> tuple[int, bool]:
    """When an entry expires once so much is added to its time, and whether the tier's maximum cut that.

    The maximum never shortens what another tier, or a larger maximum of before, has given.
    """
    wanted, limit = head.expires + by, max(head.expires, now + tier.max_ttl)
    return min(wanted, limit), wanted > limit


def absent(key: str, what: str = "entry") -> NotFound:
    """The one error for whatever is not there, or not the caller's."""
    return NotFound(f"no {what} {shown(key)}: it expired, was forgotten or never was")


def shown(key: str) -> str:
    """A key in a message: quoted, on one line, not longer than a line."""
    return repr(key if len(key) <= 80 else key[:77] + "...")


def entry(row: Head | Row, now: int) -> Entry:
    """A row as its owner sees it."""
    return Entry(
        row.key, TYPES[row.type], row.size, row.version, row.expires - now, row.expires, row.created, row.updated
    )

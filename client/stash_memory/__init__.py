"""The client library of stash: working memory for agents and scripts.

::

    from stash_memory import Stash

    stash = Stash()
    stash.set("k", {"step": 3}, ttl="30m")
    stash.get("k")

Everything here is imported when it is first used: whoever only needs `stash_memory.autostart` pays for nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stash_memory.aio import AsyncStash as AsyncStash
    from stash_memory.conversations import Conversation as Conversation
    from stash_memory.conversations import ConversationPage as ConversationPage
    from stash_memory.episodes import Episode as Episode
    from stash_memory.episodes import EpisodeHits as EpisodeHits
    from stash_memory.memories import Hit as Hit
    from stash_memory.memories import Hits as Hits
    from stash_memory.messages import Message as Message
    from stash_memory.messages import MessageHits as MessageHits
    from stash_memory.results import ApiKey as ApiKey
    from stash_memory.results import Entry as Entry
    from stash_memory.results import Event as Event
    from stash_memory.results import ExportedEntry as ExportedEntry
    from stash_memory.results import Imported as Imported
    from stash_memory.results import IssuedApiKey as IssuedApiKey
    from stash_memory.results import Portable as Portable
    from stash_memory.results import Pruned as Pruned
    from stash_memory.results import Remaining as Remaining
    from stash_memory.results import StoredEntry as StoredEntry
    from stash_memory.sync import Stash as Stash
    from stash_protocol.errors import BadRequest as BadRequest
    from stash_protocol.errors import Busy as Busy
    from stash_protocol.errors import Conflict as Conflict
    from stash_protocol.errors import Forbidden as Forbidden
    from stash_protocol.errors import Internal as Internal
    from stash_protocol.errors import NotFound as NotFound
    from stash_protocol.errors import OverQuota as OverQuota
    from stash_protocol.errors import RateLimited as RateLimited
    from stash_protocol.errors import StashError as StashError
    from stash_protocol.errors import StorageDamaged as StorageDamaged
    from stash_protocol.errors import StorageFull as StorageFull
    from stash_protocol.errors import Timeout as Timeout
    from stash_protocol.errors import TooLarge as TooLarge
    from stash_protocol.errors import Unauthenticated as Unauthenticated
    from stash_protocol.errors import Unreachable as Unreachable

_HOMES = {
    "stash_memory.aio": ("AsyncStash",),
    "stash_memory.sync": ("Stash",),
    "stash_memory.conversations": ("Conversation", "ConversationPage"),
    "stash_memory.episodes": ("Episode", "EpisodeHits"),
    "stash_memory.memories": ("Hit", "Hits"),
    "stash_memory.messages": ("Message", "MessageHits"),
    "stash_memory.results": (
        "ApiKey",
        "Entry",
        "Event",
        "ExportedEntry",
        "Imported",
        "IssuedApiKey",
        "Portable",
        "Pruned",
        "Remaining",
        "StoredEntry",
    ),
    "stash_protocol.errors": (
        "BadRequest",
        "Busy",
        "Conflict",
        "Forbidden",
        "Internal",
        "NotFound",
        "OverQuota",
        "RateLimited",
        "StashError",
        "StorageDamaged",
        "StorageFull",
        "Timeout",
        "TooLarge",
        "Unauthenticated",
        "Unreachable",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = list(_HOME_OF)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})

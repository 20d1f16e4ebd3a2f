"""The table of tools: a row is one thing a tool-calling model can do with a stash.

A row is a struct: its fields are the arguments, its docstring is what the model reads. `stash_memory.tools` makes
schema, check and call from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stash_memory import calls, tool_results
from stash_memory.calls import Call
from stash_memory.memories import Filters, search_request
from stash_memory.values import seconds
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Memory, Text
from stash_protocol.operations import MAX_FORGET_KEYS, MAX_PAGE, Key, Tag, Tags, Version

PAGE = 50  # entries a list shows at once unless asked for more: what a model reads at a glance
VALUE_BYTES = 50_000  # of a value that get shows unless asked for more: a fraction of a model's context
HITS = 100  # of one search at most; a model reads no more of them
BUDGET = 4000  # tokens the hits of a search may have together, unless it asks for more


class Span(str):
    """A duration as a model writes it: ``"30m"``, or a number of seconds."""

    __slots__ = ()


def _says(text: str) -> Meta:
    return Meta(description=text)


ItsKey = Annotated[Key, _says("The entry's key. Slashes group entries: project/topic/name.")]
IfVersion = Annotated[Version | UnsetType, _says("Write only if the entry still has this version, as get showed it.")]
Ttl = Annotated[
    Span | UnsetType,
    _says("How long it lives: 45s, 30m, 2h, 7d or 1h30m. Left out: the default, an hour unless configured."),
]


ItsPrefix = Annotated[str, _says("Only keys that start with this. Left out: all.")]
AnyTag = Annotated[Tags, _says("Only entries with any of these tags.")]
Budget = Annotated[
    int, Meta(ge=1, le=1_000_000, description="Tokens the texts may have together; the best one is always given.")
]


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    """One tool; an instance is one call of it.

    Attributes:
        result: what it answers with.
        reads: it changes nothing.
        destroys: it can replace or delete what is there.
        repeats: a second call with the same arguments changes nothing more.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    result: ClassVar[type[Struct]]
    reads: ClassVar[bool] = False
    destroys: ClassVar[bool] = False
    repeats: ClassVar[bool] = False

    def request(self) -> Call[Any]:
        """The call it makes.

        Raises:
            BadRequest: the arguments contradict each other.
        """
        raise NotImplementedError

    def show(self, outcome: Any) -> Struct:
        """What the model is shown of the call's result."""
        raise NotImplementedError

    def patience(self, timeout: float) -> float:
        """Seconds the call may take, where others may take ``timeout``."""
        return timeout

    @classmethod
    def description(cls) -> str:
        """What the model reads: the docstring, a line a paragraph."""
        return "\n".join(" ".join(part.split()) for part in (inspect.getdoc(cls) or "").split("\n\n"))

    @classmethod
    def needed(cls) -> Sequence[str]:
        """The arguments that must be given; for all others, null is as good as left out, and some models say so."""
        return [field.name for field in msgspec.structs.fields(cls) if field.required]

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """JSON Schema of the arguments: one object, nothing referred to."""
        schema = schema_of(cls)
        return {name: schema[name] for name in ("type", "properties", "required", "additionalProperties")}


class Set(Tool, kw_only=True):
    """Store a value under a key for a limited time, replacing what is there.

    Use it for anything needed again soon, in a later step, by another agent or in another session: plans, findings,
    intermediate results, progress. Every entry expires; give a ttl that fits.
    """

    name = "set"
    title = "Store a value"
    result = tool_results.Shown
    destroys = True
    repeats = True

    key: ItsKey | UnsetType = UNSET
    value: Annotated[Any, _says("Text, or any JSON: an object, array, number, boolean or null.")]
    ttl: Ttl = UNSET
    if_absent: Annotated[bool, _says("Store only if no entry has the key: a lock, or a claim on a task.")] = False
    if_version: IfVersion = UNSET
    tags: Annotated[Tags, _says("Names to find it by later.")] = []
    searchable: Annotated[bool, _says("Let search and context find it by what its value says.")] = True

    def request(self) -> Call[Any]:
        return calls.set_(
            _or_none(self.key),
            self.value,
            ttl=_or_none(self.ttl),
            if_absent=self.if_absent,
            if_version=_or_none(self.if_version),
            tags=self.tags,
            memory=Memory(text_is_value=True) if self.searchable else None,
        )

    def show(self, outcome: Any) -> Struct:
        return tool_results.shown(outcome)


class Get(Tool, kw_only=True):
    """Read the value of an entry, and how long it will live. Reading does not renew it.

    With wait, wait for another agent to store it.
    """

    name = "get"
    title = "Read a value"
    result = tool_results.Valued
    reads = True
    repeats = True

    key: ItsKey
    wait: Annotated[
        Span | UnsetType, _says("If the key is not there, wait so long for it to appear: 30s. Left out: do not wait.")
    ] = UNSET
    max_bytes: Annotated[int, Meta(ge=1, description="Show at most so many bytes of the value.")] = VALUE_BYTES

    def request(self) -> Call[Any]:
        return calls.entry(self.key, touch=False, wait=_or_none(self.wait))

    def show(self, outcome: Any) -> Struct:
        return tool_results.valued(outcome, self.max_bytes)

    def patience(self, timeout: float) -> float:
        return timeout + seconds(_or_none(self.wait) or 0)


class Update(Tool, kw_only=True):
    """Replace the value of an entry that is there, and keep its expiry; with extend, add to its time in the same step.

    Unlike set it fails when the entry has expired. With if_version it loses to nobody who wrote in between.
    """

    name = "update"
    title = "Replace a value"
    result = tool_results.Shown
    destroys = True

    key: ItsKey
    value: Annotated[Any, _says("The new value: text, or any JSON but null. Left out: the value stays.")] = UNSET
    extend: Annotated[Span | UnsetType, _says("Add so much to the time it has left: 30m.")] = UNSET
    if_version: IfVersion = UNSET

    def request(self) -> Call[Any]:
        return calls.update(self.key, self.value, extend=_or_none(self.extend), if_version=_or_none(self.if_version))

    def show(self, outcome: Any) -> Struct:
        return tool_results.shown(outcome)


class Extend(Tool, kw_only=True):
    """Let an entry live longer, before it expires: what has expired cannot be brought back."""

    name = "extend"
    title = "Let an entry live longer"
    result = tool_results.Remaining

    key: ItsKey
    by: Annotated[Span, _says("How much to add to the time it has left: 30m, 2h.")]

    def request(self) -> Call[Any]:
        return calls.extend(self.key, self.by)

    def show(self, outcome: Any) -> Struct:
        return tool_results.remaining(self.key, outcome)


class Forget(Tool, kw_only=True):
    """Delete entries: either those with the given keys, or all that have the prefix and the tag. Says how many."""

    name = "forget"
    title = "Delete entries"
    result = tool_results.Forgotten
    destroys = True
    repeats = True

    keys: Annotated[list[Key], Meta(max_length=MAX_FORGET_KEYS, description="Keys of the entries.")] = []
    prefix: Annotated[Key | UnsetType, _says("Delete all entries whose key starts with this: project/topic/.")] = UNSET
    tag: Annotated[Tag | UnsetType, _says("Delete all entries with this tag.")] = UNSET

    def request(self) -> Call[Any]:
        chosen = self.prefix is not UNSET or self.tag is not UNSET
        if bool(self.keys) == chosen:
            raise BadRequest("forget takes either keys, or a prefix, a tag or both")
        return calls.clear(_or_none(self.prefix), _or_none(self.tag)) if chosen else calls.forget(self.keys)

    def show(self, outcome: Any) -> Struct:
        return tool_results.Forgotten(outcome)


class List(Tool, kw_only=True):
    """List the entries that are there, in the order of their keys, without their values. Start here to find things."""

    name = "list"
    title = "List entries"
    result = tool_results.Page
    reads = True
    repeats = True

    prefix: ItsPrefix = ""
    tag: Annotated[Tag | UnsetType, _says("Only entries with this tag.")] = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="At most so many.")] = PAGE
    cursor: Annotated[str, _says("Go on where the last list ended: its cursor.")] = ""

    def request(self) -> Call[Any]:
        return calls.list_page(self.prefix, _or_none(self.tag), self.cursor, limit=self.limit)

    def show(self, outcome: Any) -> Struct:
        return tool_results.page(*outcome)


class Search(Tool, kw_only=True):
    """Find entries by what they say: by words, and by meaning where there is an embedder; the best first.

    Use it when you do not know the key. It finds what set stored as searchable.
    """

    name = "search"
    title = "Find entries by what they say"
    result = tool_results.Found
    reads = True
    repeats = True

    query: Annotated[Text | UnsetType, _says("What it should be about. Left out: all, the most important first.")] = (
        UNSET
    )
    prefix: ItsPrefix = ""
    tags: AnyTag = []
    k: Annotated[int, Meta(ge=1, le=HITS, description="At most so many.")] = 10
    budget: Budget = BUDGET

    def request(self) -> Call[Any]:
        return _search(self.query, self.k, self.budget, prefix=self.prefix, tags=self.tags)

    def show(self, outcome: Any) -> Struct:
        return tool_results.found(outcome)


class Context(Tool, kw_only=True):
    """Recall what is known, as one text to go on with: the best entries for a question, within a number of tokens."""

    name = "context"
    title = "Recall what is known"
    result = tool_results.Context
    reads = True
    repeats = True

    query: Annotated[Text | UnsetType, _says("What it is for. Left out: the most important of all.")] = UNSET
    prefix: ItsPrefix = ""
    tags: AnyTag = []
    budget: Budget = BUDGET

    def request(self) -> Call[Any]:
        return _search(self.query, HITS, self.budget, prefix=self.prefix, tags=self.tags)

    def show(self, outcome: Any) -> Struct:
        return tool_results.context(outcome)


TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Set, Get, Update, Extend, Forget, List, Search, Context)}
"""The table."""


def schema_of(struct: type[Struct]) -> dict[str, Any]:
    """JSON Schema of an argument or result, with an object at its root."""
    _, parts = msgspec.json.schema_components([struct], schema_hook=_span_schema, ref_template="#/$defs/{name}")
    root = {name: value for name, value in parts.pop(struct.__name__).items() if name not in ("title", "description")}
    return {**root, "$defs": parts} if parts else root


def _search(query: str | UnsetType, k: int, budget: int, *, prefix: str, tags: Sequence[str]) -> Call[Any]:
    filters: Filters = {"prefix": prefix, "tags_any": tags}
    return calls.search(search_request(_or_none(query), k=k, budget=budget, **filters))


def _or_none(given: Any) -> Any:
    return None if given is UNSET else given


def _span_schema(_kind: type) -> dict[str, Any]:
    return {"type": "string"}

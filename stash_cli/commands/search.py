"""`stash search` and `stash context`."""

from __future__ import annotations

import msgpack

from stash_cli import render, streams
from stash_cli.call import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUDGET = 2000  # tokens
MOST = 1000  # hits a context may be made of


def search(call: Call) -> None:
    """`stash search`."""
    show(call, call.fields())


def show(call: Call, fields: dict[str, Any]) -> None:
    """Search, and print what is found."""
    reply, payload = call.ask(fields)
    hits: list[dict[str, Any]] = msgpack.unpackb(payload)
    if call.as_json:
        streams.emit(render.object_of(found_members(fields, reply, hits)) + "\n")
        return
    if hits and streams.is_colourful(1):
        from stash_cli.tables import print_hits

        print_hits(hits)
    else:
        streams.emit("".join([hit_line(hit) + "\n" for hit in hits]))
    _tell(reply, len(hits))


def context(call: Call) -> None:
    """`stash context`."""
    fields = call.fields()
    budget = fields.setdefault("budget", BUDGET)
    fields.setdefault("k", min(budget, MOST))  # a text takes a token at least
    reply, payload = call.ask(fields)
    hits: list[dict[str, Any]] = msgpack.unpackb(payload)
    told = [hit for hit in hits if hit["content"].strip()]  # a memory may have a vector only
    text = "\n\n".join([f"{hit['role']}: {hit['content']}" if hit.get("role") else hit["content"] for hit in told])
    if call.as_json:
        members = found_members(fields, reply, hits)
        members.insert(-1, ("context", render.dump(text)))
        streams.emit(render.object_of(members) + "\n")
        return
    if told:
        if streams.is_terminal(1):
            text = "\n".join(map(render.printable, text.split("\n")))
        streams.emit(text + "\n")
    _tell(reply, len(hits))


def _tell(reply: dict[str, Any], shown: int) -> None:
    """How it was searched, for whoever reads along."""
    parts = [f"{shown:,} of {reply['total']:,}", reply["mode"]]
    if reply["mode"] in ("vector", "hybrid"):
        parts.append(coverage(reply))
    if "tokens" in reply:
        parts.append(f"about {reply['tokens']:,} tokens")
    if reply.get("truncated"):
        parts.append("truncated")
    streams.say(", ".join(parts))
    if reply.get("note"):
        streams.say(reply["note"])


def coverage(reply: dict[str, Any]) -> str:
    """How many of the memories that were looked at could be compared by meaning."""
    return f"{reply['embedded']:,} of {reply['candidates']:,} embedded"


def found_members(fields: dict[str, Any], reply: dict[str, Any], hits: list[dict[str, Any]]) -> render.Members:
    """What the search with these fields found, as a JSON object's members."""
    said = {"query": fields.get("query"), "mode": reply["mode"], "total": reply["total"], "coverage": coverage(reply)}
    if reply.get("note"):
        said["note"] = reply["note"]
    if "budget" in fields:
        said |= {"truncated": reply.get("truncated", False), "tokens": reply.get("tokens", 0)}
    shown = ", ".join([render.object_of(hit_members(hit)) for hit in hits])
    return [*render.members_of(said), ("hits", f"[{shown}]")]


def hit_members(hit: dict[str, Any]) -> render.Members:
    """One hit: its entry, and what search knows of it. It was created when it happened."""
    entry = dict(render.entry(hit["entry"]))
    entry["created_at"] = render.dump(render.moment(hit["at"]))
    said = {
        "score": hit["score"],
        "similarity": hit.get("similarity"),
        "importance": hit["importance"],
        "content": hit["content"],
        "kind": hit.get("kind", "memory"),
        "role": hit.get("role"),
        "group": hit.get("group"),
        "reward": hit.get("reward"),
        "tags": hit.get("tags", []),
    }
    members = [*entry.items(), *render.members_of(said)]
    members.append(("metadata", " ".join(hit["metadata"].split("\n")) if hit.get("metadata") else "{}"))
    members.append(("embedding_status", render.dump(hit["embedding_status"])))
    if hit.get("archived_at") is not None:
        members.append(("archived_at", render.dump(render.moment(hit["archived_at"]))))
    return [*members, ("parts", render.dump(hit["parts"]))] if hit.get("parts") else members


def hit_line(hit: dict[str, Any]) -> str:
    """Key, score and the first line of the text; with ``--explain`` what the score is made of."""
    cells = [render.printable(hit["entry"]["key"]), f"{hit['score']:.3f}", first_line(hit), *parts_of(hit)]
    return "\t".join(cells)


def first_line(hit: dict[str, Any]) -> str:
    """The first line of a text that has anything in it."""
    return render.printable(hit["content"].strip().partition("\n")[0].strip())


def parts_of(hit: dict[str, Any]) -> list[str]:
    """One cell with the parts of a score, or none."""
    parts = hit.get("parts")
    return [" ".join([f"{name}={value:.3f}" for name, value in parts.items()])] if parts else []

"""`stash embed status`, `retry` and `rebuild`."""

from __future__ import annotations

import time
from typing import Any

from stash_cli import render, streams
from stash_cli.call import Call
from stash_cli.commands.transfer import progress
from stash_protocol.errors import Timeout

LOOK_EVERY = 0.25  # seconds between two looks at the queue
COUNTS = ("pending", "completed", "failed", "skipped")


def status(call: Call) -> None:
    """`stash embed status`."""
    state = _shown(call.ask()[0])
    if call.as_json:
        streams.emit(render.dump(state) + "\n")
        return
    of = f" ({state['dimensions']:,} dimensions)" if state["dimensions"] else ""
    lines = [("embedder", f"{state['embedder']}{of}" if state["embedder"] else "none")]
    lines += [(name, f"{state[name]:,}") for name in COUNTS]
    if state["outdated"]:
        lines.append(("outdated", f"{state['outdated']:,}; stash embed rebuild makes their vectors"))
    lines += [("vectors", f"{use['vectors']:,} of {use['model']} ({use['dimensions']:,})") for use in state["models"]]
    if state["error"]:
        lines.append(("last error", f"{state['error']}, at {state['error_at']}"))
    if state["breaker"] == "open":
        lines.append(("breaker", f"open: it fails, and is called again in {state['retry']:.0f} s"))
    elif state["breaker"]:
        lines.append(("breaker", state["breaker"]))
    streams.emit("".join(f"{name:<12}{render.printable(text)}\n" for name, text in lines))


def retry(call: Call) -> None:
    """`stash embed retry`."""
    count = call.ask()[0]["requeued"]
    call.print(str(count), lambda: render.members_of({"requeued": count}))


def rebuild(call: Call) -> None:
    """`stash embed rebuild`."""
    count: int = call.ask()[0]["requeued"]
    state = None if call.get("no_wait") else _wait(call)
    if call.as_json:
        after = {} if state is None else {name: state[name] for name in COUNTS}
        streams.emit(render.dump({"requeued": count, **after}) + "\n")
        return
    streams.emit(f"{count}\n")
    if state is not None and state["failed"]:
        streams.say(f"{state['failed']:,} have failed; stash embed status says why, stash embed retry tries them again")


def _wait(call: Call) -> dict[str, Any]:
    """How it is once nothing waits any more; a progress bar meanwhile, where somebody sees it."""
    state = _look(call)
    deadline = None if call.get("timeout") is None else time.monotonic() + call.timeout
    most, said = state["pending"], False
    with progress("embed", most, shown=streams.is_colourful(2)) as bar:
        done = 0
        while state["pending"]:
            if state["breaker"] == "open" and not said:
                streams.say(f"waiting for the embedder: {state['error']}")
                said = True
            if deadline is not None and time.monotonic() > deadline:
                raise Timeout(f"{state['pending']:,} memories still wait for their vectors; they are still to come")
            time.sleep(LOOK_EVERY)
            state = _look(call)
            bar.advance(max(0, most - state["pending"] - done))
            done = max(done, most - state["pending"])
    return state


def _look(call: Call) -> dict[str, Any]:
    connection = call.connect()
    connection.renew()
    return _shown(connection.call("embedding")[0])


def _shown(state: dict[str, Any]) -> dict[str, Any]:
    """The state as JSON has it, with what is none or nothing."""
    retry_ms, error_at = state.get("retry_ms"), state.get("error_at")
    return {
        "embedder": state.get("embedder"),
        "dimensions": state.get("dimensions"),
        **{name: state.get(name, 0) for name in (*COUNTS, "current", "outdated")},
        "models": state.get("models", []),
        "error": state.get("error"),
        "error_at": None if error_at is None else render.moment(error_at),
        "breaker": state.get("breaker"),
        "retry": None if retry_ms is None else retry_ms / 1000,
    }

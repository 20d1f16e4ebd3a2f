#!/usr/bin/env python
"""A small agent: a model of Ollama's that calls tools, with stash as its scratchpad.

    ollama_agent.py "Keep for an hour that the build is green, then tell me what else you know."
    ollama_agent.py --model qwen3 "Go on with the task under todo/next."

What it stores outlives this program: the next run, other agents and shell scripts see it, until its time is over. The
model must be one that calls tools. OLLAMA_HOST and OLLAMA_MODEL are read; each step is told on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

from stash_memory import Stash, StashError
from stash_memory.tools import Toolbox

MODEL = "qwen3"
ROUNDS = 20  # answers of the model, tools or not: one that never comes to an end is stopped
PATIENCE = 600  # seconds for one answer: the first loads the model
SHOWN = 100  # characters of a step on stderr

SYSTEM = """\
You are an agent with a scratchpad, stash: entries under keys, each with a time to live, shared with other agents and \
kept between your runs. Look into it with stash_list before you start. Store what will be needed again, with a ttl \
that fits. When the answer of a tool is an error, its hint says what to do. When you are done, answer in a sentence."""


class Trouble(Exception):
    """What the user can do something about."""


class Ollama:
    """One model of one server.

    Args:
        host: as in OLLAMA_HOST: ``127.0.0.1:11434``, or a URL.
        model: its name.
    """

    def __init__(self, host: str, model: str) -> None:
        self.url = (host if "://" in host else f"http://{host}").rstrip("/")
        self.model = model

    def chat(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The model's next message.

        Raises:
            Trouble: no server answers, or it refuses.
        """
        body = {"model": self.model, "messages": messages, "tools": tools, "stream": False}
        request = urllib.request.Request(  # noqa: S310  # the user says where
            f"{self.url}/api/chat", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310
                message: dict[str, Any] = json.load(reply)["message"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise Trouble(f"{self.url} says: {refusal.read(1000).decode(errors='replace')}") from None
        except (OSError, ValueError, KeyError) as problem:
            raise Trouble(f"no answer of Ollama at {self.url}: {problem}") from None
        return message


def work(model: Ollama, toolbox: Toolbox, task: str) -> str:
    """What the model says when it is done.

    Raises:
        Trouble: it does not come to an end, or see `Ollama.chat`.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task}]
    for _ in range(ROUNDS):
        message = model.chat(messages, toolbox.definitions)
        messages.append(message)
        calls = message.get("tool_calls") or []
        if not calls:
            return str(message.get("content", "")).strip()
        for call in calls:
            asked = call["function"]
            answer = json.dumps(toolbox.call(asked["name"], asked["arguments"]), ensure_ascii=False)
            step = f"{asked['name']} {json.dumps(asked['arguments'], ensure_ascii=False)}"
            print(f"{step[:SHOWN]} -> {answer[:SHOWN]}", file=sys.stderr)
            messages.append({"role": "tool", "tool_name": asked["name"], "content": answer})
    raise Trouble(f"no end after {ROUNDS} rounds")


def main() -> int:
    """Do one task."""
    parser = argparse.ArgumentParser(description="An agent whose scratchpad is stash.")
    parser.add_argument("task", help="what to do")
    parser.add_argument("--model", default=os.environ.get("OLLAMA_MODEL", MODEL))
    options = parser.parse_args()
    model = Ollama(os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434", options.model)
    try:
        with Stash() as stash:
            print(work(model, Toolbox(stash, prefix="stash_"), options.task))
    except (Trouble, StashError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

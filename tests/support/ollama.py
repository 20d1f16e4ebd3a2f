"""A server that speaks Ollama's chat API over real HTTP, and answers what was written down for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def says(text: str) -> dict[str, Any]:
    """A message that ends a task."""
    return {"role": "assistant", "content": text}


def asks(*calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A message that calls tools."""
    wanted = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "content": "", "thinking": "…", "tool_calls": wanted}


class OllamaServer:
    """One server.

    Args:
        messages: what the model says, one after the other; the last again and again.
        refusal: an error to answer with instead, with status 400.

    Attributes:
        requests: the bodies that were sent to ``/api/chat``.
    """

    def __init__(self, messages: Sequence[dict[str, Any]] = (), refusal: str = "") -> None:
        self.requests: list[dict[str, Any]] = []
        self._messages = messages
        self._refusal = refusal
        server = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, reply = server._answer(self.path, body)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)

    @property
    def host(self) -> str:
        """As OLLAMA_HOST has it."""
        return f"127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[OllamaServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path != "/api/chat":
            return 404, {"error": "not found"}
        if self._refusal:
            return 400, {"error": self._refusal}
        message = self._messages[min(len(self.requests), len(self._messages) - 1)]
        self.requests.append(body)
        return 200, {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True,
                     "done_reason": "stop"}  # fmt: skip

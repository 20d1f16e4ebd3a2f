"""Whoever started the daemon, at the other end of a pipe: hears once that it is ready, or why it never will be."""

from __future__ import annotations

import contextlib
import os

from stash_protocol.errors import StashError

MAX_WORD = 4096  # bytes that every empty pipe has room for: nobody has to read for the daemon to end


class Starter:
    """Gets one word: ``1``, or the code and the message of an error. Whoever ends without a word was cut short.

    Args:
        descriptor: of the pipe; None: nobody waits.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def ready(self) -> None:
        """A request would succeed from now on."""
        self._say(b"1")

    def failed(self, error: StashError) -> None:
        """The daemon does not start. Not heard once it was ready."""
        word = f"{error.code} {error.message}".encode(errors="replace")
        self._say(word[:MAX_WORD])

    def _say(self, word: bytes) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):  # they may have given up waiting
            os.write(descriptor, word)
            os.close(descriptor)

"""The vector of what is searched for: soon, or not at all, because search can do without."""

from __future__ import annotations

import threading
from collections import OrderedDict

from stash_daemon.search.embedders import Embedder, EmbedderFailed
from stash_daemon.search.embedders.breaker import Breaker
from stash_protocol.vectors import little_endian

MAX_KEPT = 256  # vectors of texts searched for before: 8 MiB at the most
FAILURES = 3  # in a row, after which searches go by keyword at once
LONGEST_PAUSE = 30.0  # seconds for which they do


class QueryEmbedder:
    """Embeds texts of searches; any thread may ask.

    Args:
        embedder: shared with the queue.
        timeout: seconds a search waits for it.

    Attributes:
        name: of the model whose vectors these can be compared with.
    """

    def __init__(self, embedder: Embedder, timeout: float, breaker: Breaker | None = None) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._timeout = timeout
        self._breaker = breaker or Breaker(FAILURES, longest=LONGEST_PAUSE)
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def vector(self, text: str, namespace: str = "") -> bytes | None:
        """Float32 LE; None: the embedder fails, or failed just now. It blocks, for the timeout at most.

        Vectors are kept for each namespace by itself: how long it takes must not tell what another searches for.
        """
        place = namespace, text
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
        if not self._breaker.admits():
            return None
        try:
            vector = little_endian(self._embedder.embed([text], timeout=self._timeout)[0])
        except EmbedderFailed as failure:
            if failure.permanent:  # about this text, so the server is well
                self._breaker.succeeded()
            else:
                self._breaker.failed(failure.retry_after)
            return None
        self._breaker.succeeded()
        with self._lock:
            self._kept[place] = vector
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return vector

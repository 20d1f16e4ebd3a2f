"""The indexes of the namespaces that were searched lately, each as new as the rows of the snapshot it is used with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from stash_daemon.memory_store import MemoryReads
from stash_daemon.store import Reads, Store

if TYPE_CHECKING:
    from stash_daemon.search.index import Index

MOST_CHANGES = 1 << 16  # entries that wait to be read again; of more, all are: an idle index must not grow


class Shelf:
    """One namespace's index, and what has changed since it was last used.

    Attributes:
        users: searches that have it, or wait for it.
    """

    def __init__(self, namespace: int, changed: deque[int]) -> None:
        from stash_daemon.search.index import Index  # numpy: 100 ms and 20 MiB for those who search

        self.lock = Lock()
        self.index = Index()
        self.users = 0
        self._namespace = namespace
        self._changed = changed
        self._filled = False
        self._due: list[int] = []  # entries to be read again

    def look(self) -> None:
        """Take what has changed; to be done before the snapshot that `refresh` reads is made."""
        self._due += self._take()

    def refresh(self, reads: MemoryReads) -> None:
        """Bring the index up to a snapshot.

        What has changed since `look` may be in the snapshot, or come only with the next: it is read now and then.
        """
        late = self._take()
        self._due += late
        changed: list[int] | None = None
        if self._filled and not self.index.worn and len(self._due) < MOST_CHANGES:
            changed = list(dict.fromkeys(self._due))
            self.index.drop(changed)
        else:
            self._filled, self.index = False, type(self.index)()
        for rows in reads.columns(self._namespace, changed):
            self.index.put(rows)
        self._filled, self._due = True, late

    def _take(self) -> list[int]:
        found = []
        while self._changed:
            found.append(self._changed.popleft())
        return found


class Shelves:
    """The indexes of one engine.

    Args:
        store: whose namespaces.
        ceiling: bytes: beyond it those go that were not used for longest. The one in use always stays.
    """

    def __init__(self, store: Store, ceiling: int) -> None:
        self._store = store
        self._ceiling = ceiling
        self._lock = Lock()
        self._shelves: dict[int, Shelf] = {}  # the one used last at the end

    @contextmanager
    def open(self, namespace: int) -> Iterator[tuple[Index, Reads]]:
        """The index of a namespace, and a snapshot that says the same."""
        shelf = self._take(namespace)
        try:
            with shelf.lock:
                shelf.look()
                with self._store.snapshot() as reads:
                    shelf.refresh(reads)
                    yield shelf.index, reads
        finally:
            self._give_back(shelf, namespace)

    def _take(self, namespace: int) -> Shelf:
        with self._lock:
            shelf = self._shelves.pop(namespace, None)
            if shelf is None:
                shelf = Shelf(namespace, self._store.follow(namespace, MOST_CHANGES))
            self._shelves[namespace] = shelf
            shelf.users += 1
            return shelf

    def _give_back(self, used: Shelf, namespace: int) -> None:
        """And clear away what nobody uses, where there is too much."""
        with self._lock:
            used.users -= 1
            size = sum(shelf.index.size for shelf in self._shelves.values())
            for other, shelf in tuple(self._shelves.items()):
                if size <= self._ceiling:
                    break
                if other != namespace and not shelf.users:
                    size -= self._shelves.pop(other).index.size
                    self._store.unfollow(other)

"""Who is told of changes: watchers, and gets that wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from stash_protocol.replies import Event

Notify = Callable[[Event], None]


class Events:
    """Changes wait here for their commit; then everyone whose prefix they have is told, in the order they happened."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[str, list[tuple[str, Notify]]] = defaultdict(list)
        self._pending: list[tuple[str, Event]] = []

    def subscribe(self, namespace: str, prefix: str, notify: Notify) -> Callable[[], None]:
        """Be told of every committed change under the prefix; call the result to end it."""
        subscriber = (prefix, notify)
        self._subscribers[namespace].append(subscriber)

        def unsubscribe() -> None:
            subscribers = self._subscribers[namespace]
            if subscriber in subscribers:
                subscribers.remove(subscriber)
            if not subscribers:
                del self._subscribers[namespace]

        return unsubscribe

    def wanted(self, namespace: str) -> bool:
        """Whether anyone listens there: an event nobody hears need not be made."""
        return namespace in self._subscribers

    def waiting(self, namespace: str | None) -> int:
        """How many listen there; None: in all namespaces. From any thread."""
        if namespace is not None:
            return len(self._subscribers.get(namespace, ()))
        return sum(map(len, tuple(self._subscribers.values())))

    def add(self, namespace: str, event: Event) -> None:
        """Tell of a change, once it is committed."""
        self._pending.append((namespace, event))

    def mark(self) -> int:
        """Where the turn's changes stand now; see `discard`."""
        return len(self._pending)

    def publish(self) -> None:
        """The turn was committed."""
        pending, self._pending = self._pending, []
        for namespace, event in pending:
            for prefix, notify in tuple(self._subscribers.get(namespace, ())):
                if event.key.startswith(prefix):
                    notify(event)

    def discard(self, mark: int = 0) -> None:
        """What was added since the mark was rolled back."""
        del self._pending[mark:]

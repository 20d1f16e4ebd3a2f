"""How the embedder is, as far as a namespace may know: failures with another's texts are not its business."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

MAX_NAMESPACES = 1024  # whose last failure is kept


class Health(NamedTuple):
    """What there is to say of an embedder.

    Attributes:
        error: the last failure; None: there was none.
        error_at: milliseconds since the epoch.
        retry_in: seconds until it is called again; None: it is called as usual.
    """

    error: str | None
    error_at: int | None
    retry_in: float | None


class Troubles:
    """The last failure of each namespace, and the last that concerned them all."""

    def __init__(self) -> None:
        self._common: tuple[int, str] | None = None
        self._own: OrderedDict[int, tuple[int, str]] = OrderedDict()

    def note(self, namespaces: Iterable[int], message: str, at: int, *, common: bool) -> None:
        """A call failed, with texts of these namespaces; ``common``: the embedder does so whatever the texts."""
        if common:
            self._common = at, message
        for namespace in namespaces:
            self._own[namespace] = at, message
            self._own.move_to_end(namespace)
        while len(self._own) > MAX_NAMESPACES:
            self._own.popitem(last=False)

    def last(self, namespace: int) -> tuple[int | None, str | None]:
        """When the last failure was, and what it said."""
        known = [trouble for trouble in (self._common, self._own.get(namespace)) if trouble is not None]
        return max(known) if known else (None, None)

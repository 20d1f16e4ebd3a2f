"""The audit: who did what, when, to which key, and what came of it. One JSON line each; no line is lost quietly."""

from __future__ import annotations

import errno
import json
from collections import deque
from typing import Any

from stash_daemon.observe.files import LineFile, line_of
from stash_daemon.settings import Settings
from stash_protocol.errors import BadRequest, Busy, StorageFull

MAX_HELD = 16 << 20  # bytes of lines that wait for the disk: reads go on meanwhile, writes are refused

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Audit:
    """The audit file of one daemon.

    Args:
        settings: ``audit_log``, ``audit_required`` and ``audit_keep``.
        now: milliseconds since the epoch.

    Attributes:
        lost: lines that were dropped because the disk stayed full.

    Raises:
        BadRequest: the audit is required and its file cannot be written.
    """

    def __init__(self, settings: Settings, now: int) -> None:
        assert settings.audit_log is not None
        self.lost = 0
        self._file = LineFile(settings.audit_log, settings.audit_keep)
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._trouble: OSError | None = None
        try:
            self._file.append(b"", now)
        except OSError as error:
            if settings.audit_required:
                where = settings.sources.get("audit_log", "audit_log")
                raise BadRequest(
                    f"{where}: {settings.audit_log} cannot be written: {error.strerror or error}"
                ) from None
            self._trouble = error

    @property
    def held(self) -> int:
        """Lines that wait for the disk."""
        return len(self._held)

    def require(self, now: int) -> None:
        """Make sure that what is done now will be written down.

        Raises:
            StorageFull: there is no room for the audit.
            Busy: the audit cannot be written for another reason.
        """
        if self._trouble is None:
            return
        self._write_held(now)
        if self._trouble is not None:
            reason = self._trouble.strerror or str(self._trouble)
            refusal = StorageFull if self._trouble.errno in _NO_ROOM else Busy
            raise refusal(f"the audit cannot be written ({reason}), so nothing may be")

    def record(self, line: dict[str, Any], now: int) -> None:
        """Add a line; while the disk refuses, hold it."""
        text = line_of(json.dumps(line))
        while self._held and self._held_bytes + len(text) > MAX_HELD:
            self._take_first()
            self.lost += 1
        self._held.append(text)
        self._held_bytes += len(text)
        self._write_held(now)

    def close(self, now: int) -> None:
        """Write what is held, if that works now, and let go of the file."""
        self._write_held(now)
        self._file.close()

    def _write_held(self, now: int) -> None:
        try:
            if self._trouble is not None:
                self._file.append(b"", now)
            while self._held:
                self._file.append(self._held[0], now)
                self._take_first()
        except OSError as error:
            self._trouble = error
        else:
            self._trouble = None

    def _take_first(self) -> None:
        self._held_bytes -= len(self._held.popleft())

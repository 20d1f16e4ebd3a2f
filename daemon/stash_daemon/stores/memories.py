"""The rows of memories in SQLite: what is kept of them, and their vectors. Their words: see `words`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from stash_daemon.memory_store import (
    COMPLETED,
    FAILED,
    PENDING,
    REMEMBERED,
    TAGGED,
    Candidate,
    Column,
    Memorable,
    Model,
    Pending,
    Place,
    Remembered,
    text_of,
)
from stash_daemon.store import Head
from stash_daemon.stores.census import CensusReads
from stash_daemon.stores.conditions import behind, meets, passes
from stash_daemon.stores.pieces import START
from stash_daemon.stores.words import WordReads, WordWrites
from stash_protocol.errors import BadRequest
from stash_protocol.memories import Condition, Filter
from stash_protocol.vectors import ITEM_SIZE

REMEMBERED_ROW = '"group", role, score, importance, metadata, text, embed, state, archived'
COLUMNS = (
    'm.entry, m.expires, m.at, m.kind, m.role, m."group", m.score, m.importance, m.words, m.archived, v.model,'
    " v.vector, (SELECT nullif(json_group_array(tag), '[]') FROM tags WHERE tags.entry = m.entry)"
    " FROM json_each(?) j CROSS JOIN memories m ON m.entry = j.value LEFT JOIN vectors v ON v.entry = m.entry"
    " WHERE m.namespace = ?"
)
OF_NAMESPACE = "SELECT entry FROM memories INDEXED BY memories_by_expiry WHERE namespace = ?"
CANDIDATE = (
    'm.entry, m.expires, m.at, m.kind, m.role, m."group", m.score, m.importance, m.words, m.archived, NULL, NULL,'
    " (SELECT nullif(json_group_array(tag), '[]') FROM tags WHERE tags.entry = m.entry),"
    " e.key, e.version, e.size, m.bytes"
    " FROM memories m INDEXED BY memories_by_expiry JOIN entries e ON e.id = m.entry"
)
COLUMNS_AT_ONCE = 1_000  # rows of `columns` in memory twice


class MemoryReads(CensusReads, WordReads):
    """Reads of memories over one connection."""

    def columns(self, namespace: int, entries: Sequence[int] | None = None) -> Iterator[list[Column]]:
        if entries is None:  # the index has them all, but in the order of their expiry
            entries = sorted(entry for (entry,) in self._rows(OF_NAMESPACE, (namespace,)))
        for start in range(0, len(entries), COLUMNS_AT_ONCE):
            some = str(list(entries[start : start + COLUMNS_AT_ONCE]))
            yield list(map(Column._make, self._rows(f"SELECT {COLUMNS}", (some, namespace))))

    def models(self, namespace: int) -> list[Model]:
        return [Model._make(row) for row in self._rows(
            "SELECT id, name, dimensions FROM models WHERE namespace = ?", (namespace,)
        )]  # fmt: skip

    def matching(self, namespace: int, prefix: str, *, segments: bool, where: Sequence[Condition]) -> list[int]:
        sql = "SELECT m.entry FROM memories m"
        wanted: list[str] = ["m.namespace = ?"]
        bindings: list[Any] = [namespace]
        if prefix:
            sql += " JOIN entries e ON e.id = m.entry"
            stem = prefix.rstrip("/") + "/" if segments else prefix
            keys = "e.namespace = ? AND e.key >= ? AND e.key < ?"
            bindings += [namespace, stem, behind(stem)]
            if segments:
                keys = f"({keys} OR e.namespace = ? AND e.key = ?)"
                bindings += [namespace, prefix.rstrip("/")]
            wanted.append(keys)
        for condition in where:
            condition_sql, values = meets(condition)
            wanted.append(condition_sql)
            bindings += values
        return [entry for (entry,) in self._rows(f"{sql} WHERE {' AND '.join(wanted)}", tuple(bindings))]

    def let_through(self, entries: Sequence[int], wanted: Filter) -> dict[int, tuple[int, float | None]]:
        sql, bindings = passes(wanted)
        sql = f"SELECT m.at, m.score FROM memories m JOIN entries e ON e.id = m.entry WHERE m.entry = ? AND {sql}"
        return {entry: row for entry in entries for row in self._rows(sql, (entry, *bindings))}

    def entries_of(self, namespace: int, keys: Sequence[str]) -> list[int]:
        sql = "SELECT id FROM entries WHERE namespace = ? AND key = ?"
        return [entry for key in keys for (entry,) in self._rows(sql, (namespace, key))]

    def memorable(self, entries: Sequence[int], now: int) -> list[Memorable]:
        head_columns = ", ".join(f"e.{field}" for field in Head._fields)
        sql = (
            f"SELECT {head_columns}, kind, at, {REMEMBERED_ROW}, CASE WHEN text IS NULL THEN {START} END"
            " FROM entries e JOIN memories m ON m.entry = e.id WHERE e.id = ? AND e.expires > ?"
        )
        cut = len(Head._fields)
        found = []
        for entry in entries:
            for row in self._rows(sql, (entry, now)):
                head, memory = Head._make(row[:cut]), Remembered._make(row[cut:-1])
                text = memory.text if memory.text is not None else text_of(row[-1])
                found.append(Memorable(head, memory, text, self.tags(entry) if head.tagged & TAGGED else []))
        return found

    def tags(self, entry: int) -> list[str]:
        """The tags of a row, sorted."""
        return [tag for (tag,) in self._rows("SELECT tag FROM tags WHERE entry = ? ORDER BY tag", (entry,))]

    def candidates(self, namespace: int, after: Place, limit: int) -> list[Candidate]:
        rows = self._rows(
            f"SELECT {CANDIDATE} WHERE m.namespace = ? AND (m.expires, m.bytes, m.entry) > (?, ?, ?)"
            " ORDER BY m.expires, m.bytes, m.entry LIMIT ?",
            (namespace, *after, limit),
        )
        cut = len(Column._fields)
        return [Candidate(Column._make(row[:cut]), *row[cut:]) for row in rows]

    def overdue_memories(self, namespace: int, now: int) -> int:
        """Bytes of memories whose time is over and which are not deleted yet."""
        sql = "SELECT ifnull(sum(bytes), 0) FROM memories WHERE namespace = ? AND expires <= ?"
        return int(self._rows(sql, (namespace, now))[0][0])

    def vector(self, entry: int) -> tuple[str, bytes] | None:
        sql = "SELECT name, vector FROM vectors v JOIN models ON models.id = v.model WHERE entry = ?"
        rows = self._rows(sql, (entry,))
        return rows[0] if rows else None

    def vector_of(self, namespace: int, key: str, now: int) -> tuple[int, str, bytes] | None:
        rows = self._rows(
            "SELECT e.id, models.name, v.vector FROM entries e JOIN vectors v ON v.entry = e.id"
            " JOIN models ON models.id = v.model WHERE e.namespace = ? AND e.key = ? AND e.expires > ?",
            (namespace, key, now),
        )
        return rows[0] if rows else None


class MemoryWrites(MemoryReads, WordWrites):
    """Writes of memories, within a turn of the store they are part of."""

    def __init__(self) -> None:
        WordWrites.__init__(self)
        self._followers: dict[int, deque[int]] = {}
        self._touched: list[tuple[int, int]] = []  # of the turn: namespace and entry
        self._remembering: set[int] = set()  # namespaces that have, or had, memories
        for namespace, size in self._rows("SELECT namespace, sum(bytes) FROM memories GROUP BY namespace"):
            self._remembering.add(namespace)
            self._count(namespace, 0, size)

    def _count(self, namespace: int, entries: int, size: int, floor: int = 0) -> None:
        raise NotImplementedError

    # ── writes ──

    def remember(
        self,
        namespace: int,
        entry: int,
        memory: Remembered,
        text: str,
        vector: tuple[str, bytes] | None,
        *,
        new: bool = False,
    ) -> None:
        if not new:
            self.drop_memory(namespace, entry)
            self._rows(f"UPDATE entries SET tagged = tagged | {REMEMBERED} WHERE id = ?", (entry,))
        terms = self.terms(namespace, text) if text else []
        size = memory.size + (len(vector[1]) if vector else 0)
        self._rows(
            f"INSERT INTO memories (entry, namespace, expires, words, bytes, kind, at, {REMEMBERED_ROW})"
            " SELECT id, namespace, expires, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM entries WHERE id = ?",
            (len(terms), size, *memory, entry),
        )
        if terms:
            self.keep_words(entry, terms, len(text))
        if vector:
            self._store_vector(namespace, entry, *vector)
        self._remembering.add(namespace)
        self._count(namespace, 0, size)
        self._touch(namespace, entry)

    def drop_memory(self, namespace: int, entry: int) -> None:
        """Delete what makes an entry a memory, if it is one; the entry stays."""
        rows = self._rows("SELECT bytes FROM memories WHERE entry = ?", (entry,))
        if rows:
            for table, column in (("memories", "entry"), ("vectors", "entry"), ("words", "rowid")):
                self._rows(f"DELETE FROM {table} WHERE {column} = ?", (entry,))
            self._count(namespace, 0, -rows[0][0])
            self._touch(namespace, entry)

    def _store_vector(self, namespace: int, entry: int, name: str, vector: bytes) -> None:
        model = self._model(namespace, name, len(vector) // ITEM_SIZE)
        self._rows("INSERT OR REPLACE INTO vectors (entry, model, vector) VALUES (?, ?, ?)", (entry, model, vector))

    def check_dimensions(self, namespace: int, model: str, dimensions: int) -> None:
        sql = "SELECT id, dimensions FROM models WHERE namespace = ? AND name = ?"
        for number, others in self._rows(sql, (namespace, model)):
            if others != dimensions and self._rows("SELECT 1 FROM vectors WHERE model = ? LIMIT 1", (number,)):
                raise BadRequest(
                    f"the vector has {dimensions:,} dimensions; those of model {model!r} here have {others:,}"
                )

    def _model(self, namespace: int, name: str, dimensions: int) -> int:
        """The number of a model, whose vectors have so many dimensions: as `check_dimensions` has found."""
        known = "SELECT id FROM models WHERE namespace = ? AND name = ? AND dimensions = ?"
        rows = self._rows(known, (namespace, name, dimensions))
        if not rows:  # to write it each time would take 10 µs
            rows = self._rows(
                "INSERT INTO models (namespace, name, dimensions) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET dimensions = excluded.dimensions RETURNING id",
                (namespace, name, dimensions),
            )
        return int(rows[0][0])

    def memory_retimed(self, entry: int, expires: int) -> None:
        """The time of a memory's entry, or its value, has changed."""
        rows = self._rows("UPDATE memories SET expires = ? WHERE entry = ? RETURNING namespace", (expires, entry))
        self._touch(rows[0][0], entry)

    def memory(self, entry: int) -> Remembered | None:
        rows = self._rows(f"SELECT kind, at, {REMEMBERED_ROW} FROM memories WHERE entry = ?", (entry,))
        return Remembered._make(rows[0]) if rows else None

    def memory_bytes(self, entry: int) -> int:
        rows = self._rows("SELECT bytes FROM memories WHERE entry = ?", (entry,))
        return int(rows[0][0]) if rows else 0

    def archive(self, namespace: int, entry: int, at: int | None) -> None:
        self._rows("UPDATE memories SET archived = ? WHERE entry = ?", (at, entry))
        self._touch(namespace, entry)

    def charge(self, namespace: int, entries: Sequence[int]) -> int:
        """Bytes of the memories of entries that are being deleted; their rows die by trigger."""
        if namespace not in self._remembering:
            return 0
        size = 0
        for entry in entries:
            for (part,) in self._rows("SELECT bytes FROM memories WHERE entry = ?", (entry,)):
                size += part
                self._touch(namespace, entry)
        return size

    def remembering(self) -> list[int]:
        return sorted(self._remembering)

    # ── followers ──

    def follow(self, namespace: int, most: int) -> deque[int]:
        return self._followers.setdefault(namespace, deque(maxlen=most))

    def unfollow(self, namespace: int) -> None:
        self._followers.pop(namespace, None)

    def _touch(self, namespace: int, entry: int) -> None:
        """A memory is changing. Followers hear of it now, because a snapshot may have it before the commit returns."""
        self._touched.append((namespace, entry))
        self._tell(namespace, entry)

    def _tell_followers(self) -> None:
        """What the turn has changed so far was committed or rolled back: a snapshot of before did not show that."""
        for namespace, entry in self._touched:
            self._tell(namespace, entry)

    def _tell(self, namespace: int, entry: int) -> None:
        changed = self._followers.get(namespace)
        if changed is not None:
            changed.append(entry)

    # ── embedding ──

    def pending(self, now: int, limit: int, *, least: int) -> list[Pending]:
        sql = (
            f"SELECT e.id, e.version, e.namespace, ifnull(text, {START}), e.expires, attempts"
            " FROM memories m JOIN entries e ON e.id = m.entry"
            f" WHERE state = {PENDING} AND m.due <= ? AND m.expires > ? ORDER BY m.due LIMIT ?"
        )
        rows = self._rows(sql, (now, now + least, limit))
        return [
            Pending._make((*row[:3], row[3] if isinstance(row[3], str) else text_of(row[3]), *row[4:])) for row in rows
        ]

    def next_pending(self) -> int | None:
        rows = self._rows(f"SELECT due FROM memories WHERE state = {PENDING} ORDER BY due LIMIT 1")
        return rows[0][0] if rows else None

    def backlog(self) -> int:
        return int(self._rows(f"SELECT count(*) FROM memories WHERE state = {PENDING}")[0][0])

    def embedded(self, row: Pending, model: str, vector: bytes) -> bool:
        if not self._waits(row):
            return False
        self.check_dimensions(row.namespace, model, len(vector) // ITEM_SIZE)
        self._store_vector(row.namespace, row.entry, model, vector)
        self._rows(
            f"UPDATE memories SET state = {COMPLETED}, bytes = bytes + ? WHERE entry = ?", (len(vector), row.entry)
        )
        self._count(row.namespace, 0, len(vector))
        self._touch(row.namespace, row.entry)
        return True

    def embedding_failed(self, row: Pending, *, again_at: int | None) -> None:
        if self._waits(row):
            state, due = (FAILED, 0) if again_at is None else (PENDING, again_at)
            self._rows(
                "UPDATE memories SET state = ?, due = ?, attempts = attempts + 1 WHERE entry = ?",
                (state, due, row.entry),
            )
            self._touch(row.namespace, row.entry)

    def _waits(self, row: Pending) -> bool:
        sql = (
            "SELECT 1 FROM entries e JOIN memories m ON m.entry = e.id"
            f" WHERE e.id = ? AND version = ? AND e.namespace = ? AND state = {PENDING}"
        )
        return bool(self._rows(sql, (row.entry, row.version, row.namespace)))

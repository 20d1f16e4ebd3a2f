"""The keyword index: FTS5's, but each namespace has words of its own.

Every term begins with the namespace's number. So nothing of one namespace, not even how rare a word is, is to be seen
in another; and a word that many use elsewhere costs nobody here anything. It keeps no text: `Remembered.text` does,
or the value.

FTS5 writes a segment with every commit, which takes longer than all else of storing a short text. So the latest
memories are not in the index yet: those behind the entry that ``worded`` in `meta` names. They are few, and a search
reads their texts instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apsw

from stash_daemon.memory_store import text_of
from stash_daemon.stores.pieces import START

MAX_TERMS = 64  # different words of a query that are looked up; further ones hardly tell anything
MAX_UNREAD = 64  # memories outside the index, or KiB of their texts: a search spends about a millisecond on them
BYTES_OF_ONE = 1024  # a text that is longer counts as several
UNREAD = (
    f"SELECT m.entry, m.namespace, ifnull(m.text, {START}) FROM memories m JOIN entries e ON e.id = m.entry"
    " WHERE m.entry > ? AND m.words"
)


class WordReads:
    """Reads of the keyword index over one connection."""

    _connection: apsw.Connection
    _tokenizer: apsw.FTS5Tokenizer | None = None

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        raise NotImplementedError

    def postings(self, namespace: int, text: str) -> list[list[tuple[int, int]]]:
        """See `memory_store.MemoryReads`."""
        terms = list(dict.fromkeys(self.terms(namespace, text)))[:MAX_TERMS]
        sql = "SELECT doc, count(*) FROM word_places WHERE term = ? GROUP BY doc"
        found: list[list[tuple[int, int]]] = [self._rows(sql, (term,)) for term in terms]
        for entry, _, there in self._unread(self._worded(), namespace):
            often = Counter(there)
            for places, term in zip(found, terms, strict=True):
                if term in often:
                    places.append((entry, often[term]))
        return found

    def terms(self, namespace: int, text: str) -> list[str]:
        """The words of a text as the index has them: stems without accents, of this namespace."""
        if self._tokenizer is None:
            self._tokenizer = self._connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])
        words: list[str] = self._tokenizer(  # type: ignore[assignment]  # without offsets, a list of words
            text.encode(errors="replace"), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False,
            include_colocated=False,
        )  # fmt: skip
        if text.isascii():
            return [f"{namespace}x{word}" for word in words]
        return [f"{namespace}x{part}" for word in words for part in _parts(word)]

    def _worded(self) -> int:
        """The last entry whose words are in the index, if it is a memory."""
        return int(self._rows("SELECT value FROM meta WHERE name = 'worded'")[0][0])

    def _unread(self, worded: int, namespace: int | None = None) -> Iterator[tuple[int, int, list[str]]]:
        """Entry, namespace and words of the memories behind that one, of one namespace or of all."""
        for entry, home, text in self._rows(UNREAD, (worded,)):
            if namespace in (None, home):
                yield entry, home, self.terms(home, text if isinstance(text, str) else text_of(text))


class WordWrites(WordReads):
    """Writes of the keyword index, within a turn of the store it is part of."""

    def __init__(self) -> None:
        self._unread_count = MAX_UNREAD  # how many there are is not known

    def keep_words(self, entry: int, terms: list[str], size: int) -> None:
        """Put a memory's words into the index, or leave them to be put there with others.

        Args:
            entry: whose; there are none of it in the index.
            terms: as `terms` has them.
            size: of the text, in characters.
        """
        worded = self._worded()
        if entry <= worded:
            self._index(entry, terms)
            return
        self._unread_count += 1 + size // BYTES_OF_ONE
        if self._unread_count >= MAX_UNREAD:
            last = worded
            for last, _, words in self._unread(worded):
                self._index(last, words)
            self._rows("UPDATE meta SET value = ? WHERE name = 'worded'", (str(last),))
            self._unread_count = 0

    def _index(self, entry: int, terms: list[str]) -> None:
        if terms:
            self._rows("INSERT INTO words (rowid, terms) VALUES (?, ?)", (entry, " ".join(terms)))


def _parts(word: str) -> Iterator[str]:
    """A word; of scripts that put no spaces between words, every two neighbouring characters."""
    if word.isascii() or len(word) < 3 or not any(_is_spaceless(character) for character in word):
        yield word
    else:
        for place in range(len(word) - 1):
            yield word[place : place + 2]


def _is_spaceless(character: str) -> bool:
    return "\u0e00" <= character <= "\u0e7f" or "\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af"

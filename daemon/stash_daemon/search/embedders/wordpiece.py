"""Words to numbers, as BERT's uncased models were trained: lower case, no accents, longest known pieces first."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

UNKNOWN, FIRST, LAST = "[UNK]", "[CLS]", "[SEP]"
MAX_WORD = 100  # characters; a longer one is unknown
CHARACTERS_EACH = 64  # of text per number wanted: more cannot matter

_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """A vocabulary.

    Args:
        pieces: in the order of their numbers; those that go on with a word begin with ``##``.
    """

    def __init__(self, pieces: list[str]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(pieces)}

    def numbers(self, text: str, most: int) -> list[int]:
        """The numbers of a text, the two around it included; what is beyond ``most`` is left out."""
        found = [self._numbers[FIRST]]
        for word in _words(text[: most * CHARACTERS_EACH]):
            found += self._pieces(word)
            if len(found) >= most:
                break
        return [*found[: most - 1], self._numbers[LAST]]

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word) <= MAX_WORD:
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._numbers.get(prefix + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                break
        return found if start == len(word) else [self._numbers[UNKNOWN]]


def _words(text: str) -> Iterator[str]:
    """Runs of letters and digits; punctuation and ideographs are words by themselves."""
    word: list[str] = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category[0] == "C" and character not in "\t\n\r") or character == "\ufffd":
            continue
        if character.isspace() or _stands_alone(character, category):
            if word:
                yield "".join(word)
                word = []
            if not character.isspace():
                yield character
        else:
            word.append(character)
    if word:
        yield "".join(word)


def _stands_alone(character: str, category: str) -> bool:
    if character.isascii():
        return not character.isalnum()
    return category[0] == "P" or any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)

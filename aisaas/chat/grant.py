"""The part of a completion that fits its grant: no reply exceeds its reservation, whatever is sent.

Counting the whole text with each piece would take longer every time. So only its end is recounted,
and only when it may have passed the grant: a token has at least one byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Text beyond this is counted for good, up to the last place where no tokenizer joins two words.
OPEN_CHARS = 2000
BETWEEN_WORDS = re.compile(r"(?<=[^\W_])(?= [^\W\d_])")
# Text without such a place, like one letter repeated, is counted for good as it is.
OPEN_AT_MOST_CHARS = 8000
# A large piece is processed in steps of this size.
PIECE_CHARS = 500


class Grant:
    """The tokens that may still come. Takes text until they are spent, then nothing."""

    def __init__(self, tokens: int, count_tokens: Callable[[str], int]) -> None:
        self._count = count_tokens
        # Tokens that remain after the text counted for good; `_open` follows that text.
        self._left = tokens
        self._open = ""
        # From this length on the open text is searched for such a place.
        self._search_at = OPEN_CHARS
        # This many bytes can't pass the grant, whatever their tokens are.
        self._safe = tokens
        self._spent = False

    @property
    def spent(self) -> bool:
        """Something came that didn't fit."""
        return self._spent

    def take(self, text: str) -> str:
        """The beginning of `text` that fits: all of it until the grant is spent."""
        taken = 0
        for start in range(0, len(text), PIECE_CHARS):
            if self._spent:
                break
            taken += self._take(text[start : start + PIECE_CHARS])
        return text[:taken]

    def _take(self, piece: str) -> int:
        """How many characters of it fit."""
        size = len(piece.encode("utf-8", "surrogatepass"))
        if size > self._safe:
            counted = self._count(self._open + piece)
            if counted > self._left:
                self._spent = True
                return self._most(piece)
            self._safe = self._left - counted + size
        self._safe -= size
        self._open += piece
        if len(self._open) > self._search_at:
            self._count_for_good()
        return len(piece)

    def _most(self, piece: str) -> int:
        """The most characters of a piece that fit, when not all of them do."""
        fits, too_many = 0, len(piece)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self._count(self._open + piece[:middle]) <= self._left:
                fits = middle
            else:
                too_many = middle
        return fits

    def _count_for_good(self) -> None:
        places = [place.start() for place in BETWEEN_WORDS.finditer(self._open)]
        if not places and len(self._open) <= OPEN_AT_MOST_CHARS:
            self._search_at = len(self._open) + OPEN_CHARS
            return
        self._search_at = OPEN_CHARS
        end = places[-1] if places else len(self._open)
        self._left -= self._count(self._open[:end])
        self._open = self._open[end:]
        self._safe = self._left - self._count(self._open)

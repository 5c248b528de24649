"""Text from outside, made storable.

Providers, webhooks and browsers send JSON, and JSON can say what neither UTF-8 nor Postgres takes:
NUL, and halves of surrogate pairs. NUL is dropped, two halves become the character they stand for,
and a lone half becomes U+FFFD.
"""

from __future__ import annotations

import re
import unicodedata

REPLACEMENT = "\ufffd"
# Letters and symbols by category, but invisible.
BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The same text, as UTF-8 and Postgres can hold it."""
    if not _UNSTORABLE.search(text):
        return text
    return _LONE.sub(REPLACEMENT, _joined(text))


def is_hidden(char: str) -> bool:
    """Whether it takes no room: control and format characters, zero-width ones among them."""
    return unicodedata.category(char)[0] == "C" or char == "\u034f"


def is_blank(text: str) -> bool:
    """Whether there is nothing in it to be seen; marks need something to stand on."""
    return all(unicodedata.category(char)[0] in "CMZ" or char in BLANKS for char in text)


class StreamCleaner:
    """`clean` for a text that comes in pieces: a pair may be split over two of them."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that is final by now; the first half of a pair waits for the second."""
        text, self._held = self._held + piece, ""
        if not _UNSTORABLE.search(text):
            return text
        text = _joined(text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return _LONE.sub(REPLACEMENT, text)

    def end(self) -> str:
        """The rest, when no more text follows."""
        held, self._held = self._held, ""
        return REPLACEMENT if held else ""


def _joined(text: str) -> str:
    return _PAIR.sub(_character, text.replace("\x00", ""))


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")

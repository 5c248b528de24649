"""What comes from outside can be stored: no NUL, no half of a pair, nothing else changed."""

from __future__ import annotations

import random

import pytest

from aisaas.text_cleaning import StreamCleaner, clean, is_blank

CASES = [
    ("", ""),
    ("plain, ümläut, 漢字, 👩‍👩‍👧‍👦 and \t\r\n", "plain, ümläut, 漢字, 👩‍👩‍👧‍👦 and \t\r\n"),
    ("a\x00b", "ab"),
    ("\x00\x00", ""),
    ("\ud83d\ude00", "😀"),
    ("\ud83d\x00\ude00", "😀"),
    ("\ud83d", "\ufffd"),
    ("\ude00", "\ufffd"),
    ("\ude00\ud83d", "\ufffd\ufffd"),
    ("\ud83d\ud83d\ude00", "\ufffd😀"),
    ("\ud83da", "\ufffda"),
    ("😀\ud83d", "😀\ufffd"),
    ("\ud800\udc00\udbff\udfff", "\U00010000\U0010ffff"),
    ("\ufffd\ufeff\uffff\x1b", "\ufffd\ufeff\uffff\x1b"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_text_is_made_storable(text: str, expected: str) -> None:
    assert clean(text) == expected
    clean(text).encode()


@pytest.mark.parametrize("seed", range(200))
def test_cleaning_in_pieces_is_cleaning_the_whole(seed: int) -> None:
    dice = random.Random(seed)
    alphabet = "a漢😀\x00\ud83d\ude00\ud800\udfff"
    pieces = ["".join(dice.choices(alphabet, k=dice.randint(0, 3))) for _ in range(12)]
    cleaner = StreamCleaner()
    got = [cleaner.feed(piece) for piece in pieces]
    assert all("\x00" not in piece and piece.encode() is not None for piece in got)
    assert "".join(got) + cleaner.end() == clean("".join(pieces))
    # Nothing is left for the next text.
    assert cleaner.feed("\ude00") == "\ufffd"


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "\u200b\u2060\ufeff", "\x00\x1b", "\u3164\u2800", "\u0301\ufe0f", "\u00a0"],
)
def test_text_that_nobody_sees_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", ".", "👍", "漢", "\u200ba", "e\u0301", "\ufffd", "٣"])
def test_text_that_someone_sees_is_not(text: str) -> None:
    assert not is_blank(text)

"""The grant: all of what fits is let through, however it is cut into pieces, and nothing beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.grant import OPEN_AT_MOST_CHARS, OPEN_CHARS, Grant

count_tokens = LiteLLMModel.count_tokens
SENTENCE = "Tokens aren't words: «naïve» is one, 12345 are two, and 😀 may be three.\n"


def counted(text: str) -> int:
    return count_tokens(None, text)  # pyright: ignore[reportArgumentType]


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, start, turn = list[str](), 0, 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        pieces.append(text[start : start + size])
        start, turn = start + size, turn + 1
    return pieces


@pytest.mark.parametrize("size", [1, 4, 7, 499, 500, 501, 100_000])
@pytest.mark.parametrize(
    "text",
    [
        SENTENCE * 200,
        "word " * 3000,
        "x" * 3000,
        "\n" * 3000,
        "日本語の文章。" * 400,
        "12 34 " * 900,
    ],
    ids=["sentences", "words", "one letter", "lines", "no spaces", "digits"],
)
def test_text_that_fits_is_let_through_and_one_token_less_is_not(text: str, size: int) -> None:
    whole = counted(text)
    # What is counted for good where no word ends may count a token twice.
    blocks = len(text) // OPEN_AT_MOST_CHARS
    if " " not in text:
        # And within one long word, fewer letters may be more tokens.
        blocks += 4
    grant = Grant(whole + blocks, counted)
    assert "".join(map(grant.take, cut(text, [size]))) == text
    assert not grant.spent
    less = Grant(whole - 1, counted)
    taken = "".join(map(less.take, cut(text, [size])))
    assert less.spent
    assert text.startswith(taken)
    assert whole - 2 - blocks <= counted(taken) <= whole - 1
    assert less.take("more") == ""


def test_words_are_counted_exactly_however_long_the_text() -> None:
    text = SENTENCE * 400
    assert len(text) > OPEN_CHARS * 10
    grant = Grant(counted(text), counted)
    assert "".join(map(grant.take, cut(text, [3]))) == text
    assert grant.take("!") == ""


@settings(max_examples=60)
@given(
    text=st.text(max_size=3000),
    sizes=st.lists(st.integers(1, 800), min_size=1, max_size=5),
    tokens=st.integers(1, 400),
)
def test_whatever_comes_never_more_than_the_grant_is_taken(
    text: str, sizes: list[int], tokens: int
) -> None:
    grant = Grant(tokens, counted)
    taken = "".join(map(grant.take, cut(text, sizes)))
    assert text.startswith(taken)
    # A letter added to the last word may change the tokens before it.
    assert counted(taken) <= tokens + 1
    assert grant.spent == (taken != text)


def test_counting_a_long_reply_reads_it_a_few_times_and_not_once_a_piece() -> None:
    read = 0

    def reading(text: str) -> int:
        nonlocal read
        read += len(text)
        return counted(text)

    text = SENTENCE * 1000
    grant = Grant(counted(text) * 2, reading)
    for piece in cut(text, [4]):
        grant.take(piece)
    assert not grant.spent
    assert read < 3 * len(text)

"""Conditions for searching text by its words, answered by trigram indexes."""

from __future__ import annotations

from typing import LiteralString

# Shorter words have no trigram, by which an index could find them in the middle of a text.
SHORTEST_INSIDE = 3


def literally(words: str) -> str:
    """For a pattern of `like`: nothing in it is a wildcard."""
    return words.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def address_has(column: LiteralString) -> LiteralString:
    """A condition: a text has the words of `address_pattern` in it, found by an index."""
    return f"lower({column}) like :words"


def address_pattern(words: str) -> dict[str, object]:
    """The value of `address_has`: anywhere in the text, or at its beginning if it is short."""
    found = literally(words.lower())
    return {"words": f"%{found}%" if len(words) >= SHORTEST_INSIDE else f"{found}%"}

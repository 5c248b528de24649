"""How this model counts. One piece is one token is one streamed delta.

- A completion is cut at word boundaries into pieces of at most 4 characters; the space before a
  word belongs to its first piece.
- A prompt counts, for each message, a quarter of its characters rounded up plus 4, and 2 for the
  whole.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

PIECE = re.compile(r"\s\S{1,3}|\S{1,4}|\s{1,4}")
PER_MESSAGE = 4
PER_PROMPT = 2
CHARACTERS_PER_TOKEN = 4


def split_tokens(text: str) -> list[str]:
    """The pieces of `text`, in order; joined they are `text` again."""
    return PIECE.findall(text)


def content_text(content: object) -> str:
    """The text of a message's content: a string, a list of parts (text only), or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = cast("list[object]", content)
    return "".join(
        str(cast("dict[str, Any]", part).get("text", ""))
        for part in parts
        if isinstance(part, dict)
    )


def count_prompt(messages: Iterable[Mapping[str, Any]]) -> int:
    """The prompt's tokens."""
    total = PER_PROMPT
    for message in messages:
        characters = len(content_text(message.get("content")))
        total += -(-characters // CHARACTERS_PER_TOKEN) + PER_MESSAGE
    return total

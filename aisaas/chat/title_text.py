"""A title out of what a model answered, or out of a message's first words.

Models think aloud, quote, label, mark up and explain. Only one line of visible text is kept.
Invariant: the result has no control, format or zero-width character, fits TITLE_CHARS, and is empty
without readable text.
"""

from __future__ import annotations

import re
import unicodedata

from aisaas.text_cleaning import BLANKS, REPLACEMENT, clean, is_blank, is_hidden

TITLE_CHARS = 80
# A longer answer isn't an answer to the title prompt, and a longer line isn't a title.
READ_CHARS = 20_000
LINE_CHARS = 400

_REASONING_TAGS = "think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad"
# Up to its closing tag; without one, all the rest is reasoning.
_REASONING = re.compile(
    rf"<({_REASONING_TAGS})\b[^<>]{{0,100}}>.*?(?:</\1\s*>|\Z)"
    r"|◁think▷.*?(?:◁/think▷|\Z)"
    r"|\[think\].*?(?:\[/think\]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
# Some chat templates open the reasoning themselves, so that only its end is sent.
_REASONING_END = re.compile(rf"</(?:{_REASONING_TAGS})\s*>|◁/think▷|\[/think\]", re.IGNORECASE)
_TAGS = re.compile(
    r"</?(?:title|h[1-6]|b|i|u|em|strong|code|p|span|br|output|answer|final) ?/?>", re.I
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
_MARKED = re.compile(r"(\*\*\*|\*\*|\*|~~|`+|(?<!\w)___?|(?<!\w)_)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_LINE_MARK = re.compile(r"^(?:#{1,6}(?=\s)|>|[-*+•](?=\s)|\d{1,2}[.)](?=\s))\s*")
_LABEL = re.compile(
    r"^(?:(?:the|a|an|my|your|chat|conversation|suggested|possible|proposed|short|final|new)\s+)*"
    r"(?:title|titel|titre|título|titolo|subject|标题|標題|タイトル|제목)"
    r"(?:\s+(?:is|for\s+(?:this|the|your)\s+(?:chat|conversation)))?"
    r"\s*(?:[:：]|\s[-–—]\s)\s*",
    re.IGNORECASE,
)
_QUOTES = "\"'`´“”„‟‘’‚‛«»‹›「」『』《》〈〉＂＇"
_PAIRS = dict(zip("\"'`´“„‘‚«»‹›「『《〈＂＇", "\"'`´””’’»«›‹」』》〉＂＇", strict=True))
_FINAL_STOPS = ".。．｡ "
_JOINERS = "\u200c\u200d"


def title_of(answer: str) -> str:
    """The title that a model answered, or nothing."""
    text = _REASONING.sub("\n", clean(answer[:READ_CHARS]))
    text = _REASONING_END.split(text)[-1]
    text = _RULE.sub("", _FENCE.sub("", _TAGS.sub("", text)))
    lines = [line for line in map(_line, text.splitlines()) if is_visible(line)]
    # "Here is a title:" announces the one below it.
    named = [line for line in lines if not line.endswith((":", "："))]
    return _cut(next(iter(named or lines), "").rstrip(_FINAL_STOPS + ":："), "")


def first_words(message: str, *, most: int = TITLE_CHARS // 2) -> str:
    """A message's first whole words, or nothing."""
    line = _one_line(clean(message[:READ_CHARS]))
    return _cut(line, "…", most) if is_visible(line) else ""


def typed_title(typed: str) -> str:
    """A title as the user typed it, on one line, or "" when it is invisible. Characters that join
    letters and emoji stay."""
    line = _one_line(typed, keep=_JOINERS)
    return "" if is_blank(line) else line


def is_visible(text: str) -> bool:
    """Whether it has any readable character."""
    return any(
        unicodedata.category(char)[0] in "LNS" and char not in BLANKS and char != REPLACEMENT
        for char in text
    )


def _line(line: str) -> str:
    line = _one_line(line)[:LINE_CHARS]
    before = None
    # Each wraps the others: **"Title: …"**.
    while line != before:
        before = line
        line = _LINE_MARK.sub("", line)
        line = _MARKED.sub(r"\2", _LINK.sub(r"\1", line))
        line = _LABEL.sub("", line)
        line = _unquoted(line).strip()
    return line


def _unquoted(line: str) -> str:
    """Without quotes round it; an apostrophe inside stays."""
    bare = line.rstrip(_FINAL_STOPS)
    if len(bare) > 1 and _PAIRS.get(bare[0]) == bare[-1]:
        return bare[1:-1]
    # One of a pair alone belongs to nothing.
    for quote in _QUOTES:
        if line.count(quote) == 1 and quote not in "'’´`＇":
            line = line.strip(quote)
    return line


def _one_line(text: str, *, keep: str = "") -> str:
    """Replaces separators with spaces, and removes invisible characters except those in `keep`."""
    shown = (
        " " if char.isspace() or unicodedata.category(char) in {"Zl", "Zp"} else char
        for char in text
        if char.isspace() or char in keep or not is_hidden(char)
    )
    return " ".join("".join(shown).split())


def _cut(line: str, sign: str, most: int = TITLE_CHARS) -> str:
    """At most `most` characters, and not in the middle of a word where there are spaces."""
    if len(line) <= most:
        return line
    room = line[: most + 1 - len(sign)]
    words = room.rsplit(" ", 1)[0] if " " in room else room[: most - len(sign)]
    while words and unicodedata.category(words[-1])[0] == "M":
        words = words[:-1]
    return words.rstrip(" ,;") + sign

"""Titles: what a model answers around them goes, what people would read stays."""

from __future__ import annotations

import unicodedata

import pytest

from aisaas.chat.title_text import TITLE_CHARS, first_words, is_visible, title_of

ANSWERS = {
    "How Rate Limits Work": "How Rate Limits Work",
    # Reasoning
    "<think>The user wants a title.</think>How Rate Limits Work": "How Rate Limits Work",
    "<think>\nHmm.\n\nMaybe.\n</think>\n\n**Rate Limits**": "Rate Limits",
    "The user wants a title.</think>Rate Limits": "Rate Limits",
    "<think>It never ends": "",
    "<THINKING mode='x'>a</THINKING> Rate Limits": "Rate Limits",
    "<think>a</think><think>b</think>Rate Limits": "Rate Limits",
    "<reasoning>a</reasoning>Rate Limits": "Rate Limits",
    "Rate Limits<think>Was that right?</think>": "Rate Limits",
    # Quotes
    '"Rate Limits"': "Rate Limits",
    "“Rate Limits”.": "Rate Limits",
    "'Rate Limits'": "Rate Limits",
    "«Les quotas»": "Les quotas",
    "「料金の上限」": "料金の上限",
    '"Rate Limits': "Rate Limits",
    "Rock 'n' Roll's Origins": "Rock 'n' Roll's Origins",
    'The Word "Quota" Explained': 'The Word "Quota" Explained',
    # Labels
    "Title: Rate Limits": "Rate Limits",
    "TITLE : Rate Limits": "Rate Limits",
    "**Title:** Rate Limits": "Rate Limits",
    '**"Title: Rate Limits"**': "Rate Limits",
    "Conversation title: “Rate Limits”": "Rate Limits",
    "The title is: Rate Limits": "Rate Limits",
    "Title:\nRate Limits": "Rate Limits",
    "标题：速率限制": "速率限制",
    "Titel: Ratenbegrenzung": "Ratenbegrenzung",
    "Here is a title:\n\nRate Limits": "Rate Limits",
    "Title Deeds in France": "Title Deeds in France",
    "Subjects of the Crown": "Subjects of the Crown",
    "Python: Lists and Dicts": "Python: Lists and Dicts",
    # Markdown
    "# Rate Limits": "Rate Limits",
    "### **Rate** *Limits*": "Rate Limits",
    "- Rate Limits": "Rate Limits",
    "1. Rate Limits\n2. Quotas": "Rate Limits",
    "> Rate Limits": "Rate Limits",
    "```\nRate Limits\n```": "Rate Limits",
    "`Rate Limits`": "Rate Limits",
    "[Rate Limits](https://example.com/x)": "Rate Limits",
    "![Rate Limits](https://example.com/x.png)": "Rate Limits",
    "~~Rate~~ Limits": "Rate Limits",
    "<title>Rate Limits</title>": "Rate Limits",
    "---\nRate Limits\n---": "Rate Limits",
    "Learning C#": "Learning C#",
    "#hashtags and C++": "#hashtags and C++",
    ".NET Basics": ".NET Basics",
    "Using snake_case_names in Python": "Using snake_case_names in Python",
    "2 * 3 * 4 Explained": "2 * 3 * 4 Explained",
    "List<String> in Java": "List<String> in Java",
    "2024. A Year": "2024. A Year",
    # What nobody sees
    "Rate\x00 Lim\x07its\x1b": "Rate Limits",
    "\u200bRate\u200b \u2060Limits\ufeff": "Rate Limits",
    "\u202eRate Limits\u202c": "Rate Limits",
    "Rate\u2028Limits": "Rate",
    "Rate\tLimits": "Rate Limits",
    "Caf\u00ad\u00e9": "Café",
    "\ud83d\ude00 Smile": "😀 Smile",
    "\u200b\u200c\u200d\u2060\ufeff": "",
    "\u3164\u2800\u115f": "",
    "\ufe0f\u0301": "",
    "\ufffd": "",
    "...": "",
    "**": "",
    '""': "",
    "Title:": "",
    "": "",
    "  \n\t ": "",
    "👍": "👍",
    "日本語の勉強": "日本語の勉強",
    "שלום עולם": "שלום עולם",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_title_is_what_a_reader_would_call_it(answer: str) -> None:
    assert title_of(answer) == ANSWERS[answer]


@pytest.mark.parametrize(
    "answer",
    [
        "word " * 400,
        "x" * 500,
        "漢" * 500,
        "<think>" * 5000,
        "*" * 19_000,
        "[" * 19_000,
        "_a" * 9000,
        "`" * 19_000,
        "e\u0301" * 300,
        "\u200b" * 19_000,
        '"' * 19_000,
        "> " * 9000,
        "# " * 9000,
        "title: " * 3000,
        "<" * 19_000,
        "- " * 9000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_any_answer_makes_a_short_title_soon(answer: str) -> None:
    title = title_of(answer)
    assert len(title) <= TITLE_CHARS
    assert not title or is_visible(title)
    assert all(unicodedata.category(char)[0] != "C" for char in title)


def test_first_words_are_whole_clean_and_short() -> None:
    assert first_words("What protects my bill?") == "What protects my bill?"
    assert first_words("a\x00b\u200b\n\n c") == "ab c"
    assert first_words("word " * 40) == "word word word word word word word word…"[:40]
    assert first_words("x" * 100) == "x" * 39 + "…"
    assert first_words("\u200b\u2060") == ""
    assert first_words("??!") == ""
    assert first_words("x" * 40) == "x" * 40

"""Writes the mail of a notice: the same words as plain text and as HTML.

Recorded values are text: they are escaped in HTML and never parsed for braces. The HTML has no images,
scripts, or external styles, and reads in order at any width, in light and dark.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit
from uuid import UUID

from aisaas.billing.notices.ports import Mail
from aisaas.billing.notices.texts import TEXTS, Link, NoticeText, When
from aisaas.billing.notices.values import Plans, Words, words_of
from aisaas.errors import NoticeUnwritable

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{subject}</title>
</head>
<body style="margin:0;padding:1.5rem;font:16px/1.5 system-ui,sans-serif">
<main style="max-width:34rem;margin:0 auto">
<h1 style="font-size:1.25rem;line-height:1.3">{subject}</h1>
{paragraphs}
<p>{link}</p>
<hr>
<p><small>{footer}</small></p>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class MailContext:
    """What all mails share: the product's name, its address, and its plans."""

    app: str
    url: str
    plans: Plans


def write(
    notice_id: UUID, kind: str, values: Mapping[str, object], to: str, of: MailContext
) -> Mail:
    """The mail of a notice. Writing it again gives the same mail.

    Raises:
        NoticeUnwritable: the kind is unknown, or a value isn't there.
    """
    words: Words = {
        **words_of(kind, values, of.plans),
        "app": of.app,
        "app_page": of.url,
        "billing_page": f"{of.url}/billing",
        "controls_page": f"{of.url}/admin/controls",
        "money_page": f"{of.url}/admin/money",
    }
    for name, word in words.items():
        if word is not None and name.endswith("_page") and not _is_page(word):
            raise NoticeUnwritable(f"{kind} has no address in {name}")
    text = TEXTS[kind]
    subject = _filled(kind, text.subject, words)
    return Mail(
        to=to,
        subject=subject,
        text=_as_text(kind, text, words),
        html=_as_html(kind, text, words, subject),
        message_id=f"<{notice_id}@{urlsplit(of.url).hostname}>",
    )


def _as_text(kind: str, text: NoticeText, words: Words) -> str:
    link = _link(text, words)
    parts = [
        *(_filled(kind, paragraph, words) for paragraph in _written(text, words)),
        f"{_filled(kind, link.label, words)}: {words[link.page]}",
        "--",
    ]
    return "\n\n".join(parts) + "\n" + _filled(kind, text.footer, words) + "\n"


def _as_html(kind: str, text: NoticeText, words: Words, subject: str) -> str:
    escaped = {name: _marked_up(name, word) for name, word in words.items() if word is not None}
    link = _link(text, words)
    label = _filled(kind, escape(link.label, quote=False), escaped)
    return _HTML.format(
        subject=escape(subject),
        paragraphs="\n".join(
            f"<p>{_filled(kind, escape(paragraph, quote=False), escaped)}</p>"
            for paragraph in _written(text, words)
        ),
        link=f'<a href="{escape(words[link.page] or "")}">{label}</a>',
        footer=_filled(kind, escape(text.footer, quote=False), escaped),
    )


def _marked_up(name: str, word: str) -> str:
    safe = escape(word)
    return f'<a href="{safe}">{safe}</a>' if name.endswith("_page") else safe


def _written(text: NoticeText, words: Words) -> list[str]:
    """The paragraphs whose required values are known."""
    return [
        paragraph.text if isinstance(paragraph, When) else paragraph
        for paragraph in text.paragraphs
        if not isinstance(paragraph, When) or words.get(paragraph.word) is not None
    ]


def _link(text: NoticeText, words: Words) -> Link:
    return next(link for link in text.links if words.get(link.page) is not None)


def _filled(kind: str, template: str, words: Words) -> str:
    for _, name, _, _ in string.Formatter().parse(template):
        if name is not None and words.get(name) is None:
            raise NoticeUnwritable(f"{kind} has no word for {name}")
    return template.format_map(words)


def _is_page(address: str) -> bool:
    return address.startswith(("https://", "http://")) and address.isprintable()

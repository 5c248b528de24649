"""What the mails about billing say: for every kind of notice, from what is recorded with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import cast
from uuid import UUID, uuid4

import pytest

from aisaas.billing.notices import notices
from aisaas.billing.notices.mail import MailContext, write
from aisaas.billing.notices.ports import Mail
from aisaas.billing.notices.texts import TEXTS
from aisaas.errors import NoticeUnwritable
from tests.billing.mails import URL, mail_context

PERIOD_END = "2026-12-01T00:00:00+00:00"
Recorded = Mapping[str, object]

USE: Recorded = {
    "plan": "pro",
    "used": 1_600_000,
    "included": 2_000_000,
    "beyond": 0,
    "overage": 2_000_000,
    "period_end": PERIOD_END,
}
CAP: Recorded = {**USE, "used": 3_600_000, "beyond": 1_600_000}
INVOICE: Recorded = {
    "subscription": "sub_1",
    "invoice": "in_1",
    "url": "https://invoice.example.com/in_1?a=1&b=2",
    "amount": 2000,
    "currency": "usd",
    "plan": "pro",
}
SPENDING: Recorded = {
    "scope": "free",
    "percent": 80,
    "cap_usd": "5.000000",
    "spent_usd": "4.020000",
    "reserved_usd": "0.500000",
    "day": "2026-11-24",
}
CHARGE: Recorded = {
    "user_id": "a-user",
    "customer": "cus_1",
    "charge": "ch_1",
    "amount": 123_456,
    "currency": "eur",
    "reason": "product_not_received",
    "status": "lost",
}
FAILURE: Recorded = {
    "provider": "Groq, EU",
    "variable": "GROQ_EU_KEY",
    "model": "gpt-oss-120b",
    "at": "2026-11-24T03:00:00+00:00",
}
# As they are recorded, and what the mail must then tell.
DUPLICATE: Recorded = {
    "subscription": "sub_2",
    "plan": "business",
    "amount": 10_000,
    "currency": "usd",
    "customer": "cus_1",
    "user_id": "a-user",
}
SAMPLES: Mapping[str, tuple[Recorded, tuple[str, ...]]] = {
    "allowance_80": (
        USE,
        (
            *("80% of your tokens", "1,600,000 of the 2,000,000", "Dec 1, 2026"),
            *("the Pro plan", "extra usage costs $10 per 1M tokens", "cap of $20.00"),
        ),
    ),
    "allowance_90": (USE, ("90% of your tokens", "Dec 1, 2026")),
    "allowance_100": (USE, ("You've used all your tokens", "Dec 1, 2026", "cap of $20.00")),
    "cap_80": (
        CAP,
        ("80% of your spending cap", "spent $16.00", "cap is $20.00 until Dec 1, 2026"),
    ),
    "cap_90": (CAP, ("90% of your spending cap", "spent $16.00", "cap is $20.00")),
    "cap_100": (CAP, ("reached your spending cap", "your cap of $20.00", "To continue now, raise")),
    notices.TRIAL_WILL_END: (
        {"subscription": "sub_1", "plan": "pro", "trial_end": "2026-11-27T09:05:00+00:00"},
        ("Nov 27, 2026, 9:05 AM UTC", "Your trial of the Pro plan", "$20 a month"),
    ),
    notices.PAYMENT_FAILED: (
        {**INVOICE, "until": "2026-12-01T00:00:00+00:00", "page": "/billing"},
        ("payment of $20.00 for the Pro plan", "until Dec 1, 2026", "invoice.example.com/in_1"),
    ),
    notices.PAYMENT_ACTION_REQUIRED: (
        INVOICE,
        ("confirm the payment of $20.00", "Open the invoice"),
    ),
    notices.SUBSCRIPTION_ENDED: (
        {"subscription": "sub_1", "plan": "pro"},
        ("Your subscription to the Pro plan has ended", "10,000 tokens a month"),
    ),
    notices.DISPUTE_OPENED: (
        CHARGE,
        ("€1,234.56 is disputed", "product not received", "cus_1", "ch_1", "a-user"),
    ),
    notices.DISPUTE_CLOSED: (CHARGE, ("over €1,234.56 is closed", "Outcome: lost", "cus_1")),
    notices.REFUNDED: (CHARGE, ("€1,234.56 was refunded", "cus_1", "ch_1", "a-user")),
    notices.DUPLICATE_ENDED: (
        DUPLICATE,
        ("subscribed to the Business plan", "canceled the second one", "refunded $100.00"),
    ),
    notices.DUPLICATE_FOUND: (DUPLICATE, ("sub_2", "$100.00 was refunded", "cus_1", "a-user")),
    notices.UNKNOWN_PRICE: (
        {"user_id": "a-user", "customer": "cus_1", "subscription": "sub_1", "price": "price_1"},
        ("sub_1", "price_1", "cus_1", "a-user"),
    ),
    notices.METER_PROBLEM: (
        {
            "meter": "mtr_1",
            "at": "2026-11-24T03:00:00+00:00",
            "reasons": [{"code": "meter_event_no_customer", "count": 3, "identifiers": ["a"]}],
        },
        ("mtr_1", "Nov 24, 2026, 3:00 AM UTC", "meter event no customer (3 times)"),
    ),
    notices.METERING_LATE: (
        {"pending": 12_345, "minutes": 31, "parked": 2, "dead": 1},
        ("Stripe: 12,345", "31 minutes", "unknown: 2", "Rejected: 1"),
    ),
    notices.KEY_REFUSED: (
        FAILURE,
        ("Groq, EU refuses your key", "since Nov 24, 2026, 3:00 AM UTC", "key into GROQ_EU_KEY"),
    ),
    notices.MODEL_GONE: (FAILURE, ("doesn't know the model gpt-oss-120b", "models discover")),
    notices.SPENDING_NEAR: (
        SPENDING,
        (
            "80% of the daily spending cap for free accounts",
            "spent $4.02 of the $5.00",
            "Nov 24, 2026",
            "/admin/controls",
        ),
    ),
    notices.SPENDING_REFUSED: (
        {**SPENDING, "scope": "total", "percent": 100},
        ("are being refused: the total", "spent $4.02 of the $5.00", "$0.50 is reserved"),
    ),
    notices.WRITTEN_OFF: (
        {
            "user_id": "a-user",
            "customer": "cus_1",
            "subscription": "sub_1",
            "tokens": 1_500,
            "usd": "12.345678",
        },
        ("$12.35 is written off", "sub_1", "1,500 tokens", "cus_1", "a-user"),
    ),
    notices.USAGE_LOST: (
        {
            "model": "gpt-x",
            "provider": "openai",
            "reason": "report",
            "billed": 5_000_040,
            "charged": 70,
            "reserved": 437,
            "usd": "4995.060000",
        },
        (
            "gpt-x may cost more",
            "openai may bill 5,000,040 tokens",
            "charged for 70",
            "covered 437",
            "up to $4,995.06",
        ),
    ),
}
NOTICE = uuid4()


@pytest.fixture(scope="module", name="mail_context")
def _mail_context() -> MailContext:
    return mail_context()


def _said(mail: Mail) -> str:
    return f"{mail.subject}\n{mail.text}"


class _Read(HTMLParser):
    """The text that a screen reader reads, and what it must not contain."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.language: str | None = None
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "html":
            self.language = given.get("lang")
        if tag == "a":
            self.links.append(given["href"] or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w$€%.,/:?=&_-]+", text)


def test_every_kind_that_is_recorded_has_a_text_and_a_sample() -> None:
    kinds = {value for name, value in vars(notices).items() if re.fullmatch(r"[A-Z_]{5,}", name)}
    kinds |= {f"{kind}_{percent}" for kind in ("allowance", "cap") for percent in (80, 90, 100)}
    assert set(TEXTS) == set(SAMPLES) == kinds


@pytest.mark.parametrize("kind", SAMPLES)
def test_mail_tells_what_was_recorded_for_people(kind: str, mail_context: MailContext) -> None:
    values, wanted = SAMPLES[kind]
    mail = write(NOTICE, kind, values, "ada@example.com", mail_context)
    assert [part for part in wanted if part not in _said(mail)] == []
    assert not re.search(r"[{}]|None|T\d\d:|\byes\b", _said(mail))
    assert mail.subject.isprintable()
    assert (mail.to, mail.message_id) == ("ada@example.com", f"<{NOTICE}@chat.example.com>")


@pytest.mark.parametrize("kind", SAMPLES)
def test_html_says_the_same_and_is_fit_to_be_read_aloud(
    kind: str, mail_context: MailContext
) -> None:
    mail = write(NOTICE, kind, SAMPLES[kind][0], "ada@example.com", mail_context)
    read = _Read(mail.html)
    assert read.language == "en"
    assert read.tags.count("h1") == read.tags.count("main") == read.tags.count("title") == 1
    assert not {"img", "script", "table", "link"} & set(read.tags)
    heard = set(_words(" ".join(read.words)))
    addresses = re.compile(r"https?://\S+")
    without_link = re.sub(r"(?m)^[^\n]*: (https?://\S+)$", "", mail.text).replace("--", "")
    assert set(_words(addresses.sub("", without_link))) <= heard
    assert set(addresses.findall(mail.text)) == set(read.links)


@pytest.mark.parametrize("kind", SAMPLES)
def test_mail_leads_to_a_page_that_helps(kind: str, mail_context: MailContext) -> None:
    mail = write(NOTICE, kind, SAMPLES[kind][0], "ada@example.com", mail_context)
    last = _Read(mail.html).links[-1]
    if kind == notices.PAYMENT_ACTION_REQUIRED:
        assert last == INVOICE["url"]
    elif kind in {notices.SPENDING_NEAR, notices.SPENDING_REFUSED, notices.MODEL_GONE}:
        assert last == f"{URL}/admin/controls"
    elif kind == notices.USAGE_LOST:
        assert last == f"{URL}/admin/money"
    elif TEXTS[kind].footer.startswith("You're getting this email because you're an admin"):
        assert last == URL
    else:
        assert last == f"{URL}/billing"


@pytest.mark.parametrize("kind", SAMPLES)
def test_value_that_is_missing_is_a_bug_and_never_a_hole_in_a_sentence(
    kind: str, mail_context: MailContext
) -> None:
    values, _ = SAMPLES[kind]
    full = write(NOTICE, kind, values, "ada@example.com", mail_context)
    used = 0
    for name in values:
        rest = {other: value for other, value in values.items() if other != name}
        try:
            mail = write(NOTICE, kind, rest, "ada@example.com", mail_context)
        except NoticeUnwritable:
            used += 1
        else:
            assert mail == full, name
    assert used > 0
    with pytest.raises(NoticeUnwritable):
        write(NOTICE, kind, {}, "ada@example.com", mail_context)


def test_unknown_kind_is_a_bug(mail_context: MailContext) -> None:
    with pytest.raises(NoticeUnwritable):
        write(NOTICE, "birthday", {}, "ada@example.com", mail_context)


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({"plan": "free", "overage": 0}, "upgrade to a paid plan", "extra usage costs"),
        ({"overage": 0}, "while an invoice is unpaid", "extra usage costs"),
        ({}, "extra usage costs $10 per 1M tokens", "you can't send messages"),
    ],
)
def test_what_comes_after_the_allowance_depends_on_the_plan(
    changes: Recorded, present: str, absent: str, mail_context: MailContext
) -> None:
    mail = write(NOTICE, "allowance_100", {**USE, **changes}, "ada@example.com", mail_context)
    assert present in mail.text
    assert absent not in mail.text


@pytest.mark.parametrize(
    ("kind", "changes", "absent"),
    [
        (notices.TRIAL_WILL_END, {"plan": None}, "a month"),
        (notices.PAYMENT_FAILED, {"until": None, "url": None}, "free plan"),
        (notices.PAYMENT_ACTION_REQUIRED, {"url": None, "plan": None}, "invoice"),
        (notices.SUBSCRIPTION_ENDED, {"plan": None}, "Pro"),
        (notices.DISPUTE_OPENED, {"customer": None, "user_id": None, "reason": None}, "reason"),
        (notices.UNKNOWN_PRICE, {"price": None}, "price_1"),
    ],
)
def test_what_nobody_knows_is_left_out_with_its_sentence(
    kind: str, changes: Recorded, absent: str, mail_context: MailContext
) -> None:
    values = {**SAMPLES[kind][0], **changes}
    mail = write(NOTICE, kind, values, "ada@example.com", mail_context)
    assert absent not in _said(mail)
    assert "None" not in _said(mail)


def test_what_was_recorded_is_text_and_never_html(mail_context: MailContext) -> None:
    evil = '<b>Ada</b> & "Co" {app}'
    mail = write(
        NOTICE, notices.REFUNDED, {**CHARGE, "customer": evil}, "a@example.com", mail_context
    )
    assert evil in mail.text
    assert "b" not in _Read(mail.html).tags
    assert "&lt;b&gt;Ada&lt;/b&gt; &amp; &quot;Co&quot; {app}" in mail.html
    assert "Chat &amp; Co" in mail.html


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.example.com", "https://x\r\ny"])
def test_an_address_that_is_none_is_not_written(url: str, mail_context: MailContext) -> None:
    with pytest.raises(NoticeUnwritable):
        write(
            NOTICE, notices.PAYMENT_ACTION_REQUIRED, {**INVOICE, "url": url}, "a@b.c", mail_context
        )


def test_same_notice_is_the_same_mail_whenever_it_is_written(mail_context: MailContext) -> None:
    first, again = (
        write(UUID(int=1), "cap_80", cast("Recorded", CAP), "a@example.com", mail_context)
        for _ in range(2)
    )
    assert first == again

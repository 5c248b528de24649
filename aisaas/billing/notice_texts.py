"""What the mails about billing say: kind -> subject and paragraphs, as data.

A word in braces comes from `notice_words.py`, which says for each kind what there is; one that ends
in `_page` is an address. Invariant: a word that isn't there ends the writing, so no mail ever has a
hole in a sentence. What may be unknown stands in a `When`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.billing import notices


@dataclass(frozen=True, slots=True)
class When:
    """A paragraph that is only written where `word` is known."""

    word: str
    text: str


Paragraph = str | When


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    page: str


@dataclass(frozen=True, slots=True)
class NoticeText:
    """Of `links` the first whose page is known is in the mail."""

    subject: str
    paragraphs: tuple[Paragraph, ...]
    links: tuple[Link, ...]
    footer: str


BILLING = Link("Open the billing page", "billing_page")
INVOICE = Link("Open the invoice", "invoice_page")
STEERING = Link("Look at the caps", "steering_page")
APP = Link("Open {app}", "app_page")
ABOUT_ACCOUNT = "This mail is about your account at {app}, so it can't be unsubscribed from."
FOR_ADMINS = "You get this mail because you are an admin of {app}."


def _to_user(subject: str, *paragraphs: Paragraph, links: tuple[Link, ...] = ()) -> NoticeText:
    return NoticeText(subject, paragraphs, (*links, BILLING), ABOUT_ACCOUNT)


def _to_admins(subject: str, *paragraphs: Paragraph, links: tuple[Link, ...] = ()) -> NoticeText:
    return NoticeText(subject, paragraphs, (*links, APP), FOR_ADMINS)


_USED = "You have used {used} of the {included} tokens that are yours until {period_end} on {plan}."
_WHAT_NEXT: tuple[Paragraph, ...] = (
    When(
        "overage_usd",
        "After them come credits, if you were given any. Then a million tokens costs "
        "{overage_usd}, up to your cap of {cap}. You can change the cap at any time.",
    ),
    When(
        "free",
        "After them come credits, if you were given any. Then new replies stop until {period_end}. "
        "A paid plan has more, and goes on from where you are.",
    ),
    When(
        "nothing_beyond",
        "After them come credits, if you were given any. Then new replies stop until {period_end}: "
        "a trial, an unpaid invoice or a cap of $0 leaves nothing beyond.",
    ),
)
_NEARLY = _to_user("{percent} % of your tokens are used", _USED, *_WHAT_NEXT)
_CAP_NEARLY = _to_user(
    "{percent} % of your spending cap is used",
    "Beyond what {plan} includes, you have spent {spent} of the {cap} that you allow until "
    "{period_end}.",
    "At the cap, new replies stop until then. You can change the cap at any time.",
)
_ABOUT = "Charge {charge}, customer {customer}, user {user}."

TEXTS: Mapping[str, NoticeText] = {
    "allowance_80": _NEARLY,
    "allowance_90": _NEARLY,
    "allowance_100": _to_user("Your tokens are used up", _USED, *_WHAT_NEXT),
    "cap_80": _CAP_NEARLY,
    "cap_90": _CAP_NEARLY,
    "cap_100": _to_user(
        "Your spending cap is reached",
        "Beyond what {plan} includes, you have spent the {cap} that you allow until {period_end}.",
        "New replies stop until then, or until you raise the cap. Nothing more is charged "
        "meanwhile.",
    ),
    notices.TRIAL_WILL_END: _to_user(
        "Your trial ends on {ends_at}",
        "Your {trial} ends on {ends_at}.",
        When("base_usd", "If you do nothing, {plan} goes on then and costs {base_usd} a month."),
        "If you would rather not, cancel before that day: nothing is charged, and your "
        "conversations stay.",
    ),
    notices.PAYMENT_FAILED: _to_user(
        "Your payment failed",
        "The payment of {amount} for {plan} didn't go through.",
        When(
            "until",
            "Nothing changes until {until}. If it isn't paid by then, your account moves to the "
            "free plan.",
        ),
        "Look at the card on the billing page; the payment is tried again by itself.",
        When("invoice_page", "You can also pay this invoice at once: {invoice_page}"),
    ),
    notices.PAYMENT_ACTION_REQUIRED: _to_user(
        "Confirm your payment",
        "Your bank wants you to confirm the payment of {amount} for {plan}.",
        "Until then the payment isn't made. It takes a minute.",
        links=(INVOICE,),
    ),
    notices.SUBSCRIPTION_ENDED: _to_user(
        "Your subscription has ended",
        "Your {subscription} has ended, and nothing more is charged for it.",
        "Unless you have another one, your account is on the free plan now, with {free_tokens} "
        "tokens a month. Your conversations stay.",
    ),
    notices.DISPUTE_OPENED: _to_admins(
        "A payment of {amount} is disputed",
        "A customer disputes a payment of {amount}. An answer in the payment provider's dashboard "
        "has a deadline; without one the money is lost.",
        When("reason", "The reason given: {reason}."),
        _ABOUT,
    ),
    notices.DISPUTE_CLOSED: _to_admins(
        "A dispute about {amount} is closed",
        "The dispute about a payment of {amount} is closed.",
        When("status", "How it ended: {status}."),
        _ABOUT,
    ),
    notices.REFUNDED: _to_admins(
        "{amount} was refunded",
        "{amount} of a payment was given back. The plan is as it was: cancel the subscription too "
        "if it shall end.",
        _ABOUT,
    ),
    notices.UNKNOWN_PRICE: _to_admins(
        "A subscription has the price of no plan",
        "Subscription {subscription} has the price {price}, which no plan was made for. It grants "
        "nothing until it is moved to a plan's price.",
        "Customer {customer}, user {user}.",
    ),
    notices.METER_PROBLEM: _to_admins(
        "Usage could not be counted",
        "On {at} the payment provider told that its meter {meter} had accepted usage which it "
        "could not count: {reasons}.",
        "It isn't charged before it is counted. The ledger has it all.",
    ),
    notices.METERING_LATE: _to_admins(
        "Usage has not reached the meter",
        "{pending} calls wait to be reported to the payment provider, the oldest for {minutes} minutes. "
        "Their outcome is unknown for {parked}, and {dead} were refused for good.",
        "They aren't charged before they are reported. The ledger has them all.",
    ),
    notices.SPENDING_NEAR: _to_admins(
        "{percent} % of {whose} daily spending cap is used",
        "{who} has spent {spent} of the {cap} that it may spend on {day} (UTC). At the cap new calls "
        "are refused until the next day; running ones go on.",
        "The cap can be changed at any time.",
        links=(STEERING,),
    ),
    notices.SPENDING_REFUSED: _to_admins(
        "New calls are refused: {whose} daily spending cap is reached",
        "{who} has spent {spent} of the {cap} that it may spend on {day} (UTC), and {held} are held for "
        "running calls. What the rest doesn't cover is refused until the next day.",
        "The cap can be changed at any time.",
        links=(STEERING,),
    ),
}

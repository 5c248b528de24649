"""What the mails about billing say: kind -> subject and paragraphs, as data.

The values in braces come from `notice_words.py`; one that ends in `_page` is an address. Invariant: a
missing value fails the whole mail, so no sentence has a gap. A sentence about a value that may be
unknown goes in a `When`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.billing.notices import notices


@dataclass(frozen=True, slots=True)
class When:
    """A paragraph that is written only if `word` is known."""

    word: str
    text: str


Paragraph = str | When


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    page: str


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The mail links to the first of `links` whose page is known."""

    subject: str
    paragraphs: tuple[Paragraph, ...]
    links: tuple[Link, ...]
    footer: str


BILLING = Link("Go to billing", "billing_page")
INVOICE = Link("Open the invoice", "invoice_page")
SPENDING_CAPS = Link("Review the spending caps", "controls_page")
CONTROLS = Link("Open the controls", "controls_page")
LOSSES = Link("Review uncharged usage", "money_page")
APP = Link("Open {app}", "app_page")
ABOUT_ACCOUNT = "You're getting this email because you have an account at {app}."
FOR_ADMINS = "You're getting this email because you're an admin of {app}."


def _to_user(subject: str, *paragraphs: Paragraph, links: tuple[Link, ...] = ()) -> NoticeText:
    return NoticeText(subject, paragraphs, (*links, BILLING), ABOUT_ACCOUNT)


def _to_admins(subject: str, *paragraphs: Paragraph, links: tuple[Link, ...] = ()) -> NoticeText:
    return NoticeText(subject, paragraphs, (*links, APP), FOR_ADMINS)


_USED = (
    "You've used {used} of the {included} tokens included in {plan}. Your allowance renews on "
    "{period_end}."
)
_WHAT_NEXT: tuple[Paragraph, ...] = (
    When(
        "overage_usd",
        "If you have credits, they're used next. After that, extra usage costs {overage_usd} per 1M "
        "tokens, up to your spending cap of {cap}. You can change the cap at any time.",
    ),
    When(
        "free",
        "If you have credits, they're used next. After that, you can't send messages until "
        "{period_end}. For more tokens right away, upgrade to a paid plan.",
    ),
    When(
        "nothing_beyond",
        "If you have credits, they're used next. After that, you can't send messages until "
        "{period_end}: extra usage is off during a trial, while an invoice is unpaid, or with a "
        "spending cap of $0.",
    ),
)
_NEARLY = _to_user("You've used {percent}% of your tokens", _USED, *_WHAT_NEXT)
_CAP_NEARLY = _to_user(
    "You've used {percent}% of your spending cap",
    "You've spent {spent} on extra usage, beyond what {plan} includes. Your cap is {cap} until "
    "{period_end}.",
    "When you reach the cap, you can't send messages until then. You can raise the cap at any time.",
)
_PLAN_CHANGE: tuple[Paragraph, ...] = (
    When(
        "suspended",
        "Their paid features are suspended. They come back when the next period is paid. To end the "
        "subscription, cancel it in Stripe.",
    ),
    When("canceled", "Their subscription was canceled."),
    When("unchanged", "Their plan hasn't changed. To end it, cancel the subscription."),
)
_ABOUT = "Charge {charge}, customer {customer}, user {user}."

TEXTS: Mapping[str, NoticeText] = {
    "allowance_80": _NEARLY,
    "allowance_90": _NEARLY,
    "allowance_100": _to_user("You've used all your tokens", _USED, *_WHAT_NEXT),
    "cap_80": _CAP_NEARLY,
    "cap_90": _CAP_NEARLY,
    "cap_100": _to_user(
        "You've reached your spending cap",
        "You've spent your cap of {cap} on extra usage, beyond what {plan} includes.",
        "You won't be charged more, and you can't send messages until {period_end}. To continue now, "
        "raise the cap.",
    ),
    notices.TRIAL_WILL_END: _to_user(
        "Your trial ends on {ends_at}",
        "Your {trial} ends on {ends_at}.",
        When(
            "base_usd",
            "After that, {plan} costs {base_usd} a month. You don't need to do anything.",
        ),
        "If you don't want to continue, cancel before the trial ends and you won't be charged. Your "
        "conversations stay.",
    ),
    notices.PAYMENT_FAILED: _to_user(
        "Your payment failed",
        "Your payment of {amount} for {plan} didn't go through.",
        When(
            "until",
            "You keep your plan until {until}. If the invoice is still unpaid then, your account "
            "moves to the free plan.",
        ),
        "Check your card on the billing page. We'll retry the payment automatically.",
        When("invoice_page", "You can also pay this invoice now: {invoice_page}"),
    ),
    notices.PAYMENT_ACTION_REQUIRED: _to_user(
        "Confirm your payment",
        "Your bank asks you to confirm the payment of {amount} for {plan}.",
        "The payment isn't complete until you confirm it. It takes about a minute.",
        links=(INVOICE,),
    ),
    notices.SUBSCRIPTION_ENDED: _to_user(
        "Your subscription has ended",
        "Your {subscription} has ended. You won't be charged for it again.",
        "Unless you have another subscription, your account is now on the free plan, with "
        "{free_tokens} tokens a month. Your conversations stay.",
    ),
    notices.DUPLICATE_ENDED: _to_user(
        "We canceled a second subscription",
        "You subscribed to {plan} while you already had a subscription. You only need one, so we "
        "canceled the second one. Your first subscription hasn't changed.",
        When(
            "amount",
            "We refunded {amount}. It can take up to 10 days to appear on your statement.",
        ),
    ),
    notices.DUPLICATE_FOUND: _to_admins(
        "A second subscription was canceled",
        "A customer subscribed to {plan} while they already had a subscription. The second one, "
        "{subscription}, was canceled.",
        When("amount", "{amount} was refunded."),
        "Customer {customer}, user {user}.",
    ),
    notices.DISPUTE_OPENED: _to_admins(
        "A payment of {amount} is disputed",
        "A customer disputed a payment of {amount}. Respond in the Stripe Dashboard before the "
        "deadline there, or the money is lost.",
        When("reason", "Reason: {reason}."),
        _ABOUT,
    ),
    notices.DISPUTE_CLOSED: _to_admins(
        "The dispute over {amount} is closed",
        "The dispute over a payment of {amount} is closed.",
        When("status", "Outcome: {status}."),
        *_PLAN_CHANGE,
        _ABOUT,
    ),
    notices.REFUNDED: _to_admins(
        "{amount} was refunded",
        "{amount} was refunded to a customer.",
        *_PLAN_CHANGE,
        _ABOUT,
    ),
    notices.UNKNOWN_PRICE: _to_admins(
        "A subscription has an unknown price",
        "Subscription {subscription} has the price {price}, which doesn't belong to any plan. The "
        "customer gets nothing for it until you move the subscription to a plan's price.",
        "Customer {customer}, user {user}.",
    ),
    notices.METER_PROBLEM: _to_admins(
        "Stripe couldn't count some usage",
        "On {at}, Stripe reported that meter {meter} accepted usage that it couldn't count: "
        "{reasons}.",
        "Customers aren't charged for this usage until Stripe counts it. The ledger has all of it.",
    ),
    notices.METERING_LATE: _to_admins(
        "Usage hasn't reached Stripe",
        "Usage records waiting to be reported to Stripe: {pending}, the oldest for {minutes} minutes. "
        "Outcome unknown: {parked}. Rejected: {dead}.",
        "Customers aren't charged for this usage until Stripe has it. The ledger has all of it.",
    ),
    notices.KEY_REFUSED: _to_admins(
        "{provider} refuses your key",
        "{provider} has refused calls since {at}. The key in {variable} was revoked, has expired, or "
        "isn't allowed to use the model {model}.",
        "A fallback answers where a model has one. To fix it, put a valid key into {variable} and "
        "restart the app.",
    ),
    notices.MODEL_GONE: _to_admins(
        "{provider} doesn't know the model {model}",
        "{provider} has answered calls to the model {model} with “not found” since {at}. The provider "
        "may have retired it, or the account may not have access to it.",
        "A fallback answers where the model has one. To see what the key can reach, run: python -m "
        "aisaas models discover. You can turn the model off under Controls.",
        links=(CONTROLS,),
    ),
    notices.SPENDING_NEAR: _to_admins(
        "{percent}% of {which} is spent",
        "{who} spent {spent} of the {cap} allowed on {day} (UTC). At the cap, new calls are refused "
        "until the next day. Running replies continue.",
        "You can change the cap at any time.",
        links=(SPENDING_CAPS,),
    ),
    notices.SPENDING_REFUSED: _to_admins(
        "Calls are being refused: {which} is reached",
        "{who} spent {spent} of the {cap} allowed on {day} (UTC), and {held} is reserved for running "
        "calls. Calls that don't fit in the rest are refused until the next day.",
        "You can change the cap at any time.",
        links=(SPENDING_CAPS,),
    ),
    notices.USAGE_LOST: _to_admins(
        "{model} may cost more than your customers are charged",
        "{why} The provider {provider} may bill {billed} tokens for one call to {model}. The customer "
        "is charged for {charged}; the reservation covered {reserved}. The difference, up to {usd}, is "
        "your loss.",
        "This email is sent once a day for each model and reason. The Billing tab lists all calls. If "
        "they keep coming, compare them with the provider's invoice, or stop the model with the kill "
        "switch.",
        links=(LOSSES,),
    ),
    notices.WRITTEN_OFF: _to_admins(
        "Extra usage of {usd} is written off",
        "Stripe canceled {subscription} because no payment succeeded. The customer had used {tokens} of "
        "extra usage ({usd}) in the last period, and no invoice asks for it.",
        "Customer {customer}, user {user}.",
    ),
}

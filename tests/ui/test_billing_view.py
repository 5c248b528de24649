"""Plans, periods and bills to what the billing page, the banner and the notices show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aisaas import formats
from aisaas.accounts.models import GrantingSubscription
from aisaas.billing.plans.models import BillingAccount, RateLimits
from aisaas.billing.plans.terms import Plan, PlanPrice
from aisaas.billing.ports import Invoice, InvoiceLine, InvoicePreview
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.subscriptions.checkout import Billing, Estimate
from aisaas.errors import CapReached, QuotaExceeded, Unavailable
from aisaas.ui import amounts, routes
from aisaas.ui.billing import bills, offers, view
from aisaas.ui.dashboard.view import allowance_view
from aisaas.ui.notices import refusal_view
from aisaas.ui.session import meter_view

NOW = datetime(2031, 5, 4, 12, 30, tzinfo=UTC)
END = NOW + timedelta(days=20)
AT_END = END.isoformat()
FREE = Plan("free", "Free", RateLimits(10, 100), 10_000, 1)
PRO = Plan(
    "pro",
    "Pro",
    RateLimits(30, 2000),
    1000,
    3,
    PlanPrice(Decimal(20), Decimal(10), Decimal(20), 14, 200),
)
BUSINESS = Plan(
    "business",
    "Business",
    RateLimits(60, 10_000),
    9000,
    6,
    PlanPrice(Decimal(100), Decimal("7.50"), Decimal(50), 0, 0),
)
PLANS = {plan.id: plan for plan in (FREE, PRO, BUSINESS)}
NOBODY = BillingAccount(
    user_id=UUID(int=1),
    email="ada@example.com",
    full_name="Ada",
    plan="free",
    subscription_status="free",
    subscription=None,
    plan_ends_at=None,
    overage_cap_usd=None,
    requests_per_minute=None,
    requests_per_day=None,
    tokens_per_month=None,
    parallel_replies=None,
    highest_cap_usd=None,
    metered_customer=None,
    read_at=NOW,
)
PAYING = replace(
    NOBODY,
    plan="pro",
    subscription_status="active",
    subscription=GrantingSubscription("sub_1", NOW, END),
    metered_customer="cus_1",
)


def models(plan: str) -> Sequence[str]:
    return ["Small"] if plan == "free" else ["Small", "Large"]


def used(tokens: int, **values: Any) -> Allowance:
    """What is beyond was charged at Pro's price."""
    given: dict[str, Any] = {"reserved": 0, "included": 1000, "overage": 2_000_000, **values}
    beyond = max(tokens - given["included"] - given.get("credits", 0), 0)
    assert PRO.price is not None
    billed = {"billed_tokens": beyond, "billed_usd": PRO.price.usd_for(beyond)}
    return Allowance("sub_1:1", NOW, END, used=tokens, **billed, **given)


def billing(plan: Plan = PRO, status: str = "active", **values: Any) -> Billing:
    paid = plan.price is not None
    given: dict[str, Any] = {
        "ends_at": None,
        "allowance": used(0) if paid else used(0, included=plan.tokens_per_month, overage=0),
        "cap_usd": Decimal(20) if paid else Decimal(0),
        "spent_usd": Decimal(0),
        "own_cap": False,
        "estimate": None,
        "next_plan": None,
        "offers": [PRO, BUSINESS],
        "trial_possible": False,
        "has_customer": paid,
    }
    return Billing(plan=plan, status=status, **(given | values))


def status(found: Billing, account: BillingAccount = PAYING) -> tuple[str, str, str]:
    shown = view.plan_view(found, account, models).status
    return shown.before, shown.at, shown.after


# The plan


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (billing(), ("Active. Renews on", AT_END, ".")),
        (billing(status="trialing"), ("Trial until", AT_END, ", then $20 a month.")),
        (billing(ends_at=END), ("Canceled. Pro ends on", AT_END, ".")),
        (
            billing(status="trialing", ends_at=END),
            ("Trial canceled. It ends on", AT_END, "."),
        ),
        (
            billing(status="past_due", ends_at=END),
            ("Your last payment failed. You keep Pro until", AT_END, "."),
        ),
        (billing(FREE, "free"), ("You're on the free plan.", "", "")),
        (
            billing(FREE, "cancelled", ends_at=END),
            ("Your subscription has ended. You won't be charged again.", "", ""),
        ),
        (
            billing(FREE, "past_due", ends_at=END),
            (
                "A payment failed and your plan has ended. Pay the open invoice to restore it.",
                "",
                "",
            ),
        ),
    ],
)
def test_the_status_is_a_sentence(found: Billing, said: tuple[str, str, str]) -> None:
    assert status(found) == said


def test_a_plan_that_was_given_says_that_nothing_is_charged() -> None:
    given = replace(PAYING, subscription=None)
    assert status(billing(status="free"), given)[0] == "You have Pro for free."


def test_a_plan_says_what_it_includes() -> None:
    assert view.plan_view(billing(), PAYING, models).includes == [
        "1,000 tokens a month",
        "Extra usage: $10 per 1M tokens, up to a cap you set",
        "30 messages per minute, 2,000 per day",
        "3 replies at a time",
        "Models: Small, Large",
    ]
    assert offers.includes(FREE, ["Small"])[1:4:2] == [
        "No card needed, no extra charges",
        "1 reply at a time",
    ]


def test_what_a_trial_or_an_own_limit_includes_is_said_as_it_is() -> None:
    trial = billing(status="trialing", allowance=used(0, included=200, overage=0))
    shown = view.plan_view(trial, PAYING, models).includes[0]
    assert shown == "200 tokens during the trial, then 1,000 tokens a month"
    own = billing(allowance=used(0, included=7))
    shown = view.plan_view(own, PAYING, models).includes[0]
    assert shown == "7 tokens a month, set for your account"


def test_a_failed_payment_is_said_with_its_grace() -> None:
    assert view.due_view(PAYING, PRO) == view.DatedView()
    owing = replace(PAYING, subscription_status="past_due", plan_ends_at=END)
    shown = view.due_view(owing, PRO)
    assert (shown.at, shown.before.endswith("You keep Pro until")) == (AT_END, True)
    over = view.due_view(replace(owing, plan="free"), FREE)
    assert (over.at, over.before) == ("", "Your last payment failed and your plan has ended.")


# How much is used


@pytest.mark.parametrize(
    ("tokens", "line", "level", "words"),
    [
        (0, 0, "calm", "0% used"),
        (9, 0, "calm", "Less than 1% used"),
        (799, 0, "calm", "79% used"),
        (800, 80, "near", "80% used, running low"),
        (900, 90, "near", "90% used, nearly used up"),
        (999, 90, "near", "99% used, nearly used up"),
        (1000, 100, "full", "Used up"),
        (5000, 100, "full", "Used up"),
    ],
)
def test_how_full_something_is_is_said_in_words(
    tokens: int, line: int, level: str, words: str
) -> None:
    shown = amounts.gauge(tokens, 1000)
    assert (shown.line, shown.level, shown.words) == (line, level, words)
    assert shown.percent <= 100


def test_included_tokens_come_before_those_that_cost_extra() -> None:
    shown = view.usage_view(billing(allowance=used(300, reserved=200, credits=50)))
    assert (shown.used, shown.limit, shown.credits, shown.left) == ("300", "1,050", "50", "550")
    assert (shown.beyond, shown.spent, shown.overage.percent) == (True, "$0.00", 0)


def test_what_is_beyond_is_reported_in_tokens_and_money() -> None:
    found = billing(allowance=used(1_701_000), spent_usd=Decimal("17.00"))
    shown = view.usage_view(found)
    assert (shown.used, shown.left, shown.included.words) == (
        "1,000",
        "0",
        "Used up. Extra usage is charged.",
    )
    assert (shown.beyond_tokens, shown.spent, shown.cap) == ("1,700,000 tokens", "$17.00", "$20.00")
    assert (shown.overage.percent, shown.overage.words) == (85, "85% used, running low")


def test_without_a_price_nothing_is_beyond() -> None:
    assert not view.usage_view(billing(FREE, "free")).beyond
    trial = billing(status="trialing", allowance=used(5, included=200, overage=0))
    assert not view.usage_view(trial).beyond


def test_what_was_beyond_before_a_payment_failed_stays_in_view() -> None:
    found = billing(
        status="past_due",
        allowance=used(1500, overage=0),
        spent_usd=Decimal("0.01"),
    )
    shown = view.usage_view(found)
    assert (shown.beyond, shown.spent) == (True, "$0.01")
    assert shown.overage.words == "Extra usage is off"


@pytest.mark.parametrize(
    ("tokens", "label", "percent"),
    [
        (999, "999 of 1,000 tokens", 99),
        (1000, "$0.00 of your $20.00 cap", 0),
        (1_001_000, "$10.00 of your $20.00 cap", 50),
        (2_001_000, "$20.00 of your $20.00 cap", 100),
    ],
)
def test_the_meter_tells_included_from_extra(tokens: int, label: str, percent: int) -> None:
    shown = meter_view(used(tokens), PRO.price)
    assert (shown.label, shown.percent) == (label, percent)
    assert shown.used <= shown.limit


def test_the_dashboard_tells_included_from_extra() -> None:
    shown = allowance_view(used(1_001_000), PRO.price)
    assert (shown.used, shown.limit, shown.left) == ("1,000", "1,000", "0")
    assert (shown.beyond, shown.extra) == ("1,000,000 tokens", "$10.00 of your $20.00 cap")
    assert allowance_view(used(1, overage=0)).beyond == ""


@pytest.mark.parametrize(
    ("allowance", "plan", "said"),
    [
        (used(799), PRO, ""),
        (
            used(800),
            PRO,
            "You've used 80% of the tokens in Pro. After that, extra usage costs $10 per 1M",
        ),
        (
            used(950),
            PRO,
            "You've used 90% of the tokens in Pro. After that, extra usage costs $10 per 1M",
        ),
        (
            used(1000),
            PRO,
            "You've used all the tokens in Pro. From now on, extra usage costs $10 per 1M",
        ),
        (used(1_601_000), PRO, "You've used 80% of your spending cap of $20.00."),
        (used(2_001_000), PRO, "You've reached your spending cap of $20.00."),
        (used(850, overage=0), PRO, "You've used 80% of your tokens for this period."),
        (used(1000, overage=0), FREE, "You've used all your tokens for this period."),
    ],
)
def test_the_line_that_was_reached_is_said(allowance: Allowance, plan: Plan, said: str) -> None:
    shown = view.near_view(allowance, plan)
    assert shown.sentence.startswith(said)
    assert bool(shown.sentence) == bool(shown.key) == bool(said)


def test_a_notice_has_a_name_for_each_line_of_each_period() -> None:
    steps = (800, 900, 1000, 1_601_000, 1_801_000, 2_001_000)
    keys = [view.near_view(used(tokens), PRO).key for tokens in steps]
    assert len(set(keys)) == len(steps)
    assert view.near_view(used(820), PRO).key == keys[0]
    assert view.near_view(replace(used(820), period_key="sub_1:2"), PRO).key != keys[0]


@pytest.mark.parametrize("refused", [CapReached, QuotaExceeded])
def test_who_has_used_everything_is_led_to_billing(refused: type[CapReached]) -> None:
    shown = refusal_view(refused())
    assert (shown.href, bool(shown.action)) == (routes.BILLING, True)


# The cap and the bills


def test_the_cap_is_the_plans_until_it_is_ones_own() -> None:
    shown = view.cap_view(billing())
    assert (shown.current, shown.value, shown.own, shown.default) == ("$20.00", "20", False, "$20")
    own = view.cap_view(billing(cap_usd=Decimal("7.50"), own_cap=True))
    assert (own.current, own.value, own.own) == ("$7.50", "7.50", True)


def test_the_estimate_adds_up() -> None:
    found = Estimate(PRO, Decimal(20), 1_650_000, Decimal("16.50"), END)
    shown = bills.estimate_view(billing(estimate=found))
    assert [(line.label, line.amount) for line in shown.lines] == [
        ("Pro, monthly", "$20.00"),
        ("Extra usage: 1,650,000 tokens", "$16.50"),
    ]
    assert (shown.total, shown.due_at) == ("$36.50", AT_END)


def test_a_plan_that_ends_has_no_price_for_a_further_month() -> None:
    found = Estimate(PRO, Decimal(0), 0, Decimal(0), END)
    assert bills.estimate_view(billing(estimate=found)).lines[0].label == "Pro (ending, no renewal)"


def test_nothing_is_estimated_where_nothing_follows() -> None:
    assert bills.estimate_view(billing(FREE, "free")).stage == bills.NONE
    owing = billing(status="past_due", estimate=Estimate(PRO, Decimal(0), 0, Decimal(0), END))
    assert bills.estimate_view(owing).stage == bills.WAITS


def test_the_providers_preview_is_shown_as_it_is() -> None:
    lines = (InvoiceLine("1 × Pro", 2000), InvoiceLine("Unused time on Pro", -1234))
    shown = bills.preview_view(InvoicePreview("usd", 766, END, lines))
    assert [line.amount for line in shown.lines] == ["$20.00", "−$12.34"]
    assert (shown.total, shown.stage) == ("$7.66", bills.SHOWN)
    assert bills.preview_view(None).stage == bills.NONE
    assert bills.preview_view(Unavailable()).stage == bills.AWAY


def test_an_invoice_says_what_became_of_it() -> None:
    invoice = Invoice("in_1", None, "open", "usd", 3650, 3650, NOW, None, "https://pdf.example")
    ((shown),) = bills.invoices_view([invoice]).rows
    assert (shown.amount, shown.status, shown.url) == ("$36.50", "Unpaid", "")
    assert (shown.number, shown.pdf) == ("No number", "https://pdf.example")
    other = replace(invoice, number="A-1", currency="eur", status="newly_made")
    ((shown),) = bills.invoices_view([other]).rows
    assert (shown.number, shown.amount, shown.status) == ("A-1", "€36.50", "Newly_made")
    assert bills.invoices_view(Unavailable()).stage == bills.AWAY


# The plans


def buttons(found: Billing, account: BillingAccount) -> dict[str, tuple[str, str]]:
    shown = offers.offer_views(found, account, PLANS, models)
    return {offer.id: (offer.action, offer.button) for offer in shown}


def test_a_newcomer_may_try_a_plan_that_has_a_trial() -> None:
    found = billing(FREE, "free", trial_possible=True)
    assert buttons(found, NOBODY) == {
        "free": ("", ""),
        "pro": ("choose", "Start free trial"),
        "business": ("choose", "Choose Business"),
    }
    _, pro, business = offers.offer_views(found, NOBODY, PLANS, models)
    assert (pro.trial, business.trial) == ("14 days free, with 200 tokens", "")


def test_nobody_has_a_second_trial() -> None:
    found = billing(FREE, "cancelled", trial_possible=False)
    assert buttons(found, NOBODY)["pro"] == ("choose", "Choose Pro")
    assert [each.trial for each in offers.offer_views(found, NOBODY, PLANS, models)] == ["", "", ""]


def test_a_subscriber_switches_here_and_cancels_in_the_portal() -> None:
    assert buttons(billing(), PAYING) == {
        "free": ("portal", "Cancel subscription"),
        "pro": ("", ""),
        "business": ("switch", "Switch to Business"),
    }


@pytest.mark.parametrize(
    ("now", "wanted", "said"),
    [(PRO, BUSINESS, "charged the difference"), (BUSINESS, PRO, "until the current period ends")],
)
def test_a_switch_says_what_it_costs_before_it_happens(now: Plan, wanted: Plan, said: str) -> None:
    shown = offers.offer_views(billing(now), replace(PAYING, plan=now.id), PLANS, models)
    ((offer),) = [each for each in shown if each.id == wanted.id]
    assert said in offer.explanation
    assert offers.price_of(wanted) in offer.title


def test_an_upgrade_says_how_much_extra_usage_is_invoiced_later_and_when() -> None:
    found = billing(allowance=used(1_500), spent_usd=Decimal("6.17"))
    (offer,) = [e for e in offers.offer_views(found, PAYING, PLANS, models) if e.id == "business"]
    assert offer.explanation.endswith(
        "Your extra usage so far, $6.17 for 500 tokens, keeps Pro's price. You pay it with your next "
        "invoice on May 24, 2031, 12:30 PM UTC."
    )
    # Up to what is included there is none.
    found = billing(allowance=used(1_000))
    (offer,) = [e for e in offers.offer_views(found, PAYING, PLANS, models) if e.id == "business"]
    assert "xtra usage" not in offer.explanation


def test_a_switch_to_come_is_said_and_taken_back_here() -> None:
    found = billing(BUSINESS, next_plan=PRO)
    account = replace(PAYING, plan="business")
    assert buttons(found, account) == {
        "free": ("", ""),
        "pro": ("", ""),
        "business": ("keep", "Keep Business"),
    }
    assert status(found, account) == ("You switch from Business to Pro on", AT_END, ".")


def test_a_period_that_was_upgraded_says_what_it_includes() -> None:
    upgraded = GrantingSubscription("sub_1", NOW, END, period_tokens=1_500)
    account = replace(PAYING, subscription=upgraded)
    shown = view.plan_view(billing(allowance=used(0, included=1_500)), account, models)
    assert shown.includes[0] == "1,500 tokens this period, then 1,000 tokens a month"


def test_user_who_owes_pays_first() -> None:
    over = replace(PAYING, plan="free", subscription=None, subscription_status="past_due")
    for found, account in (
        (billing(status="past_due"), PAYING),
        (billing(FREE, "past_due"), over),
    ):
        assert buttons(found, account)["business"] == ("portal", "Pay your open invoice first")
        assert buttons(found, account)["free"] == ("", "")


def test_user_who_has_cancelled_resumes_before_anything_else() -> None:
    assert buttons(billing(ends_at=END), PAYING) == {
        "free": ("", ""),
        "pro": ("portal", "Resume plan"),
        "business": ("portal", "Resume your plan first"),
    }


def test_in_a_trial_each_card_says_what_can_be_done() -> None:
    found = billing(status="trialing")
    assert buttons(found, PAYING)["free"] == ("portal", "Cancel subscription")
    free, pro, business = offers.offer_views(found, PAYING, PLANS, models)
    assert (free.note, pro.button, business.button) == ("", "", "")
    assert pro.note == "You're trying this plan. It continues when your trial ends."
    assert business.note == "Business has no trial. You can switch when your trial ends."


@pytest.mark.parametrize(
    "found",
    [
        billing(status="trialing"),
        billing(status="trialing", ends_at=END),
        billing(status="past_due", ends_at=END),
        billing(ends_at=END),
        billing(),
    ],
)
def test_no_other_plan_has_a_card_without_a_word_on_what_can_be_done(found: Billing) -> None:
    for each in offers.offer_views(found, PAYING, PLANS, models):
        assert each.current or each.id == "free" or each.button or each.note


def test_where_nothing_is_sold_there_are_no_plans() -> None:
    assert offers.offer_views(billing(FREE, "free", offers=[]), NOBODY, PLANS, models) == []


@pytest.mark.parametrize(
    ("amount", "tag"),
    [
        (Decimal(20), "$20"),
        (Decimal("20.00"), "$20"),
        (Decimal("7.5"), "$7.50"),
        (Decimal(1200), "$1,200"),
    ],
)
def test_a_price_tag_is_short(amount: Decimal, tag: str) -> None:
    assert formats.price(amount) == tag

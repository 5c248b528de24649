"""The values in a notice's mail: what was recorded, formatted for people.

A value that is missing or malformed is a bug in the code that recorded it, and raises NoticeUnwritable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import cast

from aisaas import formats
from aisaas.billing.notices import notices
from aisaas.billing.plans.terms import FREE, Plan
from aisaas.errors import NoticeUnwritable
from aisaas.formats import count, moment, money, usd

# None: the word is unknown.
Words = Mapping[str, str | None]
Plans = Mapping[str, Plan]

YES = "yes"


@dataclass(frozen=True, slots=True)
class Values:
    """What was recorded with a notice: JSON."""

    kind: str
    recorded: Mapping[str, object]

    def text(self, name: str) -> str:
        found = self.recorded.get(name)
        if not isinstance(found, str) or not found:
            raise NoticeUnwritable(f"{self.kind} has no {name}")
        return found

    def whole(self, name: str) -> int:
        found = self.recorded.get(name)
        if not isinstance(found, int) or isinstance(found, bool):
            raise NoticeUnwritable(f"{self.kind} has no {name}")
        return found

    def at(self, name: str) -> str:
        try:
            at = datetime.fromisoformat(self.text(name))
        except ValueError as error:
            raise NoticeUnwritable(f"{self.kind} has no {name}") from error
        if at.tzinfo is None:
            raise NoticeUnwritable(f"{self.kind} has no time zone in {name}")
        return moment(at)

    def day(self, name: str) -> str:
        try:
            day = date.fromisoformat(self.text(name))
        except ValueError as error:
            raise NoticeUnwritable(f"{self.kind} has no {name}") from error
        return formats.day(day)

    def usd(self, name: str) -> str:
        """Recorded as a decimal number."""
        try:
            return usd(Decimal(self.text(name)))
        except InvalidOperation as error:
            raise NoticeUnwritable(f"{self.kind} has no {name}") from error

    def items(self, name: str) -> list[object]:
        found = self.recorded.get(name)
        if not isinstance(found, list) or not found:
            raise NoticeUnwritable(f"{self.kind} has no {name}")
        return cast("list[object]", found)

    def missing(self, name: str) -> bool:
        """Whether it was recorded that this isn't known; not to have recorded it is a bug."""
        if name not in self.recorded:
            raise NoticeUnwritable(f"{self.kind} has no {name}")
        return self.recorded[name] is None

    def maybe(self, name: str) -> str | None:
        return None if self.missing(name) else self.text(name)


def _plan(values: Values, plans: Plans) -> Plan:
    found = plans.get(values.text("plan"))
    if found is None:
        raise NoticeUnwritable(f"{values.kind} has a plan that isn't sold")
    return found


def _plan_name(values: Values, plans: Plans) -> str:
    """The name of a subscription's plan. Its price may belong to no plan."""
    name = values.maybe("plan")
    if name is None:
        return "your subscription"
    return f"the {plans[name].label if name in plans else name} plan"


def _use(values: Values, plans: Plans) -> Words:
    plan = _plan(values, plans)
    overage, price = values.whole("overage"), plan.price
    goes_on = price is not None and overage > 0
    return {
        "percent": values.kind.rpartition("_")[2],
        "plan": f"the {plan.label} plan",
        "used": f"{values.whole('used'):,}",
        "included": f"{values.whole('included'):,}",
        "period_end": values.at("period_end"),
        "overage_usd": formats.price(price.overage_usd_per_million) if price and goes_on else None,
        "spent": usd(price.usd_for(values.whole("beyond"))) if price and goes_on else None,
        "cap": usd(price.usd_for(overage)) if price and goes_on else None,
        "free": YES if price is None else None,
        "nothing_beyond": YES if price is not None and not goes_on else None,
    }


def _trial(values: Values, plans: Plans) -> Words:
    name = values.maybe("plan")
    sold = plans.get(name or "")
    plan = _plan_name(values, plans)
    return {
        "plan": plan,
        "trial": f"trial of {plan}" if name else "trial",
        "ends_at": values.at("trial_end"),
        "base_usd": formats.price(sold.price.base_usd) if sold and sold.price else None,
    }


def _invoice(values: Values, plans: Plans) -> Words:
    return {
        "plan": _plan_name(values, plans),
        "amount": money(values.whole("amount"), values.text("currency")),
        "invoice_page": values.maybe("url"),
    }


def _failed(values: Values, plans: Plans) -> Words:
    until = None if values.missing("until") else values.at("until")
    return {**_invoice(values, plans), "until": until}


def _ended(values: Values, plans: Plans) -> Words:
    plan = _plan_name(values, plans)
    return {
        "subscription": f"subscription to {plan}" if values.maybe("plan") else "subscription",
        "free_tokens": f"{plans[FREE].tokens_per_month:,}",
    }


def _duplicate(values: Values, plans: Plans) -> Words:
    amount = values.whole("amount")
    return {
        "plan": _plan_name(values, plans),
        "subscription": values.text("subscription"),
        "amount": money(amount, values.text("currency")) if amount else None,
        "customer": values.text("customer"),
        "user": values.text("user_id"),
    }


def _charge(values: Values, _plans: Plans) -> Words:
    return {
        "amount": money(values.whole("amount"), values.text("currency")),
        "charge": values.text("charge"),
        "customer": values.maybe("customer") or "unknown",
        "user": values.maybe("user_id") or "unknown",
        "reason": _spoken(values.maybe("reason")),
        "status": _spoken(values.maybe("status")),
        "suspended": YES if values.recorded.get("plan_change") == "suspend" else None,
        "canceled": YES if values.recorded.get("plan_change") == "cancel" else None,
        "unchanged": None if values.recorded.get("plan_change") else YES,
    }


def _unknown_price(values: Values, _plans: Plans) -> Words:
    return {
        "subscription": values.text("subscription"),
        "price": values.maybe("price") or "unknown",
        "customer": values.text("customer"),
        "user": values.text("user_id"),
    }


def _meter_problem(values: Values, _plans: Plans) -> Words:
    reasons = [
        Values(values.kind, cast("Mapping[str, object]", reason))
        for reason in values.items("reasons")
        if isinstance(reason, Mapping)
    ]
    said = [f"{_spoken(one.text('code'))} ({_times(one.whole('count'))})" for one in reasons]
    return {
        "meter": values.text("meter"),
        "at": values.at("at"),
        "reasons": ", ".join(said) or None,
    }


def _metering_late(values: Values, _plans: Plans) -> Words:
    return {name: f"{values.whole(name):,}" for name in ("pending", "minutes", "parked", "dead")}


def _provider(values: Values, _plans: Plans) -> Words:
    words = {name: values.text(name) for name in ("provider", "variable", "model")}
    return words | {"at": values.at("at")}


_WHOSE = {
    "free": ("Free accounts have", "the daily spending cap for free accounts"),
    "total": ("All accounts together have", "the total daily spending cap"),
}


def _spending(values: Values, _plans: Plans) -> Words:
    scope = values.text("scope")
    if scope not in _WHOSE:
        raise NoticeUnwritable(f"{values.kind} has an unknown scope")
    who, which = _WHOSE[scope]
    return {
        "who": who,
        "which": which,
        "percent": str(values.whole("percent")),
        "spent": values.usd("spent_usd"),
        "cap": values.usd("cap_usd"),
        "held": values.usd("reserved_usd"),
        "day": values.day("day"),
    }


_WHY_LOST = {
    "report": "The provider reported more tokens than we counted.",
    "overrun": "The provider sent more than the call was granted, and was cut off.",
    "reservation": "The provider counted more tokens than were reserved.",
}


def _usage_lost(values: Values, _plans: Plans) -> Words:
    why = _WHY_LOST.get(values.text("reason"))
    if why is None:
        raise NoticeUnwritable(f"{values.kind} has an unknown reason")
    return {
        "why": why,
        "model": values.text("model"),
        "provider": values.text("provider"),
        "usd": values.usd("usd"),
        **{name: f"{values.whole(name):,}" for name in ("billed", "charged", "reserved")},
    }


def _written_off(values: Values, _plans: Plans) -> Words:
    return {
        "subscription": values.text("subscription"),
        "tokens": count(values.whole("tokens"), "token"),
        "usd": values.usd("usd"),
        "customer": values.text("customer"),
        "user": values.text("user_id"),
    }


def _times(count: int) -> str:
    return f"{count:,} {'time' if count == 1 else 'times'}"


def _spoken(code: str | None) -> str | None:
    """A code of Stripe's, as words."""
    return code.replace("_", " ") if code else None


_READERS: Mapping[str, Callable[[Values, Plans], Words]] = {
    **{f"{kind}_{percent}": _use for kind in ("allowance", "cap") for percent in (80, 90, 100)},
    notices.TRIAL_WILL_END: _trial,
    notices.PAYMENT_FAILED: _failed,
    notices.PAYMENT_ACTION_REQUIRED: _invoice,
    notices.SUBSCRIPTION_ENDED: _ended,
    notices.DUPLICATE_ENDED: _duplicate,
    notices.DUPLICATE_FOUND: _duplicate,
    notices.DISPUTE_OPENED: _charge,
    notices.DISPUTE_CLOSED: _charge,
    notices.REFUNDED: _charge,
    notices.UNKNOWN_PRICE: _unknown_price,
    notices.METER_PROBLEM: _meter_problem,
    notices.METERING_LATE: _metering_late,
    notices.KEY_REFUSED: _provider,
    notices.MODEL_GONE: _provider,
    notices.SPENDING_NEAR: _spending,
    notices.SPENDING_REFUSED: _spending,
    notices.USAGE_LOST: _usage_lost,
    notices.WRITTEN_OFF: _written_off,
}


def words_of(kind: str, recorded: Mapping[str, object], plans: Plans) -> Words:
    """All values that the text of this kind may use.

    Raises:
        NoticeUnwritable: the kind is unknown, or a value isn't there.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise NoticeUnwritable(f"{kind} is no kind of notice")
    return reader(Values(kind, recorded), plans)

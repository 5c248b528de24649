"""Stripe's objects, as far as they are read here, and what they mean to the product.

Invariant: every response is validated. One without these shapes doesn't count as Stripe's; fields
that an event of another API version lacks are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from aisaas.billing.ports import (
    EXTRA_USAGE_METER,
    Invoice,
    InvoiceLine,
    InvoicePreview,
    PaidSubscription,
    PaymentEvent,
)

USER_ID = "user_id"
PLAN = "plan"
METER = "meter"
PERIOD_START = "period_start"
PERIOD_TOKENS = "period_tokens"
# The mark of what is ours where Stripe has no key of our choosing.
OURS = {"managed_by": "aisaas"}
BASE_PRICE = "_base"
# The metered price of all plans, and how those of one plan end that were made before it.
EXTRA_USAGE_PRICE = "extra_usage"
USAGE_PRICE = "_usage"
# Why a subscription was canceled after the last retry of a payment.
GIVEN_UP = "payment_failed"
UNPAID = frozenset({"past_due", "unpaid"})


def _id_of(value: Any) -> Any:
    """Stripe sends a reference as an id, or as the object itself where it was expanded."""
    return cast("dict[str, Any]", value).get("id") if isinstance(value, dict) else value


def _uuid_or_none(value: object) -> object:
    """Metadata can be edited by hand; a value that isn't one of our ids counts as none."""
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None


def _whole_or_none(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else None


Whole = Annotated[int | None, BeforeValidator(_whole_or_none)]
Id = Annotated[str, BeforeValidator(_id_of)]
UserId = Annotated[UUID | None, BeforeValidator(_uuid_or_none)]


class OurMetadata(BaseModel):
    """The keys of ours in an object's metadata."""

    user_id: UserId = None
    plan: str | None = None
    # On a Checkout session: the attempt and the user it was opened for.
    attempt: str | None = None
    # On the metered price of all plans.
    meter: str | None = None
    # On an upgraded subscription: the start of the period that includes the new allowance.
    period_start: Whole = None
    period_tokens: Whole = None


class Identified(BaseModel):
    id: str


class PortalConfiguration(BaseModel):
    id: str
    metadata: dict[str, str] | None = None

    @property
    def ours(self) -> bool:
        return (self.metadata or {}).items() >= OURS.items()


class MaybeDeleted(BaseModel):
    """What is deleted is still shown, as that."""

    id: str
    deleted: bool = False


class Page(BaseModel):
    """A Stripe page that a browser is sent to; closed ones have no address. A Checkout page also has
    its user and its outcome."""

    id: str
    url: str | None
    status: str | None = None
    created: int = 0
    metadata: OurMetadata | None = None

    @property
    def attempt(self) -> str | None:
        return self.metadata.attempt if self.metadata else None


# A price ------------------------------------------------------------------------------------------


class Recurring(BaseModel):
    usage_type: str = "licensed"


class StripePrice(BaseModel):
    id: str
    product: Id | None = None
    lookup_key: str | None = None
    recurring: Recurring | None = None
    metadata: OurMetadata | None = None

    @property
    def licensed(self) -> bool:
        return self.recurring is None or self.recurring.usage_type == "licensed"

    @property
    def bills_money(self) -> bool:
        """Whether it is the one metered price of all plans, by its metadata or its key."""
        said = self.metadata.meter if self.metadata else None
        return said == EXTRA_USAGE_METER or self.lookup_key == EXTRA_USAGE_PRICE

    @property
    def plan(self) -> str | None:
        """The plan this price was made for, by the price itself."""
        return self.metadata.plan if self.metadata else None

    @property
    def plan_by_key(self) -> str | None:
        key = self.lookup_key or ""
        return key.removesuffix(BASE_PRICE) if key.endswith(BASE_PRICE) else None


class StripeProduct(BaseModel):
    metadata: OurMetadata | None = None


# A subscription -----------------------------------------------------------------------------------


class Item(BaseModel):
    id: str
    price: StripePrice
    created: int = 0
    current_period_start: int | None = None
    current_period_end: int | None = None


class Items(BaseModel):
    data: list[Item]


class LatestInvoice(BaseModel):
    status: str | None = None
    created: int | None = None


class Phase(BaseModel):
    start_date: int
    end_date: int


class Schedule(BaseModel):
    """What changes a subscription when its period ends. `plan` in its metadata is the next one."""

    id: str
    metadata: OurMetadata | None = None
    phases: list[Phase] = []


class BillingMode(BaseModel):
    type: str


class CancellationDetails(BaseModel):
    reason: str | None = None


class StripeSubscription(BaseModel):
    id: str
    customer: Id
    status: str
    created: int
    items: Items
    billing_mode: BillingMode | None = None
    metadata: OurMetadata | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    cancellation_details: CancellationDetails | None = None
    currency: str = "usd"
    trial_end: int | None = None
    # Ids where they weren't expanded.
    latest_invoice: LatestInvoice | str | None = None
    schedule: Schedule | str | None = None

    @property
    def base(self) -> Item | None:
        """The item of the flat price; usage is metered by another."""
        return next((item for item in self.items.data if item.price.licensed), None)

    @property
    def metered(self) -> list[Item]:
        return [item for item in self.items.data if not item.price.licensed]

    @property
    def _period_tokens(self) -> int | None:
        base, ours = self.base, self.metadata
        if base is None or ours is None or ours.period_start != base.current_period_start:
            return None
        return ours.period_tokens

    def paid(self, plan: str | None) -> PaidSubscription:
        base = self.base
        period_end = _time(base.current_period_end) if base else None
        return PaidSubscription(
            id=self.id,
            customer_id=self.customer,
            user_id=self.metadata.user_id if self.metadata else None,
            status=self.status,
            plan=plan,
            price_id=base.price.id if base else None,
            item_id=base.id if base else None,
            period_start=_time(base.current_period_start) if base else None,
            period_end=period_end,
            cancel_at=_time(self.cancel_at) or (period_end if self.cancel_at_period_end else None),
            trial_end=_time(self.trial_end),
            unpaid_since=self._unpaid_since(),
            created_at=at(self.created),
            period_tokens=self._period_tokens,
            next_plan=self._next_plan(plan),
            schedule_done=self._schedule_done(plan),
            bills_money=any(item.price.bills_money for item in self.metered),
            bills_tokens=any(not item.price.bills_money for item in self.metered),
            given_up=self._given_up,
        )

    @property
    def _given_up(self) -> bool:
        details = self.cancellation_details
        return self.status == "canceled" and details is not None and details.reason == GIVEN_UP

    def _next_plan(self, plan: str | None) -> str | None:
        found = self.schedule
        if not isinstance(found, Schedule) or found.metadata is None:
            return None
        return found.metadata.plan if found.metadata.plan != plan else None

    def _schedule_done(self, plan: str | None) -> bool:
        found = self.schedule
        if not isinstance(found, Schedule) or found.metadata is None or plan is None:
            return False
        return found.metadata.plan == plan

    def _unpaid_since(self) -> datetime | None:
        latest = self.latest_invoice
        if self.status not in UNPAID or not isinstance(latest, LatestInvoice):
            return None
        return _time(latest.created) if latest.status == "open" else None


# Invoices -----------------------------------------------------------------------------------------


class SubscriptionDetails(BaseModel):
    subscription: Id | None = None
    metadata: OurMetadata | None = None


class Parent(BaseModel):
    subscription_details: SubscriptionDetails | None = None


class Line(BaseModel):
    description: str | None = None
    amount: int


class Lines(BaseModel):
    data: list[Line]


class StripeInvoice(BaseModel):
    id: str
    number: str | None = None
    status: str | None = None
    currency: str
    total: int
    amount_due: int
    created: int
    hosted_invoice_url: str | None = None
    invoice_pdf: str | None = None
    parent: Parent | None = None

    @property
    def subscription_id(self) -> str | None:
        details = self.parent.subscription_details if self.parent else None
        return details.subscription if details else None

    def invoice(self) -> Invoice:
        return Invoice(
            id=self.id,
            number=self.number,
            status=self.status or "",
            currency=self.currency,
            total=self.total,
            amount_due=self.amount_due,
            created_at=at(self.created),
            url=self.hosted_invoice_url,
            pdf_url=self.invoice_pdf,
        )


class PaidBy(BaseModel):
    payment_intent: Id | None = None
    charge: Id | None = None


class InvoicePayment(BaseModel):
    invoice: Id
    status: str
    amount_paid: int | None = None
    payment: PaidBy


class InvoicePayments(BaseModel):
    data: list[InvoicePayment] = []


class InvoiceWithPayments(BaseModel):
    """An invoice with how it was paid."""

    id: str
    status: str | None = None
    payments: InvoicePayments | None = None


class StripePreview(BaseModel):
    currency: str
    total: int
    # The end of the period it is for, which is when it will be made.
    period_end: int | None = None
    lines: Lines

    def preview(self) -> InvoicePreview:
        lines = (InvoiceLine(line.description or "", line.amount) for line in self.lines.data)
        return InvoicePreview(self.currency, self.total, _time(self.period_end), tuple(lines))


# Meters -------------------------------------------------------------------------------------------


class StripeMeter(BaseModel):
    id: str
    event_name: str


class TakenEvent(BaseModel):
    """The only proof that it was the meter who answered."""

    object: Literal["billing.meter_event"]


class MeterSummary(BaseModel):
    aggregated_value: float


class SampleRequest(BaseModel):
    identifier: str


class SampleError(BaseModel):
    request: SampleRequest


class MeterErrors(BaseModel):
    code: str
    error_count: int
    sample_errors: list[SampleError] = []


class MeterReason(BaseModel):
    error_types: list[MeterErrors]


class MeterReport(BaseModel):
    reason: MeterReason


class RelatedObject(BaseModel):
    id: str


class StripeMeterProblem(BaseModel):
    """A thin event, once it has been fetched."""

    id: str
    # Thin events have many types; another type isn't the requested one.
    type: Literal["v1.billing.meter.error_report_triggered"]
    # ISO 8601 with its zone, unlike all other times from Stripe.
    created: AwareDatetime
    related_object: RelatedObject
    data: MeterReport


# Events -------------------------------------------------------------------------------------------


class EventObject(BaseModel):
    """What an event is about: a subscription, an invoice, a Checkout session, a customer, …"""

    object: str = ""
    id: str | None = None
    customer: Id | None = None
    # On a Checkout session or a schedule, and on invoices of API versions before `parent`.
    subscription: Id | None = None
    # A schedule's former subscription, once it is released.
    released_subscription: Id | None = None
    parent: Parent | None = None
    client_reference_id: UserId = None
    metadata: OurMetadata | None = None

    @property
    def customer_id(self) -> str | None:
        return self.id if self.object == "customer" else self.customer

    @property
    def subscription_id(self) -> str | None:
        if self.object == "subscription":
            return self.id
        details = self._details
        named = (details.subscription if details else None) or self.subscription
        return named or self.released_subscription

    @property
    def user_id(self) -> UUID | None:
        details = self._details
        sources = (self.metadata, details.metadata if details else None)
        return self.client_reference_id or next(
            (m.user_id for m in sources if m and m.user_id), None
        )

    @property
    def _details(self) -> SubscriptionDetails | None:
        return self.parent.subscription_details if self.parent else None


class EventData(BaseModel):
    object: dict[str, Any]


class StripeEvent(BaseModel):
    id: str = Field(min_length=1)
    type: str
    livemode: bool = False
    created: int
    data: EventData

    def payment_event(self) -> PaymentEvent:
        about: Mapping[str, object] = self.data.object
        found = EventObject.model_validate(about)
        return PaymentEvent(
            id=self.id,
            type=self.type,
            live=self.livemode,
            created_at=at(self.created),
            customer_id=found.customer_id,
            subscription_id=found.subscription_id,
            user_id=found.user_id,
            object=about,
        )


def at(seconds: int) -> datetime:
    """Stripe's times are whole seconds since 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else at(seconds)

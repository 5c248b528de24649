"""What billing needs from outside: the payment provider, and a place to post alerts to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

# Events of a meter: what extra usage costs, in millionths of a dollar; and, for subscriptions from
# before there was one, tokens.
EXTRA_USAGE_METER = "ai_extra_usage"
TOKEN_METER = "ai_tokens_used"  # noqa: S105  # no secret


@dataclass(frozen=True, slots=True)
class PeriodAllowance:
    """The tokens that the period which began at `start` includes, once it was upgraded."""

    start: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class PaidSubscription:
    """A subscription as the payment provider has it at this moment.

    `plan` is the plan id of its base price, or None for a price that isn't ours. The period is the
    base item's. `unpaid_since` is when the open invoice was created.
    """

    id: str
    customer_id: str
    user_id: UUID | None
    status: str
    plan: str | None
    price_id: str | None
    item_id: str | None
    period_start: datetime | None
    period_end: datetime | None
    # When it is going to end, if it was canceled.
    cancel_at: datetime | None
    trial_end: datetime | None
    unpaid_since: datetime | None
    created_at: datetime
    # The tokens that the running period includes, where an upgrade has made it another number than
    # the plan's.
    period_tokens: int | None = None
    # The current period's payment was refunded: it grants nothing. Ours, not the provider's.
    suspended: bool = False
    # The plan that it is going to be on when the period ends, where it is another one. `schedule_done`
    # when what saw to that at the provider has done so, and still holds the subscription.
    next_plan: str | None = None
    schedule_done: bool = False
    # The meters that its metered prices bill.
    bills_money: bool = True
    bills_tokens: bool = False
    # Canceled by the provider because no payment succeeded.
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """An invoice of a subscription."""

    id: str
    subscription_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndedSubscription:
    """One that was ended; `refunded` is in the smallest unit of `currency`."""

    id: str
    customer_id: str
    plan: str | None
    refunded: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """A verified event. It is a hint to look at `subscription_id` again, never the truth itself.

    `object` is the event's own object as JSON; `user_id` is what Checkout carried through.
    """

    id: str
    type: str
    live: bool
    created_at: datetime
    customer_id: str | None
    subscription_id: str | None
    user_id: UUID | None
    object: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MeterProblem:
    """A provider's report of meter events it accepted but could not count."""

    event_id: str
    meter_id: str
    created_at: datetime
    # Failed events by reason: (code, count, sample identifiers).
    reasons: tuple[tuple[str, int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """What one call counts for on a meter: what its extra usage costs, in millionths of a dollar, or
    its tokens. `identifier` makes sending it twice count once, for 24 hours.

    `failures` is how often the provider has answered with a failure. It remembers its answers, so
    after a failure the request needs a new idempotency key.
    """

    identifier: str
    customer_id: str
    value: int
    at: datetime
    failures: int = 0
    meter: str = EXTRA_USAGE_METER


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice. Amounts are in the smallest unit of `currency`."""

    id: str
    number: str | None
    status: str
    currency: str
    total: int
    amount_due: int
    created_at: datetime
    url: str | None
    pdf_url: str | None


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class InvoicePreview:
    """The next invoice if nothing else happens; `due_at` is when it is created."""

    currency: str
    total: int
    due_at: datetime | None
    lines: tuple[InvoiceLine, ...]


class Payments(Protocol):
    """The payment provider.

    Every method raises PaymentsError when it is unknown whether something happened (no answer, a
    failure on their side, too many requests), and PaymentsRefused when the provider said no, which
    a retry won't change.
    """

    async def customer(self, user_id: UUID, email: str, name: str) -> str:
        """The id of the one customer of this user, made on the first call, also when several calls
        come at once."""
        ...

    async def checkout(
        self,
        user_id: UUID,
        customer_id: str,
        plan: str,
        *,
        trial_days: int,
        attempt: str,
        success_url: str,
        cancel_url: str,
    ) -> str:
        """The address of a page where a plan is subscribed to. The same `attempt` is the same page.

        `success_url` may contain {CHECKOUT_SESSION_ID}.
        """
        ...

    async def switch(
        self, subscription_id: str, plan: str, *, allowance: PeriodAllowance | None
    ) -> None:
        """Switch a subscription to another plan now. The difference for the rest of its period is
        charged at once; if that fails, nothing changes. `allowance` is stored with the subscription."""
        ...

    async def switch_later(self, subscription_id: str, plan: str) -> None:
        """Switch a subscription to another plan when its period ends, not before. It replaces a
        pending switch."""
        ...

    async def keep_plan(self, subscription_id: str) -> None:
        """There is no switch to come any more, if there was one."""
        ...

    async def paid_for(self, charge_id: str) -> PaidInvoice | None:
        """The subscription invoice that a charge paid; None if it paid for anything else."""
        ...

    async def end_subscription(self, subscription_id: str, *, refund: bool) -> EndedSubscription:
        """End it now. With `refund` everything paid is refunded and nothing more is billed; otherwise
        usage still is. Doing it again changes nothing."""
        ...

    async def portal(self, customer_id: str, *, return_url: str) -> str:
        """The address of a page where a customer manages subscription, cards and invoices."""
        ...

    async def subscription(self, subscription_id: str) -> PaidSubscription | None:
        """Its current state; None if there is none with that id."""
        ...

    async def subscriptions(self, customer_id: str) -> Sequence[PaidSubscription]:
        """All of a customer's, ended ones included; empty for a customer that doesn't exist."""
        ...

    async def invoices(self, customer_id: str, limit: int) -> Sequence[Invoice]:
        """Newest first; drafts left out."""
        ...

    async def preview(self, subscription_id: str) -> InvoicePreview | None:
        """The next invoice of a subscription; None when there won't be one."""
        ...

    async def report_usage(self, event: MeterEvent) -> bool:
        """Report a call; False when the provider knew its identifier already."""
        ...

    async def cancel_usage(self, identifier: str, *, meter: str = EXTRA_USAGE_METER) -> None:
        """Take back an event that was received within the last 24 hours; PaymentsRefused for an
        older one, or one that was taken back before."""
        ...

    async def reported_usage(
        self, customer_id: str, start: datetime, end: datetime, *, meter: str = EXTRA_USAGE_METER
    ) -> int:
        """What a meter counted from `start` to before `end`, whole minutes both."""
        ...

    def event(self, body: bytes, signature: str) -> PaymentEvent:
        """Verify and read a webhook's body. Raises WebhookInvalid."""
        ...

    def meter_notice(self, body: bytes, signature: str) -> str | None:
        """Verify a thin event; returns its id if it reports a meter's problem, None for another type.
        Raises WebhookInvalid."""
        ...

    async def meter_problem(self, event_id: str) -> MeterProblem:
        """What a thin event is about. PaymentsRefused when none with that id exists (any longer)."""
        ...

    async def recall(self, event_id: str) -> PaymentEvent:
        """An event that was delivered, or should have been. PaymentsRefused when none with that id
        exists (any longer): events are kept for 30 days."""
        ...


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for the operator, and the JSON values it is made of. The `id` is the same each time
    it is sent."""

    id: UUID
    kind: str
    text: str
    values: Mapping[str, object]


class AlertSink(Protocol):
    async def send(self, alert: Alert) -> None:
        """Returns when it was taken.

        Raises:
            AlertError: it isn't known to have been taken, or was refused.
        """
        ...

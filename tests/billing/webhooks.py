"""A person, the provider they pay through, and what our database holds of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, cast
from uuid import UUID, uuid4

from aisaas.billing.ports import PaidSubscription, PaymentEvent, Payments
from aisaas.billing.subscriptions.events import StripeEvents
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.db.service import ServiceDatabase
from aisaas.signals import Signals
from tests.billing.conftest import Sql
from tests.billing.mails import can_be_mailed
from tests.billing.provider import Provider, new_subscription

GRACE = timedelta(days=7)
PLANS = ("pro", "business")


class Profile(NamedTuple):
    """What a profile says of a plan."""

    plan: object
    status: object
    subscription_id: object
    customer_id: object
    period_start: object
    period_end: object
    ends_at: object


@dataclass(frozen=True)
class Shop:
    """One process: events come in, the provider is asked, the database is written."""

    service: ServiceDatabase
    sql: Sql
    signals: Signals
    provider: Provider = field(default_factory=Provider)

    def __post_init__(self) -> None:
        # Nothing else of the port is asked for here.
        payments = cast("Payments", self.provider)
        subscriptions = Subscriptions(
            self.service, payments, self.signals, plans=PLANS, grace=GRACE
        )
        object.__setattr__(self, "subscriptions", subscriptions)
        object.__setattr__(self, "events", StripeEvents(self.service, subscriptions))

    subscriptions: Subscriptions = field(init=False)
    events: StripeEvents = field(init=False)

    def another(self) -> Shop:
        """One more process with the same database and the same provider."""
        return Shop(self.service, self.sql, self.signals, self.provider)

    async def deliver(self, *events: PaymentEvent) -> None:
        for event in events:
            await self.events.process(event)

    # The person

    def user(self, customer_id: str | None = None) -> UUID:
        user_id = uuid4()
        email = f"{user_id}@example.com"
        self.sql("insert into auth.users (id, email) values (%s, %s)", user_id, email)
        if customer_id:
            self.sql(
                "update profiles set stripe_customer_id = %s where id = %s", customer_id, user_id
            )
        return user_id

    def subscriber(self, **changed: object) -> tuple[UUID, PaidSubscription]:
        """A user and a subscription that we haven't heard of yet."""
        customer = new_customer()
        user_id = self.user(customer)
        return user_id, self.provider.put(new_subscription(user_id, customer, **changed))

    # What is stored

    def profile(self, user_id: UUID) -> Profile:
        (row,) = self.sql(
            "select plan, subscription_status, subscription_id, stripe_customer_id, period_start,"
            " period_end, plan_ends_at from profiles where id = %s",
            user_id,
        )
        return Profile(*row)

    def plan(self, user_id: UUID) -> tuple[object, object]:
        found = self.profile(user_id)
        return found.plan, found.status

    def stored(self, user_id: UUID) -> dict[object, object]:
        """The status of each subscription."""
        found = self.sql("select id, status from subscriptions where user_id = %s", user_id)
        return {row[0]: row[1] for row in found}

    def notices(self, user_id: UUID) -> list[tuple[object, object]]:
        """(kind, values), oldest first."""
        return [
            (kind, values)
            for kind, values in self.sql(
                "select kind, values from billing_notices where user_id = %s order by created_at",
                user_id,
            )
            if can_be_mailed(kind, values)
        ]

    def admin_notices(self, about: str) -> list[tuple[object, object]]:
        """(kind, values) of those whose values mention `about`."""
        return [
            (kind, values)
            for kind, values in self.sql(
                "select kind, values from billing_notices where user_id is null"
                " and values::text like %s order by created_at",
                f"%{about}%",
            )
            if can_be_mailed(kind, values)
        ]

    def outcome(self, event: PaymentEvent) -> object:
        """None for an event that isn't known."""
        found = self.sql("select outcome from processed_webhook_events where id = %s", event.id)
        return found[0][0] if found else None

    def failure(self, event: PaymentEvent) -> tuple[object, ...] | None:
        """(attempts, last error, whether it is resolved)."""
        found = self.sql(
            "select attempts, last_error, resolved_at is not null from webhook_failures"
            " where event_id = %s",
            event.id,
        )
        return found[0] if found else None


def new_customer() -> str:
    return f"cus_{uuid4().hex}"


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

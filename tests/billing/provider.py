"""The payment provider's side of subscriptions: what tests change, and tell of by events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from aisaas.billing.ports import PaidSubscription, PaymentEvent
from aisaas.errors import PaymentsError

DAY = timedelta(days=1)


def this_second() -> datetime:
    """Providers know no fractions of a second."""
    return datetime.now(UTC).replace(microsecond=0)


def new_subscription(user_id: UUID | None, customer_id: str, **changed: object) -> PaidSubscription:
    now = this_second()
    made = PaidSubscription(
        id=f"sub_{uuid4().hex}",
        customer_id=customer_id,
        user_id=user_id,
        status="active",
        plan="pro",
        price_id="price_pro",
        item_id="si_1",
        period_start=now - 5 * DAY,
        period_end=now + 25 * DAY,
        cancel_at=None,
        trial_end=None,
        unpaid_since=None,
        created_at=now - 5 * DAY,
    )
    return replace(made, **changed)  # pyright: ignore[reportArgumentType]


def event(
    kind: str,
    about: PaidSubscription | None = None,
    *,
    customer_id: str | None = None,
    user_id: UUID | None = None,
    payload: Mapping[str, object] | None = None,
) -> PaymentEvent:
    """An event with an id of its own. What it carries of the subscription is nothing to rely on."""
    return PaymentEvent(
        id=f"evt_{uuid4().hex}",
        type=kind,
        live=False,
        # All in the same second, as it happens.
        created_at=this_second(),
        customer_id=about.customer_id if about else customer_id,
        subscription_id=about.id if about else None,
        user_id=user_id,
        object=payload or {},
    )


class Provider:
    """What `billing.ports.Payments` says of subscriptions, as they are at this moment. `away` is what every
    call fails with."""

    def __init__(self, *subscriptions: PaidSubscription) -> None:
        self.has = {each.id: each for each in subscriptions}
        self.looks: list[str] = []
        self.away: Exception | None = None
        # Awaited between reading and answering: what happens then isn't in the answer.
        self.on_its_way: Callable[[], Awaitable[None]] | None = None

    def put(self, subscription: PaidSubscription) -> PaidSubscription:
        self.has[subscription.id] = subscription
        return subscription

    def change(self, subscription: PaidSubscription, **changed: object) -> PaidSubscription:
        changed_one = replace(self.has[subscription.id], **changed)  # pyright: ignore[reportArgumentType]
        return self.put(changed_one)

    def forget(self, subscription: PaidSubscription) -> None:
        del self.has[subscription.id]

    def fail(self, kind: str = "server") -> None:
        self.away = PaymentsError(kind)

    async def subscription(self, subscription_id: str) -> PaidSubscription | None:
        self.looks.append(subscription_id)
        if self.away:
            raise self.away
        seen = self.has.get(subscription_id)
        if self.on_its_way:
            await self.on_its_way()
        return seen

    async def subscriptions(self, customer_id: str) -> Sequence[PaidSubscription]:
        if self.away:
            raise self.away
        return [each for each in self.has.values() if each.customer_id == customer_id]

"""Handles each webhook event once.

An event is a hint to look, never the truth: events come late, twice and in any order. Invariant: the
event's id, the state seen, the plan that follows and the mails to send are one transaction. A crash
before its end leaves nothing, and the event comes again; after it, the event is known. One fact may
come under several event ids, so effects have keys of their own too.

    the id is new? ─► the subscription's lock ─► look at the provider ─► write ─► commit ─► signal

Outages: without the database or the provider the delivery fails as a whole, and the provider repeats
it (live ones for three days); `jobs/synchronise_subscriptions.py` finds what is still missed. A
failure is recorded for admins if the database can be reached. Few are handled at once, because most
connections are for users; the others wait briefly, and when too many come, they have to come again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import plans as held_plans
from aisaas.billing.notices import notices
from aisaas.billing.notices.notices import add_notice
from aisaas.billing.ports import MeterProblem, PaymentEvent
from aisaas.billing.subscriptions import store
from aisaas.billing.subscriptions.models import WebhookOutcome
from aisaas.billing.subscriptions.subscriptions import OWING, Subscriptions, Synced
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, PaymentsError, PaymentsRefused, Refusal, TooSlow
from aisaas.overload import Bulkhead

log = logging.getLogger(__name__)

METER_PROBLEM = "v1.billing.meter.error_report_triggered"
# Few of this process's database connections; most are for users.
AT_ONCE = 8
# Statuses with an invoice to confirm: the user need do nothing else.
UNCONFIRMED = OWING | {"incomplete"}


@dataclass(frozen=True, slots=True)
class Handled:
    """The outcome of an event, and the user whose billing may have changed."""

    outcome: WebhookOutcome = "done"
    user_id: UUID | None = None
    note: str | None = None


OnApply = Callable[[AsyncSession], Awaitable[None]]
Handler = Callable[[AsyncSession, Subscriptions, PaymentEvent], Awaitable[Handled]]


class StripeEvents:
    """Handles verified events. Every method may be called any number of times for one event."""

    def __init__(self, service: ServiceDatabase, subscriptions: Subscriptions) -> None:
        self._service = service
        self._subscriptions = subscriptions
        self._room = Bulkhead("webhooks", places=AT_ONCE)

    def check_room(self) -> None:
        """Raises Overloaded when an event that came now would be refused."""
        self._room.check()

    async def process(self, event: PaymentEvent, *, on_apply: OnApply | None = None) -> bool:
        """Handle the event; False when it was handled before.

        Args:
            on_apply: called first in the transaction that handles it. If it raises, the transaction
                rolls back; a refusal isn't a failure of the event.

        Raises:
            DependencyError, PaymentsRefused: nothing was done; the event has to come again.
            Overloaded: the same, and that isn't a failure of the event.
        """
        handler = HANDLERS.get(event.type, _ignore)

        async def handled(session: AsyncSession) -> Handled:
            return await handler(session, self._subscriptions, event)

        return await self._once(
            event.id,
            event.type,
            handled,
            on_apply,
            customer_id=event.customer_id,
            subscription_id=event.subscription_id,
        )

    async def process_meter_notice(
        self,
        event_id: str,
        fetch: Callable[[str], Awaitable[MeterProblem]],
        *,
        on_apply: OnApply | None = None,
    ) -> bool:
        """Fetch what a thin event is about, and handle it; as `process`."""
        try:
            problem = await fetch(event_id)
        except Exception as error:
            await self._note_failure(event_id, METER_PROBLEM, error)
            raise
        return await self.process_meter_problem(problem, on_apply=on_apply)

    async def process_meter_problem(
        self, problem: MeterProblem, *, on_apply: OnApply | None = None
    ) -> bool:
        """Notify the admins of usage that was accepted but not counted; False if they already were.
        Raises DependencyError."""

        async def handled(session: AsyncSession) -> Handled:
            return await _meter_problem(session, problem)

        return await self._once(problem.event_id, METER_PROBLEM, handled, on_apply)

    async def _once(
        self,
        event_id: str,
        kind: str,
        handle: Callable[[AsyncSession], Awaitable[Handled]],
        on_apply: OnApply | None,
        *,
        customer_id: str | None = None,
        subscription_id: str | None = None,
    ) -> bool:
        try:
            async with self._room.place(), self._service.transaction() as session:
                if not await store.add_event(session, event_id, kind):
                    return False
                if on_apply is not None:
                    await on_apply(session)
                handled = await handle(session)
                await store.close_event(
                    session,
                    event_id,
                    outcome=handled.outcome,
                    customer_id=customer_id,
                    subscription_id=subscription_id,
                    note=handled.note,
                )
        except Refusal:
            raise
        except Exception as error:
            await self._note_failure(event_id, kind, error)
            raise
        if handled.user_id is not None:
            await self._subscriptions.tell(handled.user_id)
        return True

    async def _note_failure(self, event_id: str, kind: str, error: Exception) -> None:
        try:
            async with self._service.transaction() as session:
                await store.add_failure(session, event_id, kind, failure_code(error))
        except (DependencyError, TooSlow) as away:
            log.warning("the failure of event %s could not be noted: %s", event_id, away)


def failure_code(error: Exception) -> str:
    """For admins and logs: never anything that was in an event."""
    match error:
        case PaymentsError():
            return f"payments:{error.kind}"
        case PaymentsRefused():
            return f"payments_refused:{error.code}"
        case DependencyError():
            return str(error)
        case _:
            return type(error).__name__


# Handlers -----------------------------------------------------------------------------------------


async def _ignore(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    return Handled("ignored")


async def _synchronise(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    return _handled(await _sync(session, subscriptions, event))


async def _ended(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    synced = await _sync(session, subscriptions, event, deleted=True)
    if synced.user_id is not None and event.subscription_id is not None:
        plan = synced.seen.plan if synced.seen else None
        await subscriptions.tell_ended(session, synced.user_id, event.subscription_id, plan)
    return _handled(synced)


async def _trial_will_end(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    synced = await _sync(session, subscriptions, event)
    seen = synced.seen
    # A user who has already canceled isn't going to be charged.
    if seen and seen.status == "trialing" and seen.trial_end and seen.cancel_at is None:
        await add_notice(
            session,
            synced.user_id,
            notices.TRIAL_WILL_END,
            f"{notices.TRIAL_WILL_END}:{seen.id}:{int(seen.trial_end.timestamp())}",
            {
                "subscription": seen.id,
                "plan": seen.plan,
                "trial_end": seen.trial_end.isoformat(),
            },
        )
    return _handled(synced)


async def _payment_failed(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    synced = await _sync(session, subscriptions, event)
    seen, has = synced.seen, synced.entitlement
    # An older attempt that was made good since isn't worth a mail.
    if seen is None or has is None or seen.status not in OWING:
        return _handled(synced)
    until = has.ends_at if has.subscription_id == seen.id else None
    invoice = _text(event, "id")
    await add_notice(
        session,
        synced.user_id,
        notices.PAYMENT_FAILED,
        f"{notices.PAYMENT_FAILED}:{invoice}:{_number(event, 'attempt_count')}",
        {
            **_invoice(event),
            "plan": seen.plan,
            "until": until.isoformat() if until else None,
            "page": "/billing",
        },
    )
    return _handled(synced)


async def _payment_action_required(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    synced = await _sync(session, subscriptions, event)
    if synced.seen and synced.seen.status in UNCONFIRMED:
        await add_notice(
            session,
            synced.user_id,
            notices.PAYMENT_ACTION_REQUIRED,
            f"{notices.PAYMENT_ACTION_REQUIRED}:{_text(event, 'id')}",
            {**_invoice(event), "plan": synced.seen.plan},
        )
    return _handled(synced)


async def _customer_deleted(
    session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
) -> Handled:
    customer_id = event.customer_id
    if customer_id is None:
        return Handled("ignored", note="it names no customer")
    await store.lock(session, customer_id)
    owner = await store.owner(session, customer_id=customer_id)
    if owner is None:
        return Handled("unknown_customer")
    # In the order of their ids, so that two who lock several never wait for each other in a ring.
    live = await store.live_ids(session, customer_id)
    for subscription_id in live:
        await store.lock(session, subscription_id)
    await held_plans.lock(session, owner)
    await store.end(session, live)
    await subscriptions.derive(session, owner)
    await store.forget_customer(session, owner, customer_id)
    for subscription_id in live:
        await subscriptions.tell_ended(session, owner, subscription_id, None)
    return Handled("done", owner)


def _for_admins(kind: str, *key: str) -> Handler:
    """An event about money that went back; `key` are the fields that name the fact."""

    async def handle(
        session: AsyncSession, subscriptions: Subscriptions, event: PaymentEvent
    ) -> Handled:
        owner = await store.owner(
            session, subscription_id=event.subscription_id, customer_id=event.customer_id
        )
        # Others may be sold other things through the same account. But a dispute names its charge
        # and not always its customer, and it has a deadline.
        if owner is None and event.customer_id is not None:
            return Handled("unknown_customer")
        fact = ":".join(str(event.object.get(field)) for field in key)
        charge = _text(event, "charge") or _text(event, "id")
        done = "nothing"
        if charge is not None and _went_back(event):
            done, whose = await subscriptions.take_back(session, charge)
            owner = owner or whose
        await add_notice(
            session,
            None,
            kind,
            f"{kind}:{fact}",
            {
                "user_id": str(owner) if owner else None,
                "customer": event.customer_id,
                "charge": charge,
                "plan_change": None if done == "nothing" else done,
                "amount": _number(event, "amount_refunded") or _number(event, "amount"),
                "currency": _text(event, "currency"),
                "reason": _text(event, "reason"),
                "status": _text(event, "status"),
            },
        )
        return Handled("done", owner)

    return handle


def _went_back(event: PaymentEvent) -> bool:
    """Whether all of a payment did: refunded in full, or a dispute that was lost."""
    if event.object.get("object") == "dispute":
        return event.object.get("status") == "lost"
    return event.object.get("refunded") is True


async def _meter_problem(session: AsyncSession, problem: MeterProblem) -> Handled:
    reasons = {code: count for code, count, _ in problem.reasons}
    log.error("the meter %s could not count usage: %s", problem.meter_id, reasons)
    await add_notice(
        session,
        None,
        notices.METER_PROBLEM,
        f"{notices.METER_PROBLEM}:{problem.event_id}",
        {
            "meter": problem.meter_id,
            "at": problem.created_at.isoformat(),
            "reasons": [
                {"code": code, "count": count, "identifiers": list(identifiers)}
                for code, count, identifiers in problem.reasons
            ],
        },
    )
    return Handled("done", note=", ".join(reasons))


HANDLERS: Mapping[str, Handler] = {
    "checkout.session.completed": _synchronise,
    "customer.subscription.created": _synchronise,
    "customer.subscription.updated": _synchronise,
    "customer.subscription.paused": _synchronise,
    "customer.subscription.resumed": _synchronise,
    "customer.subscription.deleted": _ended,
    "subscription_schedule.updated": _synchronise,
    "subscription_schedule.released": _synchronise,
    "customer.subscription.trial_will_end": _trial_will_end,
    # Both come for one payment; looking twice changes nothing.
    "invoice.paid": _synchronise,
    "invoice.payment_succeeded": _synchronise,
    "invoice.payment_failed": _payment_failed,
    "invoice.payment_action_required": _payment_action_required,
    "invoice.upcoming": _synchronise,
    "customer.deleted": _customer_deleted,
    # A charge can be refunded in parts: the sum so far is part of the fact.
    "charge.refunded": _for_admins(notices.REFUNDED, "id", "amount_refunded"),
    "charge.dispute.created": _for_admins(notices.DISPUTE_OPENED, "id"),
    "charge.dispute.closed": _for_admins(notices.DISPUTE_CLOSED, "id"),
}


async def _sync(
    session: AsyncSession,
    subscriptions: Subscriptions,
    event: PaymentEvent,
    *,
    deleted: bool = False,
) -> Synced:
    if event.subscription_id is None:
        return Synced("ignored", note="it names no subscription")
    return await subscriptions.sync(
        session, event.subscription_id, user_id=event.user_id, deleted=deleted
    )


def _handled(synced: Synced) -> Handled:
    return Handled(synced.outcome, synced.user_id, synced.note)


# Events may use another version of the provider's API, so no field is guaranteed.


def _invoice(event: PaymentEvent) -> dict[str, object]:
    return {
        "subscription": event.subscription_id,
        "invoice": _text(event, "id"),
        "url": _text(event, "hosted_invoice_url"),
        "amount": _number(event, "amount_due"),
        "currency": _text(event, "currency"),
    }


def _text(event: PaymentEvent, field: str) -> str | None:
    found = event.object.get(field)
    return found if isinstance(found, str) else None


def _number(event: PaymentEvent, field: str) -> int | None:
    found = event.object.get(field)
    return found if isinstance(found, int) else None

"""Events from the payment provider: the outcome of each, and the replay of failed ones.

Invariant: an event is handled by the same code and once, delivered or replayed; a replay fetches the
original event from the provider, so nothing an admin types is trusted.

Outages: without the database or the provider nothing is replayed, and the failure stays on the list.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.admin_access import Actor, Intent, admin_read
from aisaas.billing.ports import Payments
from aisaas.billing.subscriptions import event_reports as store
from aisaas.billing.subscriptions.event_reports import WebhookEntry, WebhookHealth
from aisaas.billing.subscriptions.events import METER_PROBLEM, StripeEvents
from aisaas.db.paging import Cursor, Page
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, PaymentsRefused, Unavailable

PAGE_ENTRIES = 50
FAILED = "failed"


class WebhookEvents:
    def __init__(
        self, database: ServiceDatabase, payments: Payments | None, events: StripeEvents | None
    ) -> None:
        """Without a payment provider nothing can be replayed."""
        self._database = database
        self._payments = payments
        self._events = events

    async def health(self, actor: Actor) -> WebhookHealth:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            return await store.webhook_health(session)

    async def page(
        self,
        actor: Actor,
        *,
        failed: bool = False,
        search: str = "",
        before: Cursor[datetime, str] | None = None,
        limit: int = PAGE_ENTRIES,
    ) -> Page[WebhookEntry, datetime, str]:
        """All events or the failed ones, newest first. `search` is how an id, a type, a customer or a subscription
        begins.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, actor) as session:
            return await store.webhook_entries(
                session, failed=failed, search=search, before=before, limit=limit
            )

    async def replay(self, actor: Actor, event_id: str, *, reason: str) -> str:
        """Fetch an event that failed, or never came, and handle it; returns the outcome.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason; it was handled already; or the provider doesn't show it (any
                longer), or refuses a request of its handling.
            Unavailable: the provider or the database does not answer; the event stays failed.
        """
        intent = Intent.of(actor, reason)
        if self._payments is None or self._events is None:
            raise Unavailable("Stripe isn't set up, so the event can't be fetched.")
        failure = "no failure was noted"

        async def on_apply(session: AsyncSession) -> None:
            act = await intent.within(session)
            await act.note(
                "webhook.replay",
                f"event:{event_id}",
                before={"failure": failure},
                after={"handled": True},
            )

        try:
            async with self._database.transaction() as session:
                await intent.within(session)
                known = await store.webhook_failure(session, event_id)
            failure = known.error if known else failure
            if known is not None and known.type == METER_PROBLEM:
                done = await self._events.process_meter_notice(
                    event_id, self._payments.meter_problem, on_apply=on_apply
                )
            else:
                event = await self._payments.recall(event_id)
                done = await self._events.process(event, on_apply=on_apply)
            async with self._database.transaction() as session:
                outcome = await store.webhook_outcome(session, event_id)
        except DependencyError as error:
            raise Unavailable(f"It was not handled: {error}. Try again in a moment.") from error
        except PaymentsRefused as refused:
            raise ActionInvalid(
                f"Stripe rejected the request: {refused.code}. Events are available for 30 days."
            ) from refused
        if not done:
            raise ActionInvalid("That event has already been handled.")
        return outcome or "done"

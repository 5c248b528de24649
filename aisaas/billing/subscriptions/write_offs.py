"""Extra usage that is never invoiced, because its subscription ended after failed payments.

Stripe invoices extra usage when a period ends, and writes no invoice for the period in which it
cancels a subscription after the last retry. The ledger's charges of that period are written off:
another invoice would fail on the same card. Extra usage is off while a payment is due, so they are
only what was used between a renewal and its failed payment.
"""

from __future__ import annotations

import logging
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.notices import notices
from aisaas.billing.notices.notices import add_notice
from aisaas.billing.plans.periods import key_of
from aisaas.billing.ports import PaidSubscription

log = logging.getLogger(__name__)


async def record(session: AsyncSession, user_id: UUID, ended: PaidSubscription) -> None:
    """Write off what a subscription owes for its last period after failed payments, in the transaction
    that finds its end; once, and only if there was usage."""
    found = await ledger_store.write_off(
        session, user_id, key_of(ended.id, ended.period_start), subscription_id=ended.id
    )
    if found is None:
        return
    log.warning("extra usage of subscription %s is written off: %s USD", ended.id, found.usd)
    await add_notice(
        session,
        None,
        notices.WRITTEN_OFF,
        f"{notices.WRITTEN_OFF}:{ended.id}",
        {
            "user_id": str(user_id),
            "customer": ended.customer_id,
            "subscription": ended.id,
            "tokens": found.tokens,
            "usd": f"{found.usd:f}",
        },
    )

"""The operator's losses: what a provider produced, or says it did, beyond what its user is charged.

They are recorded in the transaction that settles the call. The admins are alerted once a day for each
model and reason, by mail and by the webhook if one is set, except about calls that failed: those are
free on purpose. Sending comes later: the mail through the notices, the webhook through alert_delivery.py.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas import formats
from aisaas.billing.ledger.models import Charge, ProviderBill
from aisaas.billing.notices.alert_delivery_store import DueAlert, LostUsage, add_loss
from aisaas.billing.notices.notices import USAGE_LOST, add_notice
from aisaas.billing.ports import Alert
from aisaas.billing.reservations.quota import Booked, rounded

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    bill: ProviderBill
    tokens: int
    usd: Decimal


async def record(
    session: AsyncSession, booked: Booked, bill: ProviderBill, *, to_webhook: bool
) -> Loss | None:
    """Record what `bill` has beyond what was charged for it; None when there is no difference.

    Args:
        to_webhook: there is a webhook, so record an alert for it too.
    """
    charge = _charged_for(booked.charge, bill)
    tokens = max(bill.prompt_tokens - charge.prompt_tokens, 0) + max(
        bill.completion_tokens - charge.completion_tokens, 0
    )
    if not tokens:
        return None
    charged = rounded(charge.model.price.cost(charge.tokens))
    billed = rounded(bill.model.price.cost(bill.tokens))
    loss = Loss(bill, tokens, max(billed - charged, Decimal(0)))
    await _add(session, booked, charge, charged, loss)
    if bill.reason != "failed":
        await _alert_admins(session, booked, loss, to_webhook=to_webhook)
    log.warning(
        "call %s: %d tokens of %s are not charged (%s)",
        charge.request_id,
        tokens,
        bill.model.id,
        bill.reason,
    )
    return loss


def _charged_for(charge: Charge, bill: ProviderBill) -> Charge:
    """What was charged for that attempt: nothing if another one answered."""
    if bill.model.id == charge.model.id:
        return charge
    return replace(
        charge, model=bill.model, prompt_tokens=0, cached_prompt_tokens=0, completion_tokens=0
    )


async def _add(
    session: AsyncSession, booked: Booked, charge: Charge, charged: Decimal, loss: Loss
) -> None:
    bill, held = loss.bill, booked.held
    await session.execute(
        text(
            """
            insert into private.usage_losses (reservation_id, user_id, purpose, model, provider,
              reason, reported_prompt_tokens, reported_completion_tokens, counted_prompt_tokens,
              counted_completion_tokens, reserved_prompt_tokens, reserved_completion_tokens,
              reserved_usd, charged_prompt_tokens, charged_completion_tokens, charged_usd,
              lost_tokens, lost_usd)
            values (:id, :user_id, :purpose, :model, :provider, :reason, :reported_prompt,
              :reported_completion, :counted_prompt, :counted_completion, :reserved_prompt,
              :reserved_completion, :reserved_usd, :charged_prompt, :charged_completion,
              :charged_usd, :lost_tokens, :lost_usd)
            """
        ),
        {
            "id": charge.request_id,
            "user_id": charge.user_id,
            "purpose": charge.purpose,
            "model": bill.model.id,
            "provider": bill.model.provider,
            "reason": bill.reason,
            "reported_prompt": bill.reported and bill.reported.prompt_tokens,
            "reported_completion": bill.reported and bill.reported.completion_tokens,
            "counted_prompt": bill.counted_prompt_tokens,
            "counted_completion": bill.counted_completion_tokens,
            "reserved_prompt": held.prompt_tokens,
            "reserved_completion": held.completion_tokens,
            "reserved_usd": held.cost_usd,
            "charged_prompt": charge.prompt_tokens,
            "charged_completion": charge.completion_tokens,
            "charged_usd": charged,
            "lost_tokens": loss.tokens,
            "lost_usd": loss.usd,
        },
    )


async def _alert_admins(
    session: AsyncSession, booked: Booked, loss: Loss, *, to_webhook: bool
) -> None:
    model, today = loss.bill.model, datetime.now(UTC).date()
    billed = loss.bill.prompt_tokens + loss.bill.completion_tokens
    charged = billed - loss.tokens
    reserved = booked.held.prompt_tokens + booked.held.completion_tokens
    added = await add_notice(
        session,
        None,
        USAGE_LOST,
        f"usage_lost:{today}:{loss.bill.reason}:{model.id}",
        {
            "model": model.id,
            "provider": model.provider,
            "reason": loss.bill.reason,
            "billed": billed,
            "charged": charged,
            "reserved": reserved,
            "usd": f"{loss.usd:f}",
        },
    )
    if not added or not to_webhook:
        return
    await add_loss(
        session,
        LostUsage(
            day=today,
            reason=loss.bill.reason,
            model=model.id,
            provider=model.provider,
            billed_tokens=billed,
            charged_tokens=charged,
            reserved_tokens=reserved,
            lost_usd=loss.usd,
        ),
    )


def alert(due: DueAlert, *, page: str) -> Alert:
    """For the webhook, of what `add_loss` recorded."""
    row = due.row
    return Alert(
        id=due.id,
        kind=USAGE_LOST,
        text=(
            f"{row['provider']} may bill {row['billed_tokens']:,} tokens for one call to "
            f"{row['model']}. The customer is charged for {row['charged_tokens']:,}; the difference, "
            f"up to {formats.usd(row['lost_usd'])}, is your loss. {page}"
        ),
        values={
            "day": row["day"].isoformat(),
            "model": row["model"],
            "provider": row["provider"],
            "reason": row["reason"],
            "billed_tokens": row["billed_tokens"],
            "charged_tokens": row["charged_tokens"],
            "reserved_tokens": row["reserved_tokens"],
            "lost_usd": f"{row['lost_usd']:f}",
            "at": row["created_at"].isoformat(),
        },
    )

"""SQL for uncharged usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.models import LossReason
from aisaas.billing.reservations.models import Purpose


@dataclass(frozen=True, slots=True)
class UsageLost:
    """A call that a provider may bill higher than we charged. `reported_tokens` is None if the
    provider reported nothing."""

    id: UUID
    at: datetime
    purpose: Purpose
    model: str
    provider: str
    reason: LossReason
    reported_tokens: int | None
    counted_tokens: int
    reserved_tokens: int
    charged_tokens: int
    lost_tokens: int
    lost_usd: Decimal


async def newest(session: AsyncSession, *, limit: int) -> Sequence[UsageLost]:
    rows = await session.execute(
        text(
            """
            select id, created_at as at, purpose, model, provider, reason,
              reported_prompt_tokens + reported_completion_tokens as reported_tokens,
              counted_prompt_tokens + counted_completion_tokens as counted_tokens,
              reserved_prompt_tokens + reserved_completion_tokens as reserved_tokens,
              charged_prompt_tokens + charged_completion_tokens as charged_tokens,
              lost_tokens, lost_usd
            from private.usage_losses order by created_at desc, id desc limit :limit
            """
        ),
        {"limit": limit},
    )
    return [UsageLost(**row) for row in rows.mappings()]

"""The values of admission: what is requested, held and remaining."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from aisaas.billing.plans.models import Limits
from aisaas.billing.plans.periods import Period
from aisaas.language_models import Model

Purpose = Literal["reply", "title"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Quota tokens of the current period, in the order they are used: the included ones, then
    `credits` (those used in this period and those still available), then `overage`, which costs
    extra. `left` and `beyond` never go below zero.

    `billed_tokens` and `billed_usd` are all that was charged in this period: what the invoice will
    say. Of that, `carried_usd` was charged before an upgrade; its tokens aren't part of `used`.
    """

    period_key: str
    period_start: datetime
    period_end: datetime
    used: int
    reserved: int
    included: int
    credits: int = 0
    overage: int = 0
    billed_tokens: int = 0
    billed_usd: Decimal = Decimal(0)
    carried_usd: Decimal = Decimal(0)

    @property
    def limit(self) -> int:
        return self.included + self.credits + self.overage

    @property
    def left(self) -> int:
        return max(self.limit - self.used - self.reserved, 0)

    @property
    def beyond(self) -> int:
        """What was used of the overage."""
        return max(self.used - self.included - self.credits, 0)


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """What a call wants to hold, at worst."""

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    models: tuple[Model, ...]
    prompt_estimate: int
    prompt_count: int
    max_tokens: int
    min_tokens: int
    # None for the calendar month.
    period: Period | None
    limits: Limits
    # None: this call doesn't count as one of the parallel replies.
    parallel: int | None
    free_tier: bool
    # Kill switches; any one of them stops this call.
    switches: frozenset[str]
    # The newest model change that `models` reflect.
    models_revision: int


@dataclass(frozen=True, slots=True)
class Held:
    """What an open reservation holds: the worst case of its call."""

    quota_tokens: int
    cost_usd: Decimal
    prompt_tokens: int
    completion_tokens: int

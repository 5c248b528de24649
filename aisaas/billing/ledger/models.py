"""The values of the ledger: what is charged, and what users read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from aisaas.billing.reservations.models import Allowance, Purpose
from aisaas.language_models import Model, Usage
from aisaas.prices import Tokens

Outcome = Literal["done", "stopped", "interrupted", "failed"]

LossReason = Literal["report", "overrun", "reservation", "failed"]


@dataclass(frozen=True, slots=True)
class ProviderBill:
    """What a provider may bill for an attempt, regardless of the user's charge. `reported` is None if
    it reported nothing; `reason` is why it may be more than the charge."""

    model: Model
    reason: LossReason
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    reported: Usage | None
    # Our own count of what was sent, and of what came.
    counted_prompt_tokens: int
    counted_completion_tokens: int

    @property
    def tokens(self) -> Tokens:
        """By kind, where the provider distinguishes them."""
        reported = self.reported or Usage(0, 0)
        return Tokens(
            prompt=self.prompt_tokens,
            completion=self.completion_tokens,
            cached=self.cached_prompt_tokens,
            cache_write=reported.cache_write_tokens,
            cache_write_1h=reported.cache_write_1h_tokens,
            thinking=reported.thinking_tokens,
            region=reported.region,
        ).within(self.prompt_tokens, self.completion_tokens)


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call used, to be booked once, and never beyond what it holds."""

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    model: Model
    # Quota tokens per token: never more than the requested model's weight.
    weight: Decimal
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    counted_by: str
    outcome: Outcome
    # The Stripe customer whose meter this goes to; None for the free tier.
    metered_customer: str | None
    # USD per million quota tokens beyond the included ones, by the plan's current price.
    overage_usd_per_million: Decimal = Decimal(0)
    # The plan's default cap on extra usage per period. None: no cap.
    default_cap_usd: Decimal | None = None
    # Why the provider's report was rejected.
    report_issue: str | None = None
    thinking_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    region: str = ""

    @property
    def tokens(self) -> Tokens:
        """By kind: what its cost is computed from. Kinds never exceed what they are part of."""
        return Tokens(
            prompt=self.prompt_tokens,
            completion=self.completion_tokens,
            cached=self.cached_prompt_tokens,
            cache_write=self.cache_write_tokens,
            cache_write_1h=self.cache_write_1h_tokens,
            thinking=self.thinking_tokens,
            region=self.region,
        ).within(self.prompt_tokens, self.completion_tokens)


@dataclass(frozen=True, slots=True)
class DayUse:
    """What one model took on one day (UTC); `in_period` when it counted against the allowance of
    now. `tokens` are quota tokens; `replies` leaves titles out."""

    day: date
    model: str
    in_period: bool
    replies: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    """A receipt: a line of the ledger, and what it was for as far as that still exists."""

    id: UUID
    at: datetime
    purpose: Purpose
    conversation_id: UUID | None
    # None when the conversation was deleted.
    title: str | None
    # The requested model; None if it wasn't recorded. `model` answered.
    asked: str | None
    model: str
    prompt_tokens: int
    completion_tokens: int
    quota_tokens: int
    # The price to its owner beyond what the plan includes, and the operator's cost.
    overage_usd: Decimal
    cost_usd: Decimal
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class CallPage:
    """Receipts, newest first, and whether there are more in either direction."""

    calls: Sequence[Call]
    older: bool
    newer: bool


@dataclass(frozen=True, slots=True)
class RefusedDay:
    """How often a user was refused for one reason on one day, and the last time."""

    code: str
    last: datetime
    times: int
    model: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on a user's own usage page; `today` is the database's."""

    allowance: Allowance
    today: date
    days: Sequence[DayUse]
    calls: CallPage
    refused: Sequence[RefusedDay]

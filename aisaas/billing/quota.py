"""The allowance: reserve before a call, book after it.

A reservation holds the worst case of a call, in quota tokens and in money, before a provider hears
of it; booking replaces what was held by what was used. Both are one transaction, and Postgres
is the only place they live in: flushing Redis lets nobody spend more.

Outage: without the database nothing is reserved, so nothing is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import Principal
from aisaas.billing import store
from aisaas.billing.models import Allowance, Charge, Claim
from aisaas.billing.plans import Plan
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    Busy,
    DependencyError,
    QuotaExceeded,
    Refusal,
    SpendingPaused,
    Unavailable,
)
from aisaas.ports import Model

MILLION = Decimal(1_000_000)
MICRO_USD = Decimal("0.000001")

FREE_TIER_SPENT = (
    "The free plan has used up what it may spend today, over all users. It opens again tomorrow."
)
TOTAL_SPENT = "New replies are paused: today's spending limit is reached. They resume tomorrow."


def cost_usd(
    model: Model, *, prompt_tokens: int, completion_tokens: int, cached_prompt_tokens: int = 0
) -> Decimal:
    """USD, rounded half up to a millionth. Cached prompt tokens are part of the prompt's."""
    price = model.price
    fresh = prompt_tokens - cached_prompt_tokens
    total = (
        fresh * price.input_usd
        + cached_prompt_tokens * price.cached_input_usd
        + completion_tokens * price.output_usd
    )
    return (total / MILLION).quantize(MICRO_USD, ROUND_HALF_UP)


def quota_tokens(weight: Decimal, tokens: int) -> int:
    """Tokens times the weight, rounded up."""
    return int((tokens * weight).to_integral_value(ROUND_CEILING))


def charged_weight(asked: Model, answered: Model) -> Decimal:
    """A fallback is our decision: it never costs the user more than what they asked for."""
    return min(asked.weight, answered.weight)


class Quota:
    """Reserves and books; shows what is left."""

    def __init__(
        self,
        service: ServiceDatabase,
        user: UserDatabase,
        plans: Mapping[str, Plan],
        *,
        free_cap: Decimal,
        total_cap: Decimal,
    ) -> None:
        self._service = service
        self._user = user
        self._plans = plans
        self._free_cap = free_cap
        self._total_cap = total_cap

    def plan_of(self, principal: Principal) -> Plan:
        """The principal's plan; one that is no longer sold counts as free."""
        return self._plans.get(principal.plan, self._plans["free"])

    def limit_of(self, principal: Principal) -> int:
        """Quota tokens a month: the account's own limit if it has one, else the plan's."""
        own = principal.tokens_per_month
        return self.plan_of(principal).tokens_per_month if own is None else own

    async def reserve(self, claim: Claim) -> int:
        """Hold the worst case and return the completion tokens that may be generated.

        Raises:
            Busy, QuotaExceeded, SpendingPaused: nothing is held.
            Unavailable: the database did not answer.
        """
        try:
            # Not durable: a lost reservation belongs to a process that died with the database.
            answer = await self._service.ask(
                store.reserve(claim, free_cap=self._free_cap, total_cap=self._total_cap),
                durable=False,
            )
        except DependencyError as error:
            raise Unavailable from error
        if answer.refusal is None:
            return answer.max_tokens
        raise _refusal(answer)

    async def allowance(self, principal: Principal) -> Allowance:
        try:
            async with self._user.as_user(principal.user_id) as session:
                return await store.allowance(session, principal.user_id, self.limit_of(principal))
        except DependencyError as error:
            raise Unavailable from error

    async def release(self, request_id: UUID) -> None:
        """Give everything back; nothing was used."""
        # Not durable: if this is lost, its lease runs out, and the recovery releases it.
        await self._service.ask(store.release(request_id), durable=False)

    async def renew_leases(self, request_ids: Sequence[UUID]) -> frozenset[UUID]:
        async with self._service.transaction(durable=False) as session:
            return await store.renew_leases(session, request_ids)


async def book(session: AsyncSession, charge: Charge) -> Decimal | None:
    """Close the reservation and append to the ledger, in the caller's transaction.

    Returns the cost in USD, or None when the reservation was closed already: then nothing was
    written, and the caller must not write either.
    """
    nothing = charge.prompt_tokens == 0 and charge.completion_tokens == 0
    tokens = quota_tokens(charge.weight, charge.prompt_tokens + charge.completion_tokens)
    cost = cost_usd(
        charge.model,
        prompt_tokens=charge.prompt_tokens,
        completion_tokens=charge.completion_tokens,
        cached_prompt_tokens=charge.cached_prompt_tokens,
    )
    closed = await store.close_reservation(
        session, charge.request_id, quota_tokens=tokens, cost_usd=cost
    )
    if not closed:
        return None
    if nothing:
        return Decimal(0)
    usage_id = await store.add_usage(session, charge, quota_tokens=tokens, cost_usd=cost)
    if charge.metered_customer is not None:
        await store.add_outbox(
            session,
            usage_id,
            user_id=charge.user_id,
            customer=charge.metered_customer,
            tokens=tokens,
        )
    return cost


def _too_few(left: int) -> str | None:
    """Why not, although the meter shows a rest."""
    if left == 0:
        return None
    return (
        f"The {left:,} tokens left this month are too few for this message with what was said "
        "before. A new chat needs fewer."
    )


def _refusal(answer: store.Reserved) -> Refusal:
    match answer.refusal:
        case "busy":
            return Busy()
        case "quota_exceeded":
            return QuotaExceeded(_too_few(answer.tokens_left), retry_at=answer.retry_at)
        case "paused":
            return SpendingPaused()
        case "free_tier_spent":
            return SpendingPaused(FREE_TIER_SPENT, retry_at=answer.retry_at)
        case "total_spent":
            return SpendingPaused(TOTAL_SPENT, retry_at=answer.retry_at)
        case other:
            raise AssertionError(f"private.reserve refused with {other!r}")

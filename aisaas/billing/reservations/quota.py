"""The allowance: reserve before a call, book after it.

A reservation holds the worst case of a call, in quota tokens and in money, before the call reaches
a provider; booking replaces the amount held with the amount used, and never charges more. Each is
one transaction, and both live only in Postgres: flushing Redis lets no user spend more.

Outage: without the database nothing is reserved, so nothing is called.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas import formats
from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.ledger.models import Charge
from aisaas.billing.metering import outbox_store
from aisaas.billing.plans.models import BillingAccount, Entitled, Limits
from aisaas.billing.plans.periods import running
from aisaas.billing.plans.terms import FREE, MILLION, Plan
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.reservations.models import Allowance, Held, ReservationRequest
from aisaas.billing.reservations.usage_alerts import note_alerts
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    Busy,
    CapReached,
    DependencyError,
    ModelsChanged,
    QuotaExceeded,
    Refusal,
    SpendingPaused,
    Unavailable,
)
from aisaas.language_models import Model
from aisaas.prices import Tokens

MICRO_USD = Decimal("0.000001")

FREE_TIER_SPENT = "The free plan has reached its shared limit for today."
TOTAL_SPENT = "This site has reached its spending limit for today."
# The fewest tokens that any prompt has.
SMALLEST_PROMPT = 8


def cost_usd(
    model: Model,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    cached_prompt_tokens: int = 0,
    thinking_tokens: int = 0,
) -> Decimal:
    """USD, rounded half up to a millionth. Cached prompt tokens are part of the prompt's, thinking tokens
    of the completion's."""
    tokens = Tokens(
        prompt=prompt_tokens,
        completion=completion_tokens,
        cached=cached_prompt_tokens,
        thinking=thinking_tokens,
    )
    return rounded(model.price.cost(tokens))


def rounded(usd: Decimal) -> Decimal:
    """As the ledger keeps it: half up to a millionth."""
    return usd.quantize(MICRO_USD, ROUND_HALF_UP)


def quota_tokens(weight: Decimal, tokens: int) -> int:
    """Tokens times the weight, rounded up."""
    return int((tokens * weight).to_integral_value(ROUND_CEILING))


def charged_weight(asked: Model, answered: Model) -> Decimal:
    """A fallback is our decision: it never costs the user more than the requested model."""
    return min(asked.weight, answered.weight)


@dataclass(frozen=True, slots=True)
class Booked:
    """What a call came to: its cost to the operator, and what it takes from its owner's plan. `charge` is
    what of it the reservation covered."""

    charge: Charge
    held: Held
    cost_usd: Decimal
    quota_tokens: int
    # The price to its owner beyond what the plan includes.
    overage_usd: Decimal


class Quota:
    """Reserves and books; shows the remaining allowance."""

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

    def plan_of(self, account: Entitled) -> Plan:
        """A user's plan; one that is no longer sold counts as free."""
        return self._plans.get(account.plan, self._plans[FREE])

    def limits_of(self, account: Entitled) -> Limits:
        """What may be used in a period.

        An account's own limit replaces the plan's, without extra usage. There is no extra usage in a
        trial, while a payment is due, or without a customer to bill.
        """
        plan = self.plan_of(account)
        if account.tokens_per_month is not None:
            return Limits(account.tokens_per_month)
        if plan.price is None:
            return Limits(plan.tokens_per_month)
        if account.subscription_status == "trialing":
            return Limits(plan.price.trial_tokens)
        included, spent = plan.tokens_per_month, Decimal(0)
        found, period = account.subscription, running(account)
        if found is not None and period is not None and period.start == found.period_start:
            # The allowance after an upgrade in this period.
            included = found.period_tokens if found.period_tokens is not None else included
            spent = found.spent_usd
        billable = found is not None and account.metered_customer is not None
        if not billable or account.subscription_status == "past_due":
            return Limits(included)
        left = max(self.cap_of(account) - spent, Decimal(0))
        return Limits(included, plan.price.tokens_for(left), capped=True)

    def cap_of(self, account: Entitled) -> Decimal:
        """USD beyond the base price that may be spent in a period; 0 on the free plan. Never more than
        what an admin has set as the highest for this account."""
        price = self.plan_of(account).price
        if price is None:
            return Decimal(0)
        own, highest = account.overage_cap_usd, account.highest_cap_usd
        cap = price.default_cap_usd if own is None else own
        return cap if highest is None else min(cap, highest)

    async def reserve(self, claim: ReservationRequest) -> int:
        """Hold the worst case and return the completion tokens that may be generated.

        Raises:
            Busy, QuotaExceeded, SpendingPaused: nothing is held.
            ModelsChanged: nothing is held; the claim's models are out of date.
            Unavailable: the database did not answer.
        """
        try:
            # Not durable: a lost reservation belongs to a process that died with the database.
            answer = await self._service.ask(
                reservations_store.reserve(
                    claim, free_cap=self._free_cap, total_cap=self._total_cap
                ),
                durable=False,
            )
        except DependencyError as error:
            raise Unavailable from error
        if answer.refusal is None:
            return answer.max_tokens
        if answer.refusal == "models_changed":
            raise ModelsChanged
        raise _refusal(answer, claim)

    async def allowance(self, account: BillingAccount) -> Allowance:
        wanted = reservations_store.allowance(
            account.user_id, running(account), self.limits_of(account)
        )
        try:
            return await self._user.fetch_as(account.user_id, wanted)
        except DependencyError as error:
            raise Unavailable from error

    async def release(self, request_id: UUID) -> None:
        """Release everything; nothing was used."""
        # Not durable: if this is lost, its lease runs out, and the recovery releases it.
        await self._service.ask(reservations_store.release(request_id), durable=False)

    async def renew_leases(self, request_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those that are still open."""
        return await self._service.ask(reservations_store.renew_leases(request_ids), durable=False)


def fitted(charge: Charge, held: Held) -> Charge:
    """The charge, limited to its reservation, such that the line still explains its own cost.

    The prompt gives way first: what a provider counted beyond the estimate is the house's.
    """

    def fits(prompt: int, completion: int) -> bool:
        cost = rounded(charge.model.price.cost(charge.tokens.within(prompt, completion)))
        tokens = quota_tokens(charge.weight, prompt + completion)
        return tokens <= held.quota_tokens and cost <= held.cost_usd

    prompt, completion = charge.prompt_tokens, charge.completion_tokens
    if fits(prompt, completion):
        return charge
    granted = min(completion, held.completion_tokens)
    prompt = _most(prompt, lambda tokens: fits(tokens, granted))
    completion = _most(completion, lambda tokens: fits(prompt, tokens))
    return replace(
        charge,
        prompt_tokens=prompt,
        cached_prompt_tokens=min(charge.cached_prompt_tokens, prompt),
        completion_tokens=completion,
    )


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below one that fits do; else 0."""
    return bisect_left(range(1, most + 1), True, key=lambda number: not fits(number))


async def book(session: AsyncSession, charge: Charge) -> Booked | None:
    """Close the reservation and append to the ledger, in the caller's transaction. Usage beyond the
    reservation isn't charged.

    Returns None when the reservation was already closed: then nothing was written, and the caller must
    not write either.
    """
    held = await reservations_store.hold(session, charge.request_id)
    if held is None:
        return None
    charge = fitted(charge, held)
    nothing = charge.prompt_tokens == 0 and charge.completion_tokens == 0
    tokens = quota_tokens(charge.weight, charge.prompt_tokens + charge.completion_tokens)
    cost = rounded(charge.model.price.cost(charge.tokens))
    closed = await reservations_store.close_reservation(
        session, charge.request_id, quota_tokens=tokens, cost_usd=cost
    )
    if closed is None:
        return None
    if nothing:
        return Booked(charge, held, Decimal(0), 0, Decimal(0))
    await note_alerts(session, charge.user_id, charge.plan, closed, tokens=tokens)
    # Tokens paid by credits are not billed.
    billed = tokens - closed.credited
    beyond = 0
    if charge.metered_customer is not None:
        beyond = beyond_included(closed.used - closed.period_credited, billed, closed.included)
    if beyond > 0:
        beyond = _charged(
            beyond,
            charge,
            await reservations_store.chargeable(
                session, charge.user_id, closed.period_key, charge.default_cap_usd
            ),
        )
    overage = price_of(beyond, charge.overage_usd_per_million)
    usage_id = await ledger_store.add_usage(
        session,
        charge,
        quota_tokens=tokens,
        credit_tokens=closed.credited,
        overage_tokens=beyond,
        overage_usd=overage,
        cost_usd=cost,
    )
    if charge.metered_customer is not None and billed > 0:
        await outbox_store.add_outbox(
            session,
            usage_id,
            user_id=charge.user_id,
            customer=charge.metered_customer,
            tokens=billed,
            extra_tokens=beyond,
            extra_usd=overage,
        )
    return Booked(charge, held, cost, tokens, overage)


def beyond_included(used: int, billed: int, included: int) -> int:
    """Of the quota tokens of a call that no credits paid, those that are not included either. `used` is
    the period's usage that no credits paid, this call's with it."""
    return max(0, min(billed, used - included))


def _charged(beyond: int, charge: Charge, most: reservations_store.Chargeable) -> int:
    """The quota tokens beyond the included ones that may be charged: the cap bounds the invoice
    whatever a call used, and nothing is charged if extra usage wasn't allowed."""
    tokens = min(beyond, most.tokens)
    each = charge.overage_usd_per_million
    if most.usd is not None and each > 0:
        tokens = min(tokens, int((most.usd / each * MILLION).to_integral_value(ROUND_FLOOR)))
    return tokens


def price_of(tokens: int, usd_per_million: Decimal) -> Decimal:
    """USD, rounded half up to a millionth: what the meter counts in."""
    return rounded(tokens * usd_per_million / MILLION)


def _used_up(answer: reservations_store.Reserved, claim: ReservationRequest) -> Refusal:
    capped = claim.limits.capped
    refusal = CapReached if capped else QuotaExceeded
    left = answer.tokens_left
    if left == 0:
        return refusal(retry_at=answer.retry_at)
    rest = f"{formats.count(left, 'token')} you have left {'below your spending cap' if capped else 'this month'}"
    if left < quota_tokens(claim.models[0].weight, claim.min_tokens + SMALLEST_PROMPT):
        return refusal(f"A reply needs more than the {rest}.", retry_at=answer.retry_at)
    # Something can be done now, so no time to come back competes with it.
    if claim.conversation_id is None:
        return refusal(f"Your message needs more than the {rest}. Shorten it.")
    return refusal(
        f"This conversation needs more than the {rest}. Start a new chat with a shorter message."
    )


def _refusal(answer: reservations_store.Reserved, claim: ReservationRequest) -> Refusal:
    match answer.refusal:
        case "busy":
            return Busy()
        case "quota_exceeded":
            return _used_up(answer, claim)
        case "paused":
            return SpendingPaused()
        case "free_tier_spent":
            return SpendingPaused(FREE_TIER_SPENT, retry_at=answer.retry_at)
        case "total_spent":
            return SpendingPaused(TOTAL_SPENT, retry_at=answer.retry_at)
        case other:
            raise AssertionError(f"private.reserve refused with {other!r}")

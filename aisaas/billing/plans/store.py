"""The SQL of billing accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from aisaas.accounts.plans import granting
from aisaas.accounts.relations import CALLER, PROFILES
from aisaas.billing.plans.models import BillingAccount
from aisaas.db.engine import PipelinedQuery, Row

_CALLERS: LiteralString = f"""
    select p.id as user_id, p.email, p.full_name, p.subscription_status,
      case when p.plan_ends_at <= clock_timestamp() then 'free' else p.plan end as plan,
      p.subscription_id, p.period_start, p.period_end, p.period_tokens, p.period_spent_usd,
      p.next_plan, p.plan_ends_at, p.stripe_customer_id as metered_customer, p.overage_cap_usd,
      p.requests_per_minute, p.requests_per_day, p.tokens_per_month, p.parallel_replies,
      p.highest_cap_usd, clock_timestamp() as read_at
    from {PROFILES} p where p.id = {CALLER}
    """  # noqa: S608  # relations of ours


def callers_account(token_hash: bytes) -> PipelinedQuery[BillingAccount | None]:
    """The account of the user whose live session has a token with this hash; None without one."""
    return PipelinedQuery(((_CALLERS, {"token_hash": token_hash}),), _read)


def _read(answers: Sequence[Sequence[Row]]) -> BillingAccount | None:
    if not answers[0]:
        return None
    row: dict[str, Any] = dict(answers[0][0])
    return BillingAccount(subscription=granting(row), **row)

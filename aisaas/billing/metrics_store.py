"""The SQL of what an operator is paged for: each a look at a partial index, however long the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from aisaas.db.engine import PipelinedQuery

_COUNTS: LiteralString = """
    select
      (select count(*) from public.reservations
        where state = 'open' and purpose = 'reply' and lease_expires_at > now()) as running_replies,
      (select count(*) from public.reservations
        where state = 'open' and lease_expires_at <= now()) as abandoned_calls,
      (select count(*) from public.usage_outbox where state = 'pending') as outbox_pending,
      (select count(*) from public.usage_outbox where state = 'parked') as outbox_parked,
      (select count(*) from public.usage_outbox where state = 'dead') as outbox_dead,
      (select coalesce(extract(epoch from now() - min(event_at)), 0)::double precision
        from public.usage_outbox where state = 'pending') as outbox_lag_seconds,
      (select count(*) from public.webhook_failures where resolved_at is null)
        as webhook_failures_open,
      (select count(*) from public.billing_notices where state = 'pending') as mails_pending,
      (select coalesce(extract(epoch from now() - min(next_attempt_at)), 0)::double precision
        from public.billing_notices where state = 'pending' and next_attempt_at < now())
        as mails_lag_seconds,
      (select coalesce(sum(abs(drift - settled_tokens)), 0)::double precision
        from public.meter_reconciliations where drift <> settled_tokens) as meter_drift_tokens,
      (select count(*) from private.kill_switches) as switches_engaged,
      (select count(*) from private.job_failures where next_attempt_at is null)
        + (select count(*) from public.billing_notices where state = 'dead')
        + (select count(*) from private.spending_alerts where state = 'dead')
        + (select count(*) from private.loss_alerts where state = 'dead') as job_items_set_aside
    """


@dataclass(frozen=True, slots=True)
class Counts:
    """As of now, by the database's clock."""

    running_replies: int
    abandoned_calls: int
    outbox_pending: int
    outbox_parked: int
    outbox_dead: int
    outbox_lag_seconds: float
    webhook_failures_open: int
    mails_pending: int
    mails_lag_seconds: float
    meter_drift_tokens: float
    switches_engaged: int
    job_items_set_aside: int


def read() -> PipelinedQuery[Counts]:
    return PipelinedQuery(((_COUNTS, {}),), lambda answers: Counts(**answers[0][0]))

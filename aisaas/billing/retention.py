"""What money's records no longer need: events that were handled, failures that were resolved, mails
that were sent or given up, differences that were corrected, calls that were closed.

Invariant: `RECORDS` is longer than the provider redelivers an event or shows it (30 days), since
these rows are what keeps an event from being handled twice, and a fact from being mailed twice; and
`ACCOUNTING` is longer than the meter takes usage (35 days). What still waits for somebody stays,
however old. The ledger, its sums, the outbox, credits and the audit log are kept.
"""

from __future__ import annotations

from aisaas.db.purging import Rule, older

RECORDS = "retention_records_days"
ACCOUNTING = "retention_accounting_days"

RULES = (
    older("public.processed_webhook_events", "created_at", RECORDS),
    older("public.webhook_failures", "resolved_at", RECORDS),
    older("public.billing_notices", "state <> 'pending' and created_at", RECORDS),
    older("public.entitlement_differences", "corrected_at", RECORDS),
    older("public.refusals", "minute", RECORDS),
    Rule(
        "public.refusals",
        """
        select f.ctid from private.removed_accounts r join public.refusals f on f.user_id = r.user_id
        limit :batch for update of f skip locked
        """,
    ),
    older("public.reservations", "closed_at", RECORDS),
    # A call that runs across the end of its period still settles there.
    Rule(
        "public.quota_periods",
        """
        select ctid from public.quota_periods q
        where period_end < now() - make_interval(days => :days)
          and not exists (
            select from public.reservations r
            where r.user_id = q.user_id and r.period_key = q.period_key
          )
        limit :batch for update skip locked
        """,
        ACCOUNTING,
    ),
    # Days on which meter and ledger differ stay until somebody has settled them.
    older(
        "public.meter_reconciliations",
        "next_check_at is null and drift = settled_tokens and day",
        ACCOUNTING,
    ),
    older("private.provider_errors", "day", ACCOUNTING),
    # The page shows a day at most, and the last failure of a week.
    Rule(
        "private.provider_health",
        """
        select ctid from private.provider_health where step = 'minute' and starts < now() - interval '1 day'
        limit :batch for update skip locked
        """,
    ),
    Rule(
        "private.provider_health",
        """
        select ctid from private.provider_health where step = 'hour' and starts < now() - interval '7 days'
        limit :batch for update skip locked
        """,
    ),
    Rule(
        "private.provider_circuits",
        """
        select ctid from private.provider_circuits where seen_at < now() - interval '1 hour'
        limit :batch for update skip locked
        """,
    ),
    older("private.spending_alerts", "state <> 'pending' and created_at", ACCOUNTING),
    older("private.loss_alerts", "state <> 'pending' and created_at", ACCOUNTING),
)

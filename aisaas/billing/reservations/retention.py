"""Refusals, calls that were closed, periods that are over."""

from __future__ import annotations

from typing import LiteralString

from aisaas.accounts.relations import REMOVED
from aisaas.billing.retention import ACCOUNTING, RECORDS
from aisaas.db.purging import Rule, older

RULES = (
    older("public.refusals", "minute", RECORDS),
    Rule(
        "public.refusals",
        f"""
        select f.ctid from {REMOVED} r join public.refusals f on f.user_id = r.user_id
        limit :batch for update of f skip locked
        """,  # noqa: S608  # a relation of ours
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
)

# Rows of a deleted account, `r`, that have to go before its note.
LEFT: LiteralString = "select from public.refusals f where f.user_id = r.user_id"

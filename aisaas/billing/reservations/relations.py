"""What statements of others join of reservations: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

RESERVATIONS: LiteralString = """(
  select id, user_id, message_id, purpose, model, period_key, state, created_at
  from public.reservations
)"""
# The model that a call was made to, as its user may read it.
ASKED: LiteralString = "(select id, model from public.reservations)"
PERIODS: LiteralString = "(select user_id, period_key, period_start from public.quota_periods)"
# How often one reason refused a user in one minute.
REFUSALS: LiteralString = "(select user_id, code, minute, times, model from public.refusals)"
# A day's spending by scope of the caps; `refusing` once a cap refused a call.
SPEND_DAYS: LiteralString = """(
  select day, scope, spent_usd, reserved_usd, refused_at is not null as refusing
  from public.spend_days
)"""

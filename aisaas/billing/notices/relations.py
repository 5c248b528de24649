"""The notices that other domains' queries join: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# The facts that are recorded.
KEYS: LiteralString = "(select key from public.billing_notices)"
# The highest line of a cap that is recorded, and those below it.
SPENDING_LINES: LiteralString = "(select day, scope, cap_usd, percent from private.spending_alerts)"
# Mails and alerts that were given up, as the jobs that send them set them aside.
GIVEN_UP: LiteralString = """(
  select 'deliver_notices' as job, id::text as item, kind as about, attempts,
    coalesce(last_error, '') as last_error, next_attempt_at as last_at
  from public.billing_notices where state = 'dead'
  union all
  select 'alert_spending', id::text, scope || ' ' || percent || ' %', attempts,
    coalesce(last_error, ''), next_attempt_at
  from private.spending_alerts where state = 'dead'
  union all
  select 'alert_spending', id::text, model || ' ' || reason, attempts, coalesce(last_error, ''),
    next_attempt_at
  from private.loss_alerts where state = 'dead'
)"""

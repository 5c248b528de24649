"""What statements of others join of subscriptions: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# `live` unless it has ended for good; on the meter of tokens until `tokens_until`.
SUBSCRIPTIONS: LiteralString = """(
  select id, user_id, stripe_customer_id, tokens_until,
    status not in ('canceled', 'incomplete_expired') as live
  from public.subscriptions
)"""

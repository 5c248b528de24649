"""What statements of others join of accounts: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# One row an account that exists.
PROFILES: LiteralString = """(
  select id, email, role, plan, plan_ends_at, subscription_status, subscription_id, period_start,
    period_end, period_tokens, next_plan, overage_cap_usd, highest_cap_usd, stripe_customer_id
  from public.profiles
)"""
# A statement that finds those of `:users` who have an account, and keeps them until the transaction ends.
# In one order, so that two transactions wait instead of failing.
HELD: LiteralString = """
  select id from public.profiles where id = any(cast(:users as uuid[])) order by id for key share
"""
# Accounts that are gone, as long as anything of them is left.
REMOVED: LiteralString = "(select user_id from private.removed_accounts)"

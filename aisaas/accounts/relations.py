"""The account data that other domains' queries join: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike a view it is not part of the schema, so it changes
without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# One row per existing account.
PROFILES: LiteralString = """(
  select id, email, role, plan, plan_ends_at, subscription_status, subscription_id, period_start,
    period_end, period_tokens, period_spent_usd, next_plan, overage_cap_usd, highest_cap_usd,
    stripe_customer_id, full_name, requests_per_minute, requests_per_day, tokens_per_month,
    parallel_replies
  from public.profiles
)"""
# The id of the user whose live session has the hash `%(token_hash)s`.
CALLER: LiteralString = """(
  select user_id from private.sessions
  where token_hash = %(token_hash)s and revoked_at is null and expires_at > now()
)"""
# A query that finds and locks those of `:users` who have an account, until the transaction ends. In a
# fixed order, so that two transactions wait instead of failing.
HELD: LiteralString = """
  select id from public.profiles where id = any(cast(:users as uuid[])) order by id for key share
"""
# Deleted accounts, until all of their data is removed.
REMOVED: LiteralString = "(select user_id from private.removed_accounts)"

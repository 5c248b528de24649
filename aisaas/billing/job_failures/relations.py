"""What statements of others join of what jobs could not do: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# Whatever has failed, and is not done since.
FAILED: LiteralString = "(select job, item from private.job_failures)"
# Of these, what isn't due: its next try is later, or it is set aside.
NOT_DUE: LiteralString = """(
  select job, item from private.job_failures
  where next_attempt_at is null or next_attempt_at > now()
)"""

"""The job failures that other domains' queries join: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

# Items that failed and haven't succeeded since.
FAILED: LiteralString = "(select job, item from private.job_failures)"
# Failures that aren't due: their next try is later, or they are set aside.
NOT_DUE: LiteralString = """(
  select job, item from private.job_failures
  where next_attempt_at is null or next_attempt_at > now()
)"""

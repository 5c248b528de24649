"""The ledger data that other domains' queries join: relations in parentheses, each with its columns.

Like a view, a relation hides the table; unlike one
it is no part of the schema, so it changes without a migration (docs/decisions/0034).
"""

from __future__ import annotations

from typing import LiteralString

LINES: LiteralString = "(select id, reservation_id from public.usage_records)"
WRITE_OFFS: LiteralString = "(select user_id, subscription_id, usd from private.write_offs)"
PROVIDER_ERRORS: LiteralString = "(select day, provider, model, kind from private.provider_errors)"

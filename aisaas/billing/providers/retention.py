"""How providers did lately."""

from __future__ import annotations

from aisaas.db.purging import Rule

RULES = (
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
)

"""Days on which ledger and meter agree."""

from __future__ import annotations

from aisaas.billing.retention import ACCOUNTING
from aisaas.db.purging import older

RULES = (
    # Days where meter and ledger differ are kept until an admin has settled them.
    older(
        "public.meter_reconciliations",
        "next_check_at is null and drift = settled_tokens and day",
        ACCOUNTING,
    ),
)

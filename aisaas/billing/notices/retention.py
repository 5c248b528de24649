"""Mails and alerts that were sent or given up."""

from __future__ import annotations

from aisaas.billing.retention import ACCOUNTING, RECORDS
from aisaas.db.purging import older

RULES = (
    older("public.billing_notices", "state <> 'pending' and created_at", RECORDS),
    older("private.spending_alerts", "state <> 'pending' and created_at", ACCOUNTING),
    older("private.loss_alerts", "state <> 'pending' and created_at", ACCOUNTING),
)

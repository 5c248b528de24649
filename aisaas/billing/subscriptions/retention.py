"""Events that were handled, failures that were resolved, differences that were corrected."""

from __future__ import annotations

from aisaas.billing.retention import RECORDS
from aisaas.db.purging import older

RULES = (
    older("public.processed_webhook_events", "created_at", RECORDS),
    older("public.webhook_failures", "resolved_at", RECORDS),
    older("public.entitlement_differences", "corrected_at", RECORDS),
)

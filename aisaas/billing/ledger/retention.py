"""How often providers failed, by day."""

from __future__ import annotations

from aisaas.billing.retention import ACCOUNTING
from aisaas.db.purging import older

RULES = (older("private.provider_errors", "day", ACCOUNTING),)

"""The rules of all domains, in deletion order: rows that refer to others come first."""

from __future__ import annotations

from aisaas.accounts import retention as accounts
from aisaas.billing.ledger import retention as ledger
from aisaas.billing.metering import retention as metering
from aisaas.billing.notices import retention as notices
from aisaas.billing.providers import retention as providers
from aisaas.billing.reservations import retention as reservations
from aisaas.billing.retention import ACCOUNTING, RECORDS
from aisaas.billing.subscriptions import retention as subscriptions
from aisaas.chat import retention as chat

# Retention in days: by setting, and fixed.
SETTINGS = (chat.KEEP, RECORDS, ACCOUNTING)
DAYS = accounts.DAYS
BILLING_RULES = (
    *subscriptions.RULES,
    *notices.RULES,
    *reservations.RULES,
    *metering.RULES,
    *ledger.RULES,
    *providers.RULES,
)
RULES = (
    *chat.RULES,
    *BILLING_RULES,
    *accounts.RULES,
    accounts.removed_accounts(chat.LEFT, reservations.LEFT),
)

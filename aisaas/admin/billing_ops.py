"""Money's health, for admins: what is on its way to the provider, what came from it, and whether both
sides agree; what nobody is charged for; and what the jobs that see to it have set aside. Each part says what it is about; this is their table of contents."""

from __future__ import annotations

from dataclasses import dataclass

from aisaas.admin.entitlement_differences import Entitlements
from aisaas.admin.job_failures import FailedJobs
from aisaas.admin.losses import UsageLosses
from aisaas.admin.outbox import OutboxAdmin
from aisaas.admin.reconciliation import ReconciliationAdmin
from aisaas.admin.webhooks import WebhookEvents


@dataclass(frozen=True, slots=True)
class MoneyHealth:
    usage: OutboxAdmin
    ledger: ReconciliationAdmin
    webhooks: WebhookEvents
    entitlements: Entitlements
    failed_jobs: FailedJobs
    losses: UsageLosses

"""Billing health, for admins: what is on its way to the provider, what came from it, and whether both
sides agree; what no user is charged for; and what the jobs have set aside. Each part documents
itself; this is their table of contents."""

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

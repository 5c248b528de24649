"""Builds the admin services on top of the domains' services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aisaas.accounts.live import LiveSessions
from aisaas.accounts.ports import Identity
from aisaas.admin import retention
from aisaas.admin.audit import AuditLog
from aisaas.admin.billing_ops import MoneyHealth
from aisaas.admin.credits import Credits
from aisaas.admin.entitlement_differences import Entitlements
from aisaas.admin.job_failures import FailedJobs
from aisaas.admin.losses import UsageLosses
from aisaas.admin.metrics import Figures
from aisaas.admin.outbox import OutboxAdmin
from aisaas.admin.prices import Prices
from aisaas.admin.provider_reports import ProviderReports
from aisaas.admin.reconciliation import ReconciliationAdmin
from aisaas.admin.stripe_pages import StripePages
from aisaas.admin.usage import UsageReports
from aisaas.admin.users import Users, UsersParts
from aisaas.admin.webhooks import WebhookEvents
from aisaas.billing.build import BillingServices
from aisaas.billing.plans.terms import Plan
from aisaas.billing.ports import Payments
from aisaas.controls.lineup import ModelSource
from aisaas.db.build import Databases
from aisaas.db.purging import Purge
from aisaas.prices import Price
from aisaas.settings import Settings


@dataclass(frozen=True)
class AdminServices:
    audit: AuditLog
    credits: Credits
    figures: Figures
    money: MoneyHealth
    prices: Prices
    provider_reports: ProviderReports
    purge: Purge
    usage_reports: UsageReports
    users: Users


def build(
    config: Settings,
    sold: Mapping[str, Plan],
    databases: Databases,
    billing: BillingServices,
    *,
    payments: Payments | None,
    identity: Identity,
    live_sessions: LiveSessions,
    source: ModelSource,
    map_price: Callable[[str], Price | None],
) -> AdminServices:
    """Args: `map_price` gives a model's price in the pinned map."""
    service = databases.service
    return AdminServices(
        audit=AuditLog(service),
        credits=Credits(service),
        figures=Figures(service),
        money=_money(databases, billing, payments),
        prices=Prices(service, source, lambda line: map_price(line.map_name or line.upstream)),
        provider_reports=ProviderReports(service, config.provider_access()),
        purge=_purge(config, databases),
        usage_reports=UsageReports(
            service,
            base_usd={plan.id: plan.price.base_usd for plan in sold.values() if plan.price},
            caps={"free": config.free_tier_daily_usd, "total": config.total_daily_usd},
        ),
        users=Users(
            service,
            UsersParts(
                live=live_sessions,
                identity=identity,
                quota=billing.quota,
                stripe=_stripe(config),
                url=config.url,
                mails_go_out=config.smtp_url is not None,
            ),
        ),
    )


def _money(
    databases: Databases, billing: BillingServices, payments: Payments | None
) -> MoneyHealth:
    service = databases.service
    reconciliation = billing.metering.reconciliation if billing.metering else None
    return MoneyHealth(
        usage=OutboxAdmin(service, reconciliation),
        ledger=ReconciliationAdmin(service, payments, reconciliation),
        webhooks=WebhookEvents(service, payments, billing.stripe_events),
        entitlements=Entitlements(service, payments, billing.subscriptions),
        failed_jobs=FailedJobs(service),
        losses=UsageLosses(service),
    )


def _stripe(config: Settings) -> StripePages | None:
    if config.stripe_secret_key is None:
        return None
    return StripePages(live=config.stripe_is_live, fake_url=config.payments_url)


def _purge(config: Settings, databases: Databases) -> Purge:
    days = {name: getattr(config, name) for name in retention.SETTINGS}
    return Purge(databases.service, retention.RULES, days | retention.DAYS)

"""Builds what billing offers, with a payment provider or without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from aisaas.accounts.ports import Limiter
from aisaas.billing.ledger import losses
from aisaas.billing.ledger.usage import TitlesOf, Usage
from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.billing.notices.alert_delivery import AlertDelivery
from aisaas.billing.notices.alert_delivery_store import LOSSES
from aisaas.billing.notices.mail import MailContext
from aisaas.billing.notices.mailer import NoticeMails
from aisaas.billing.notices.ports import Mailer
from aisaas.billing.plans.terms import Plan
from aisaas.billing.ports import AlertSink, Payments
from aisaas.billing.providers.alerts import ProviderAlerts
from aisaas.billing.providers.health import CircuitState, ProviderHealth
from aisaas.billing.reservations.quota import Quota
from aisaas.billing.reservations.refusals import Refusals
from aisaas.billing.subscriptions.changes import BillingChanges
from aisaas.billing.subscriptions.checkout import Checkout
from aisaas.billing.subscriptions.events import StripeEvents
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.billing.subscriptions.tasks import SubscriptionTasks
from aisaas.db.build import Databases
from aisaas.settings import Settings
from aisaas.signals import Signals

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metering:
    """Usage on its way to the meter, and whether it got there."""

    outbox: Outbox
    reconciliation: Reconciliation


@dataclass(frozen=True)
class BillingServices:
    quota: Quota
    checkout: Checkout
    billing_changes: BillingChanges
    usage: Usage
    refusals: Refusals
    provider_health: ProviderHealth
    # None: payments are off, and nothing is metered.
    subscriptions: Subscriptions | None
    subscription_tasks: SubscriptionTasks | None
    stripe_events: StripeEvents | None
    metering: Metering | None
    # None: no mail server is configured.
    notice_mails: NoticeMails | None
    loss_alerts: AlertDelivery
    provider_alerts: ProviderAlerts


def build(
    config: Settings,
    sold: Mapping[str, Plan],
    databases: Databases,
    *,
    payments: Payments | None,
    mailer: Mailer | None,
    alerts: AlertSink | None,
    signals: Signals,
    limiter: Limiter,
    circuits: Callable[[], Sequence[CircuitState]],
    titles_of: TitlesOf,
) -> BillingServices:
    """Args: `circuits` returns this process's circuits that aren't closed."""
    service, user = databases.service, databases.user
    free_cap, total_cap = config.free_tier_daily_usd, config.total_daily_usd
    quota = Quota(service, user, sold, free_cap=free_cap, total_cap=total_cap)
    subscriptions = _subscriptions(config, sold, databases, payments, signals)
    controls, losses_page = f"{config.url}/admin/controls", f"{config.url}/admin/money"
    return BillingServices(
        quota=quota,
        checkout=Checkout(
            service,
            user,
            payments,
            limiter,
            quota,
            sold,
            subscriptions,
            page=f"{config.url}/billing",
        ),
        billing_changes=BillingChanges(signals),
        usage=Usage(user, quota.limits_of, titles_of),
        refusals=Refusals(service),
        provider_health=ProviderHealth(service, circuits),
        subscriptions=subscriptions,
        subscription_tasks=SubscriptionTasks(service, payments, subscriptions)
        if payments and subscriptions
        else None,
        stripe_events=StripeEvents(service, subscriptions) if subscriptions else None,
        metering=Metering(Outbox(service, payments), Reconciliation(service, payments))
        if payments
        else None,
        notice_mails=NoticeMails(service, mailer, MailContext(config.app_name, config.url, sold))
        if mailer
        else None,
        loss_alerts=AlertDelivery(service, alerts, LOSSES, partial(losses.alert, page=losses_page)),
        provider_alerts=ProviderAlerts(service, config.provider_access(), alerts, page=controls),
    )


def _subscriptions(
    config: Settings,
    sold: Mapping[str, Plan],
    databases: Databases,
    payments: Payments | None,
    signals: Signals,
) -> Subscriptions | None:
    if payments is None:
        return None
    for variable, secrets in (
        ("STRIPE_WEBHOOK_SECRET", config.webhook_secrets),
        ("STRIPE_METER_WEBHOOK_SECRET", config.meter_webhook_secrets),
    ):
        if not secrets:
            log.warning("%s is not set: its webhook endpoint is off", variable)
    return Subscriptions(
        databases.service,
        payments,
        signals,
        plans=[plan.id for plan in sold.values() if plan.metered],
        grace=timedelta(days=config.past_due_grace_days),
        after_refund=config.after_full_refund,
    )

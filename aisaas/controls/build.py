"""Builds what an operator sets and every call obeys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from aisaas.billing.plans.terms import Plan
from aisaas.billing.ports import AlertSink
from aisaas.controls.found_models import FoundModels, Provider
from aisaas.controls.kill_switch import KillSwitches
from aisaas.controls.lineup import ModelSource
from aisaas.controls.model_overrides import ModelOffers
from aisaas.controls.ports import Discovery
from aisaas.controls.spending_alerts import SpendingAlerts
from aisaas.controls.spending_caps import Caps, CapScope
from aisaas.db.build import Databases
from aisaas.settings import Settings
from aisaas.signals import Signals


@dataclass(frozen=True)
class ControlServices:
    offers: ModelOffers
    found_models: FoundModels
    switches: KillSwitches
    caps: Caps
    spending_alerts: SpendingAlerts


def build(
    config: Settings,
    sold: Mapping[str, Plan],
    databases: Databases,
    signals: Signals,
    source: ModelSource,
    discover: Callable[[str], Awaitable[Discovery]],
    *,
    alerts: AlertSink | None,
    scopes: Callable[[], Collection[str]],
) -> ControlServices:
    """Args: `scopes` are the kill switch's scopes besides everything and plans."""
    service = databases.service
    caps: dict[CapScope, Decimal] = {
        "free": config.free_tier_daily_usd,
        "total": config.total_daily_usd,
    }
    providers = [
        Provider(each.id, each.label, each.prefix) for each in config.provider_access().values()
    ]
    return ControlServices(
        offers=ModelOffers(service, source, sold),
        found_models=FoundModels(service, source, sold, providers, discover),
        switches=KillSwitches(
            service, signals, lambda: [*(f"plan:{plan}" for plan in sold), *scopes()]
        ),
        caps=Caps(service, caps),
        spending_alerts=SpendingAlerts(
            service, {**caps}, alerts, page=f"{config.url}/admin/controls"
        ),
    )

"""Puts together what each domain's `build` makes, once, from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from aisaas.accounts import build as accounts
from aisaas.adapters import build as adapters
from aisaas.admin import build as admin
from aisaas.billing import build as billing
from aisaas.billing.plans.terms import plans
from aisaas.billing.ports import Payments
from aisaas.callers import Callers
from aisaas.chat import build as chat
from aisaas.chat import store as chat_store
from aisaas.chat.circuits import Circuits
from aisaas.chat.ports import LanguageModel
from aisaas.controls import build as controls
from aisaas.db import build as db
from aisaas.db.engine import PoolUse
from aisaas.observe.draining import Draining
from aisaas.observe.jobs import JobTimes
from aisaas.observe.readiness import Dependencies
from aisaas.overload import Bulkheads, bulkheads
from aisaas.settings import Settings, settings


# Without a repr of all that is in it, which a trace would print: settings, and texts of running replies.
@dataclass(frozen=True, repr=False)
class Services(
    accounts.AccountServices,
    billing.BillingServices,
    controls.ControlServices,
    chat.Models,
    chat.ChatServices,
    admin.AdminServices,
):
    """Everything the user interface, the routes and the jobs call: what the domains offer, and this."""

    settings: Settings
    callers: Callers
    # Limits on what this process takes on at once.
    bulkheads: Bulkheads
    model: LanguageModel
    # None: nothing is sold here, and nothing metered.
    payments: Payments | None
    # Begun on SIGTERM; from then on this process isn't ready.
    draining: Draining
    dependencies: Dependencies
    job_times: JobTimes
    # How much of each login's pools is in use.
    pools: Callable[[], Mapping[str, Mapping[str, PoolUse]]]
    _closers: tuple[adapters.Closer, ...]

    __repr__ = object.__repr__

    async def close(self) -> None:
        """Let go of every connection."""
        for closer in self._closers:
            await closer()


def build(config: Settings) -> Services:
    """Construct everything; connects to nothing.

    Raises:
        ConfigurationError: the catalogue is unfit.
    """
    databases = db.build(config)
    outside = adapters.build(config)
    sold = plans(config)
    circuits, draining = Circuits(), Draining()
    on_sale = chat.models(config, sold, databases, outside.model)
    people = accounts.build(config, databases, outside.identity, outside.limiter)
    money = billing.build(
        config,
        sold,
        databases,
        payments=outside.payments,
        mailer=outside.mailer,
        alerts=outside.alerts,
        signals=outside.signals,
        limiter=outside.limiter,
        circuits=circuits.not_closed,
        titles_of=chat_store.titles_of,
    )
    controlled = controls.build(
        config,
        sold,
        databases,
        outside.signals,
        on_sale.model_source,
        outside.discover,
        alerts=outside.alerts,
        scopes=on_sale.switch_scopes,
    )
    replies = chat.build(
        config,
        sold,
        databases,
        on_sale,
        money,
        model=outside.model,
        limiter=outside.limiter,
        log=outside.reply_log,
        signals=outside.signals,
        circuits=circuits,
        draining=draining,
        ended=people.accounts.ended,
    )
    operated = admin.build(
        config,
        sold,
        databases,
        money,
        payments=outside.payments,
        identity=outside.identity,
        live_sessions=people.live_sessions,
        source=on_sale.model_source,
        map_price=outside.model.price_of,
    )
    return Services(
        **vars(people),
        **vars(money),
        **vars(controlled),
        **vars(on_sale),
        **vars(replies),
        **vars(operated),
        settings=config,
        callers=Callers(people.live_sessions),
        bulkheads=bulkheads(),
        model=outside.model,
        payments=outside.payments,
        draining=draining,
        dependencies=Dependencies((*databases.dependencies(), *outside.dependencies), draining),
        job_times=outside.job_times,
        pools=databases.pools,
        _closers=(people.accounts.close, databases.close, *outside.closers),
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """The services of this process."""
    return build(settings())

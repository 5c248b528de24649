"""Provider health across all processes, for admins. It is counted where calls are made
(billing/providers/health.py); no decision depends on it.

Outage: without the database nothing is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from aisaas.accounts.admin_access import Actor, admin_read
from aisaas.billing.providers import reports as store
from aisaas.billing.providers.health import ANSWERED, RANGES, STOPPED, quantile
from aisaas.billing.providers.reports import Circuit, Ended
from aisaas.db.service import ServiceDatabase
from aisaas.errors import MODEL_GONE
from aisaas.providers import ModelProvider

HealthSpan = Literal["15m", "1h", "24h"]
# The length of each span, and whether minutes or hours are summed.
SPANS: Mapping[HealthSpan, tuple[Literal["minute", "hour"], timedelta]] = {
    "15m": ("minute", timedelta(minutes=15)),
    "1h": ("minute", timedelta(hours=1)),
    "24h": ("hour", timedelta(hours=24)),
}


# The variable to check after a failure, where it isn't the provider's own.
VARIABLES = {
    MODEL_GONE: "MODEL_CATALOGUE",
    "timeout": "FIRST_TOKEN_TIMEOUT_SECONDS",
    "thinking_timeout": "THINKING_TIMEOUT_SECONDS",
}


@dataclass(frozen=True, slots=True)
class LastFailure:
    """`variable` is the setting to check."""

    model: str
    kind: str
    at: datetime
    variable: str


@dataclass(frozen=True, slots=True)
class Health:
    """Provider health in a span. We ended the `stopped` attempts, so they aren't errors. Unknown
    figures are None."""

    attempts: int
    stopped: int
    errors: int
    first_token_p50: float | None
    first_token_p95: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """A provider, or with `model` one of its models."""

    provider: str
    label: str
    model: str
    health: Health
    circuit: Circuit | None
    last_failure: LastFailure | None


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """`errors` are those of the span by class, the most frequent first."""

    at: datetime
    span: HealthSpan
    providers: Sequence[ProviderStatus]
    models: Sequence[ProviderStatus]
    errors: Sequence[Ended]


class ProviderReports:
    """Reads only."""

    def __init__(self, database: ServiceDatabase, providers: Mapping[str, ModelProvider]) -> None:
        """Args: `providers`: the configured ones, by ID. They are shown before their first call too."""
        self._database = database
        self._providers = providers

    async def report(self, actor: Actor, span: HealthSpan) -> ProviderReport:
        """Raises NotFound, Unavailable."""
        step, back = SPANS[span]
        async with admin_read(self._database, actor) as session:
            at = await store.clock(session)
            ended = await store.ended(session, step, back)
            firsts = await store.first_tokens(session, step, back)
            failures = await store.last_failures(session)
            circuits = await store.circuits(session)

        def status(provider: str, model: str) -> ProviderStatus:
            """The status of one model, or of all the provider's models if `model` is empty."""

            def about(its: str, name: str) -> bool:
                return its == provider and model in ("", name)

            known = self._providers.get(provider)
            variable = known.variables if known is not None else "MODEL_PROVIDERS"
            return ProviderStatus(
                provider=provider,
                label=known.label if known is not None else provider,
                model=model,
                health=_health(
                    [each for each in ended if about(each.provider, each.model)],
                    [found for name, found in firsts.items() if about(*name)],
                ),
                circuit=next(
                    (each for each in circuits if (each.provider, each.model) == (provider, model)),
                    None,
                ),
                last_failure=next(
                    (
                        LastFailure(
                            each.model, each.kind, each.at, VARIABLES.get(each.kind, variable)
                        )
                        for each in failures
                        if about(each.provider, each.model)
                    ),
                    None,
                ),
            )

        models = {(each.provider, each.model) for each in (*ended, *failures)}
        models |= {(each.provider, each.model) for each in circuits if each.model}
        providers = {
            *self._providers,
            *(provider for provider, _ in models),
            *(each.provider for each in circuits),
        }
        return ProviderReport(
            at=at,
            span=span,
            providers=[status(provider, "") for provider in sorted(providers)],
            models=[status(*name) for name in sorted(models)],
            errors=[each for each in ended if each.kind not in (ANSWERED, STOPPED)],
        )


def _health(ended: Sequence[Ended], firsts: Sequence[Mapping[int, int]]) -> Health:
    counted = Counter[int]()
    for each in firsts:
        counted.update(each)
    ranges = [counted[n] for n in range(RANGES)]
    attempts = sum(each.times for each in ended)
    stopped = sum(each.times for each in ended if each.kind == STOPPED)
    answered = sum(each.times for each in ended if each.kind == ANSWERED)
    writing_ms = sum(each.writing_ms for each in ended)
    return Health(
        attempts=attempts,
        stopped=stopped,
        errors=attempts - stopped - answered,
        first_token_p50=quantile(ranges, 0.5),
        first_token_p95=quantile(ranges, 0.95),
        tokens_per_second=sum(each.tokens for each in ended) * 1000 / writing_ms
        if writing_ms
        else None,
    )

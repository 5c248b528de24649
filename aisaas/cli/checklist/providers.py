"""The model providers that are configured, as `check` lists them: what each serves, and whether it answered
the calls of the last day. None is called."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.exc import ProgrammingError

from aisaas import formats
from aisaas.billing.plans.terms import plans
from aisaas.cli.checklist.findings import first
from aisaas.errors import DependencyError, Unavailable
from aisaas.settings import Settings
from aisaas.wiring import Services, build

READER = "operator:check"


@dataclass(frozen=True, slots=True)
class LastFailure:
    """`at` is ISO 8601; `variable` is what to look at."""

    kind: str
    model: str
    at: str
    variable: str


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """`attempts` and `errors` are of the last 24 hours; None where the database can't tell. `models` are on
    sale."""

    id: str
    label: str
    models: tuple[str, ...]
    attempts: int | None = None
    errors: int | None = None
    last_failure: LastFailure | None = None

    def describe(self) -> str:
        serves = f"serves {first(list(self.models))}" if self.models else "serves no model on sale"
        return f"{serves}; {self._health()}"

    def _health(self) -> str:
        if self.attempts is None or self.errors is None:
            return "whether it answers is unknown"
        if not self.attempts:
            return "not tried in the last 24 hours"
        if not self.errors:
            return f"answers: {formats.count(self.attempts, 'attempt')} in 24 hours, no errors"
        said = f"{formats.count(self.attempts, 'attempt')} in 24 hours, {formats.count(self.errors, 'error')}"
        if self.last_failure is None:
            return said
        return f"{said}, the last one {self.last_failure.kind}: check {self.last_failure.variable}"


async def provider_lines(settings: Settings) -> list[ProviderLine]:
    """Raises ConfigurationError when the catalog is unfit."""
    services = build(settings)
    try:
        return await _lines(services)
    finally:
        await services.close()


async def _lines(services: Services) -> list[ProviderLine]:
    try:
        await services.live_catalogue.read()
        report = await services.provider_reports.report(READER, "24h")
    except (DependencyError, Unavailable, ProgrammingError):
        report = None
    on_sale = {
        model.id: model.provider
        for plan in plans(services.settings)
        for model in services.catalogue.for_plan(plan)
    }
    status = {each.provider: each for each in report.providers} if report is not None else {}
    found: list[ProviderLine] = []
    for provider in services.settings.provider_access().values():
        models = tuple(model for model, its in on_sale.items() if its == provider.id)
        health = status.get(provider.id)
        if health is None:
            found.append(ProviderLine(provider.id, provider.label, models))
            continue
        failure = health.last_failure
        found.append(
            ProviderLine(
                provider.id,
                provider.label,
                models,
                health.health.attempts,
                health.health.errors,
                LastFailure(failure.kind, failure.model, failure.at.isoformat(), failure.variable)
                if failure is not None
                else None,
            )
        )
    return found

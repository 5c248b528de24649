"""How providers do, as the page shows it. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from aisaas import formats
from aisaas.admin.provider_reports import HealthSpan, ProviderReport, ProviderStatus
from aisaas.billing.providers.reports import Ended

NOTHING = "–"
SPANS: tuple[tuple[HealthSpan, str], ...] = (
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("24h", "24 hours"),
)


@dataclasses.dataclass(frozen=True)
class StatusView:
    """A provider or a model; `failed_at` and `open_until` are ISO 8601."""

    id: str = ""
    name: str = ""
    under: str = ""
    attempts: str = "0"
    stopped: str = ""
    errors: str = "0"
    share: str = ""
    p50: str = NOTHING
    p95: str = NOTHING
    speed: str = NOTHING
    circuit: str = ""
    tone: str = ""
    processes: str = ""
    open_until: str = ""
    failure: str = ""
    failed_at: str = ""
    variable: str = ""


@dataclasses.dataclass(frozen=True)
class ErrorView:
    """`at` is ISO 8601: the last time."""

    id: str = ""
    kind: str = ""
    model: str = ""
    provider: str = ""
    times: str = ""
    at: str = ""


@dataclasses.dataclass(frozen=True)
class HealthView:
    """`at` is the time of the check, ISO 8601."""

    at: str = ""
    providers: list[StatusView] = dataclasses.field(default_factory=list[StatusView])
    models: list[StatusView] = dataclasses.field(default_factory=list[StatusView])
    errors: list[ErrorView] = dataclasses.field(default_factory=list[ErrorView])


def health_view(report: ProviderReport, models: Mapping[str, str]) -> HealthView:
    """Args: `models` are the labels of models by id."""
    labels = {each.provider: each.label for each in report.providers}
    return HealthView(
        at=report.at.isoformat(),
        providers=[_status(each, report.at, each.label, "") for each in report.providers],
        models=[
            _status(each, report.at, models.get(each.model, each.model), each.label)
            for each in report.models
        ],
        errors=[_error(each, models, labels) for each in report.errors],
    )


def _status(each: ProviderStatus, now: datetime, name: str, under: str) -> StatusView:
    health, failure = each.health, each.last_failure
    circuit, tone, processes, until = _circuit(each, now)
    return StatusView(
        id=f"{each.provider}/{each.model}",
        name=name,
        under=under,
        attempts=f"{health.attempts:,}",
        stopped=f"{health.stopped:,} stopped" if health.stopped else "",
        errors=f"{health.errors:,}",
        share=formats.percent(health.errors / health.attempts) if health.errors else "",
        p50=seconds(health.first_token_p50),
        p95=seconds(health.first_token_p95),
        speed=NOTHING if health.tokens_per_second is None else f"{health.tokens_per_second:,.0f}",
        circuit=circuit,
        tone=tone,
        processes=processes,
        open_until=until,
        failure=failure.kind if failure is not None else "",
        failed_at=failure.at.isoformat() if failure is not None else "",
        variable=failure.variable if failure is not None else "",
    )


def _circuit(each: ProviderStatus, now: datetime) -> tuple[str, str, str, str]:
    """State, tone, in how many processes, and until when."""
    circuit = each.circuit
    if circuit is None:
        return "Closed", "good", "", ""
    processes = f"in {formats.count(circuit.processes, 'process', 'processes')}"
    if circuit.until > now:
        return "Open", "bad", processes, circuit.until.isoformat()
    return "Half-open", "near", processes, ""


def _error(each: Ended, models: Mapping[str, str], providers: Mapping[str, str]) -> ErrorView:
    return ErrorView(
        id=f"{each.provider}/{each.model}/{each.kind}",
        kind=each.kind,
        model=models.get(each.model, each.model),
        provider=providers.get(each.provider, each.provider),
        times=f"{each.times:,}",
        at=each.last_at.isoformat(),
    )


def seconds(value: float | None) -> str:
    """Two digits; more aren't known."""
    if value is None:
        return NOTHING
    return f"{float(f'{value:.2g}'):,g} s"

"""The metrics of this process, for Prometheus.

Counters begin at zero with the process. With PROMETHEUS_MULTIPROC_DIR set, the library keeps them
in files of that folder, and any worker answers for all workers of this machine.

Invariant: every label has few values, which we choose ourselves: models and providers of the
catalogue, codes of refusals, names of jobs. No user, no address, no text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aisaas.errors import Refusal
from aisaas.observe import supervision

# The library reads it as it is imported, so it can't be one of the settings.
_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
# When each series began is of no use, and twice as much to read.
disable_created_metrics()
REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
if _FOLDER is None:
    ProcessCollector(registry=REGISTRY)

MODEL_CALLS = Counter(
    "aisaas_model_calls",
    "Settled calls by outcome.",
    ("model", "provider", "purpose", "outcome"),
    registry=REGISTRY,
)
TOKENS = Counter(
    "aisaas_tokens", "Tokens of settled calls.", ("model", "provider", "kind"), registry=REGISTRY
)
COST = Counter(
    "aisaas_cost_usd",
    "Provider cost of settled calls, in USD.",
    ("model", "provider"),
    registry=REGISTRY,
)
UNCHARGED = Counter(
    "aisaas_uncharged_usd",
    "What providers may bill beyond what was charged, in USD: the house's loss.",
    ("model", "provider", "reason"),
    registry=REGISTRY,
)
REPORTS_REPLACED = Counter(
    "aisaas_reports_replaced",
    "Calls whose provider reported counts that can't be, so that our own were charged.",
    ("model", "provider"),
    registry=REGISTRY,
)
REFUSALS = Counter("aisaas_refusals", "Refused calls by code.", ("code",), registry=REGISTRY)
PROVIDER_ERRORS = Counter(
    "aisaas_provider_errors",
    "Failed provider attempts by kind. A fallback may have answered instead.",
    ("provider", "kind"),
    registry=REGISTRY,
)
PROVIDER_SECONDS = Histogram(
    "aisaas_provider_seconds",
    "Duration of a provider attempt, from the request to its end.",
    ("provider", "end"),
    buckets=(0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300),
    registry=REGISTRY,
)
FIRST_TOKEN_SECONDS = Histogram(
    "aisaas_first_token_seconds",
    "Time from the provider request to its first text.",
    ("provider",),
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30),
    registry=REGISTRY,
)
ADMISSION_SECONDS = Histogram(
    "aisaas_admission_seconds",
    "Time a call spent in the guards, whether accepted or refused.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
WEBHOOKS = Counter(
    "aisaas_webhooks",
    "Webhook deliveries by result: taken, invalid, or failed (Stripe retries it).",
    ("result",),
    registry=REGISTRY,
)
METER_SENDS = Counter(
    "aisaas_meter_sends",
    "Usage rows sent to the meter by result: sent, refused (dead), or postponed.",
    ("result",),
    registry=REGISTRY,
)
DEPENDENCY_FAILURES = Counter(
    "aisaas_dependency_failures",
    "Requests to a dependency that got no response: database, redis, auth.",
    ("part",),
    registry=REGISTRY,
)
# Prometheus itself calls what it scrapes a job, so ours is a task there.
JOB_RUNS = Counter(
    "aisaas_job_runs",
    "Job runs by result: done or failed.",
    ("task", "result"),
    registry=REGISTRY,
)
JOB_ITEMS_FAILED = Counter(
    "aisaas_job_items_failed",
    "Items that a job failed to process. It went on with the others.",
    ("task",),
    registry=REGISTRY,
)
LOOP_LAG_SECONDS = Histogram(
    "aisaas_event_loop_lag_seconds",
    "Event loop lag: how late a timer fires.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
# Living processes only: a dead process's values no longer apply. With several workers behind one
# address, the library gives each its own series with the label `pid`.
REPLIES_HERE = Gauge(
    "aisaas_replies_here",
    "Replies in progress in a process.",
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
POOL_IN_USE = Gauge(
    "aisaas_db_pool_in_use",
    "Pool connections in use, by login and kind.",
    ("login", "pool"),
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
POOL_LIMIT = Gauge(
    "aisaas_db_pool_limit",
    "Maximum pool connections.",
    ("login", "pool"),
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
# Like the `process_…` metrics, but for each of several workers behind one address.
MEMORY_HERE = Gauge(
    "aisaas_process_resident_memory_bytes",
    "Resident memory of a process.",
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
FILES_HERE = Gauge(
    "aisaas_process_open_fds",
    "Open file descriptors of a process.",
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
SOCKETS_HERE = Gauge(
    "aisaas_sockets_here",
    "WebSockets of open pages in the processes behind this address.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REFUSED_EARLY = Counter(
    "aisaas_refused_early",
    "Requests, connections, and events refused before the application saw them, by reason.",
    ("reason",),
    registry=REGISTRY,
)
PAGE_ERRORS = Counter(
    "aisaas_page_errors", "Errors reported by pages, by kind.", ("kind",), registry=REGISTRY
)
# Rare series exist from the start: otherwise their first event would be no increase.
for _refusal in Refusal.__subclasses__():
    REFUSALS.labels(_refusal.code)
for _result in ("taken", "invalid", "busy", "failed"):
    WEBHOOKS.labels(_result)
for _part in ("database", "redis", "auth"):
    DEPENDENCY_FAILURES.labels(_part)
for _result in ("sent", "refused", "postponed"):
    METER_SENDS.labels(_result)


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's value that is the same for every process: it is read from the database or Redis."""

    name: str
    about: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def of_this_process() -> bytes:
    """What was counted here; with a folder shared by workers, what all of them have counted."""
    if _FOLDER is None:
        return generate_latest(REGISTRY) + supervision.figures()
    _forget_the_gone(Path(_FOLDER))
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)
    return generate_latest(together) + supervision.figures()


def of_all(readings: Iterable[Reading]) -> bytes:
    """Readings as gauges; readings with one name have the same labels."""
    families: dict[str, GaugeMetricFamily] = {}
    for reading in readings:
        family = families.get(reading.name)
        if family is None:
            names = tuple(reading.labels)
            family = GaugeMetricFamily(reading.name, reading.about, labels=names)
            families[reading.name] = family
        family.add_metric(tuple(reading.labels.values()), reading.value)
    registry = CollectorRegistry()
    registry.register(_Fixed(tuple(families.values())))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, families: tuple[GaugeMetricFamily, ...]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _forget_the_gone(folder: Path) -> None:
    """A worker that crashed leaves the file of its gauges behind."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(folder))  # pyright: ignore[reportUnknownMemberType]
        except PermissionError:
            continue

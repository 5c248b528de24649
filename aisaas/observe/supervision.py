"""What this process's supervisor counts: it serves no requests, so its workers report it.

It writes a small file, and a worker that is scraped adds the file's contents.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# The file that the supervisor writes and its workers read.
VARIABLE = "AISAAS_SUPERVISION"


@dataclass
class Supervision:
    """Since the supervisor began. `replaced` counts workers that weren't asked to go."""

    restarts: dict[str, int] = field(default_factory=lambda: {"done": 0, "given_up": 0})
    replaced: dict[str, int] = field(default_factory=lambda: {"ended": 0, "hung": 0})
    workers: int = 0


def write(path: Path, found: Supervision) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(found)))
    draft.replace(path)


def figures() -> bytes:
    """For Prometheus; empty when this process has no supervisor."""
    path = os.environ.get(VARIABLE)
    if path is None or not Path(path).is_file():
        return b""
    registry = CollectorRegistry()
    registry.register(_SupervisionCollector(json.loads(Path(path).read_text())))
    return generate_latest(registry)


class _SupervisionCollector(Collector):
    def __init__(self, counts: dict[str, Any]) -> None:
        self._counts = counts

    def collect(self) -> list[Metric]:
        restarts = CounterMetricFamily(
            "aisaas_restarts",
            "Restarts of all workers by result: done, given_up (the former ones go on).",
            labels=("result",),
        )
        replaced = CounterMetricFamily(
            "aisaas_workers_replaced",
            "Workers that had to be replaced, by reason: ended, hung.",
            labels=("reason",),
        )
        workers = GaugeMetricFamily(
            "aisaas_workers", "Workers that serve.", value=self._counts["workers"]
        )
        for result, count in self._counts["restarts"].items():
            restarts.add_metric((result,), count)
        for reason, count in self._counts["replaced"].items():
            replaced.add_metric((reason,), count)
        return [restarts, replaced, workers]

"""What operators are given: it names what there is, and says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from aisaas.cli import COMMANDS
from aisaas.jobs.watch_process import sample, share_job_runs_once
from aisaas.observe import supervision
from aisaas.observe.jobs import EXPECTED_SECONDS, RUNS
from aisaas.settings import PROJECT_ROOT
from devstack.stack import Stack
from tests.observe.conftest import Routes

FOLDER = PROJECT_ROOT / "docs" / "operations"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PAGE = (FOLDER / "observability.md").read_text()
ALERTS = [alert for group in RULES["groups"] for alert in group["rules"]]
METRIC = re.compile(r"\b(?:aisaas|process)_[a-z_]+[a-z]\b")
# Prometheus's own, besides the labels of `le`-histograms.
OWN_LABELS = {"job", "instance", "le"}


def _expressions() -> Iterator[str]:
    for alert in ALERTS:
        yield alert["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


@pytest.fixture(autouse=True)
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process runs under `serve`, whose supervisor has metrics of its own."""
    counts = tmp_path / "supervision.json"
    supervision.write(counts, supervision.Supervision(workers=1))
    monkeypatch.setenv(supervision.VARIABLE, str(counts))


async def _given(routes: Routes) -> tuple[set[str], dict[str, set[str]]]:
    """Names of everything that /metrics gives, and the labels of what has values."""
    for job in EXPECTED_SECONDS:
        RUNS.began(job)
    async with routes() as (services, browser):
        sample(services.running, services.pools)
        await share_job_runs_once(services.job_times)
        text = (await browser.get("/metrics")).text
    names, labels = set[str](), dict[str, set[str]]()
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {f"{family.name}{suffix}" for suffix in suffixes.get(family.type, [""])}
        for one in family.samples:
            labels.setdefault(one.name, set()).update(one.labels)
    return names, labels


async def test_rules_and_dashboard_name_only_what_metrics_gives(
    routes: Routes, spare_stack: Stack
) -> None:
    names, labels = await _given(routes)
    for expression in _expressions():
        used = set(METRIC.findall(expression))
        assert used or expression.startswith("up{"), expression
        assert used <= names, expression
        for name, inside in re.findall(r"\b(aisaas_\w+)\{([^}]*)\}", expression):
            chosen = set(re.findall(r"(\w+)\s*=", inside)) - OWN_LABELS
            assert chosen <= labels.get(name, chosen), expression


async def test_everything_metrics_gives_is_on_the_page(routes: Routes, spare_stack: Stack) -> None:
    names, _ = await _given(routes)
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if "aisaas" in name}
    missing = {name for name in ours if f"`{name}`" not in PAGE and f"{name}`" not in PAGE}
    assert missing == set()
    documented = {name for name in METRIC.findall(PAGE) if name.startswith("aisaas_")}
    assert documented == ours


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_it_is_and_what_to_do(alert: dict[str, object]) -> None:
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    annotations = alert["annotations"]
    assert isinstance(annotations, dict)
    assert set(annotations) == {"summary", "do"}
    assert len(str(annotations["do"])) > 50
    expression = str(alert["expr"])
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    # What it tells people to type exists.
    for command in re.findall(r"python -m aisaas (\w+)", str(annotations["do"])):
        assert command in COMMANDS


def test_alerts_and_panels_have_names_of_their_own() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_every_job_that_is_watched_has_a_time_by_which_it_should_have_succeeded() -> None:
    folder = PROJECT_ROOT / "aisaas" / "jobs"
    texts = {path.name: path.read_text() for path in folder.glob("*.py")}
    # The runner counts the rounds of all of them, and nobody else does.
    counting = {
        name for name, text in texts.items() if re.search(r"RUNS\.(began|succeeded|failed)", text)
    }
    assert counting == {"runner.py"}
    named = [
        name for text in texts.values() for name in re.findall(r"Job\(\s*name=\"(\w+)\"", text)
    ]
    assert len(named) == len(set(named))
    began = set(named)
    assert began == set(EXPECTED_SECONDS)

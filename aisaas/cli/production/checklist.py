"""The table of contents of the launch checklist, in the order in which one mends things."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import asdict

import psycopg

from aisaas.cli.environment import adopt, configured, running
from aisaas.cli.parts import plan
from aisaas.cli.production import (
    address,
    cache,
    clocks,
    configuration,
    database,
    payments,
    product,
    tenancy,
)
from aisaas.cli.production.database import connections
from aisaas.cli.production.findings import Finding, fail
from aisaas.cli.screen import say
from aisaas.errors import ConfigurationError
from aisaas.settings import Settings, load

STATES = ("failed", "warning", "skipped", "ok")
STATE_WIDTH = 8
ITEM_WIDTH = 25


def execute(*, as_json: bool) -> int:
    """Look, show, and 0 only if nothing failed."""
    found: list[Finding] = []
    for finding in _everything():
        found.append(finding)
        if not as_json:
            say(line(finding))
    if as_json:
        say(
            json.dumps(
                {"ok": _passed(found), "findings": [asdict(each) for each in found]}, indent=2
            )
        )
    else:
        counts = {state: sum(each.state == state for each in found) for state in STATES}
        say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    return 0 if _passed(found) else 1


def line(finding: Finding) -> str:
    fix = f" → {finding.fix}" if finding.fix else ""
    return f"{finding.state:<{STATE_WIDTH}}{finding.item:<{ITEM_WIDTH}} {finding.said}{fix}"


def _passed(found: Iterable[Finding]) -> bool:
    return all(each.state != "failed" for each in found)


def _everything() -> Generator[Finding]:
    try:
        planned = plan(configured())
        instance = running()
        adopt(instance)
        if planned.embedded and instance is None:
            yield from configuration.look(planned.settings)
            missing = ", ".join(planned.embedded)
            yield fail(
                "parts", f"{missing}: embedded, and not running", "set theirs, or `make run`"
            )
            return
        settings = load()
    except ConfigurationError as error:
        for problem in error.problems:
            yield fail("settings", problem, ".env.example explains each variable")
        return
    yield from look(settings)


def look(config: Settings) -> Generator[Finding]:
    """Every item, of settings that are valid."""
    yield from configuration.look(config)
    yield from address.look(config)
    yield from _database(config)
    yield from cache.look(config)
    yield from clocks.look(config)
    yield from payments.look(config)
    yield from product.look(config)


def _database(config: Settings) -> Generator[Finding]:
    try:
        with connections(config) as to:
            yield from database.look(config, to)
            yield from tenancy.look(to)
            yield clocks.of_database(to)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        variables = "DATABASE_URL, SERVICE_DATABASE_URL, MIGRATION_DATABASE_URL"
        yield fail("database", said, f"see {variables}, and that it is up")

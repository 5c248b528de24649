"""The table of contents of the launch checklist, in the order in which to fix things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict

import psycopg

from aisaas.cli.checklist import (
    address,
    budget,
    cache,
    clocks,
    configuration,
    database,
    payments,
    product,
    tenancy,
)
from aisaas.cli.checklist.database import connections
from aisaas.cli.checklist.findings import Finding, fail, skipped
from aisaas.cli.checklist.providers import ProviderLine, provider_lines
from aisaas.cli.environment import adopt, configured, running
from aisaas.cli.parts import plan
from aisaas.cli.screen import say
from aisaas.errors import ConfigurationError
from aisaas.settings import Settings, load

MIGRATE = "run `python -m aisaas migrate`"
STATES = ("failed", "warning", "skipped", "ok")
STATE_WIDTH = 8
ITEM_WIDTH = 25


def execute(*, as_json: bool, workers: int = budget.WORKERS) -> int:
    """Run every check and print it. Returns 0 only if nothing failed, else 1."""
    found: list[Finding] = []
    for finding in _everything(workers):
        found.append(finding)
        if not as_json:
            say(line(finding))
    if as_json:
        say(
            json.dumps(
                {
                    "ok": _passed(found),
                    "findings": [asdict(each) for each in found],
                    "providers": [asdict(each) for each in _providers()],
                },
                indent=2,
            )
        )
    else:
        counts = {state: sum(each.state == state for each in found) for state in STATES}
        say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    return 0 if _passed(found) else 1


def _providers() -> list[ProviderLine]:
    """None where the settings aren't valid: the findings say so."""
    try:
        adopt(running())
        return asyncio.run(provider_lines(load()))
    except ConfigurationError:
        return []


def line(finding: Finding) -> str:
    fix = f" → {finding.fix}" if finding.fix else ""
    return f"{finding.state:<{STATE_WIDTH}}{finding.item:<{ITEM_WIDTH}} {finding.said}{fix}"


def _passed(found: Iterable[Finding]) -> bool:
    return all(each.state != "failed" for each in found)


def _everything(workers: int) -> Generator[Finding]:
    try:
        planned = plan(configured())
        instance = running()
        adopt(instance)
        if planned.embedded and instance is None:
            yield from configuration.look(planned.settings)
            missing = ", ".join(planned.embedded)
            yield fail(
                "parts",
                f"{missing}: embedded, but not running",
                "set the variables of these parts, or run `make run`",
            )
            return
        settings = load()
    except ConfigurationError as error:
        for problem in error.problems:
            yield fail("settings", problem, ".env.example explains each variable")
        return
    yield from look(settings, workers)


def look(config: Settings, workers: int = budget.WORKERS) -> Generator[Finding]:
    """Every item, of settings that are valid, for as many workers of the app."""
    yield from configuration.look(config)
    yield from address.look(config)
    yield from _database(config, workers)
    yield from cache.look(config)
    yield from budget.of_redis(config, workers)
    yield from clocks.look(config)
    yield from payments.look(config)
    yield from product.look(config)


# Checks that need the schema, and the newest one.
NEED_THE_SCHEMA = ("row level security", "policies", "grants", "functions", "proof of isolation")


def _each(item: str, look: Callable[[], Iterable[Finding]]) -> Generator[Finding]:
    """The findings, and a failure if an error ended the check; the other checks still run."""
    try:
        yield from look()
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            # The connection is gone, so no other check can use it.
            raise
        said = " ".join(str(error).split())
        yield fail(f"{item}, the rest", said, f"{MIGRATE}, then check again")


def _database(config: Settings, workers: int) -> Generator[Finding]:
    try:
        with connections(config) as to:
            yield from _each("database", lambda: database.look(config, to))
            if database.migrated(to).state == "ok":
                yield from _each("tenants", lambda: tenancy.look(to))
            else:
                for item in NEED_THE_SCHEMA:
                    yield skipped(item, "needs the newest schema", MIGRATE)
            yield budget.of_database(config, to, workers)
            yield clocks.of_database(to)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        variables = "DATABASE_URL, SERVICE_DATABASE_URL, MIGRATION_DATABASE_URL"
        yield fail("database", said, f"check {variables}, and that the database is running")

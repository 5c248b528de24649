"""How providers do is counted without anybody waiting, written in the background, and summed over all
processes for admins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from aisaas.admin.provider_reports import Health, ProviderReport, ProviderReports, ProviderStatus
from aisaas.billing.providers.health import (
    ANSWERED,
    RANGES,
    STOPPED,
    Attempt,
    ProviderHealth,
    quantile,
    range_of,
)
from aisaas.billing.providers.health_store import CircuitState
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import KEY_REFUSED, MODEL_GONE, DependencyError, Unavailable
from aisaas.jobs import record_provider_health as job
from aisaas.providers import ModelProvider
from devstack.stack import Stack

GROQ = ModelProvider("groq-eu", "Groq, EU", "groq", key_variable="GROQ_EU_KEY", key=SecretStr("k"))
QUIET = ModelProvider("quiet", "Quiet", "openai", base="http://127.0.0.1:1/v1")
OPERATOR = "operator:tests"


@dataclass
class Desk:
    """An install on which no job runs."""

    service: ServiceDatabase
    owner: psycopg.Connection
    circuits: list[CircuitState] = field(default_factory=list[CircuitState])

    def process(self, **more: int) -> ProviderHealth:
        return ProviderHealth(self.service, lambda: tuple(self.circuits), **more)

    @property
    def reports(self) -> ProviderReports:
        return ProviderReports(self.service, {each.id: each for each in (GROQ, QUIET)})

    async def report(self) -> ProviderReport:
        return await self.reports.report(OPERATOR, "15m")

    async def groq(self) -> ProviderStatus:
        return next(each for each in (await self.report()).providers if each.provider == GROQ.id)

    def rows(self, columns: str = "step, kind, times") -> list[tuple[object, ...]]:
        return self.owner.execute(  # pyright: ignore[reportCallIssue]
            f"select {columns} from private.provider_health order by step, starts, kind"  # pyright: ignore[reportArgumentType]
        ).fetchall()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(spare_stack: Stack) -> AsyncGenerator[Desk]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    with psycopg.connect(spare_stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("truncate private.provider_health, private.provider_circuits")
        yield Desk(ServiceDatabase(login), owner)
    await login.close()


def attempt(kind: str = ANSWERED, *, model: str = "m", **more: float) -> Attempt:
    return Attempt(GROQ.id, model, kind, **more)  # pyright: ignore[reportArgumentType]


async def test_attempts_of_several_processes_are_summed(desk: Desk) -> None:
    first, second = desk.process(), desk.process()
    for process in (first, second):
        for seconds in (0.2, 0.4):
            process.record(attempt(first_token_seconds=seconds, tokens=50, writing_seconds=1.0))
        process.record(attempt("timeout"))
        process.record(attempt(STOPPED, first_token_seconds=4.0))
        process.record(attempt("RateLimitError", model="other"))
    assert desk.rows() == []
    assert await first.flush() == 4
    assert await second.flush() == 4
    assert await second.flush() == 0

    report = await desk.report()
    groq = next(each for each in report.providers if each.provider == GROQ.id)
    assert groq.label == "Groq, EU"
    health = groq.health
    assert (health.attempts, health.stopped, health.errors) == (10, 2, 4)
    assert health.first_token_p50 == pytest.approx(0.4, rel=0.1)
    assert health.first_token_p95 == pytest.approx(4.0, rel=0.1)
    assert health.tokens_per_second == pytest.approx(50)
    by_model = {each.model: each.health for each in report.models}
    assert by_model["other"] == Health(2, 0, 2, None, None, None)
    assert (by_model["m"].attempts, by_model["m"].errors) == (8, 2)
    assert {(each.model, each.kind, each.times) for each in report.errors} == {
        ("m", "timeout", 2),
        ("other", "RateLimitError", 2),
    }
    assert groq.last_failure is not None
    assert report.at - groq.last_failure.at < timedelta(minutes=1)
    assert groq.circuit is None


async def test_a_provider_that_nobody_asked_is_there_without_figures(desk: Desk) -> None:
    report = await desk.report()
    assert [(each.label, each.health) for each in report.providers] == [
        ("Groq, EU", Health(0, 0, 0, None, None, None)),
        ("Quiet", Health(0, 0, 0, None, None, None)),
    ]
    assert report.models == []


async def test_spans_end_where_they_say(desk: Desk) -> None:
    process = desk.process()
    for minutes, span in ((14, "15m"), (59, "1h"), (23 * 60, "24h")):
        desk.owner.execute("truncate private.provider_health")
        process.record(attempt())
        await process.flush()
        for age, there in (
            (minutes, True),
            (minutes + 61 if span == "24h" else minutes + 1, False),
        ):
            desk.owner.execute(
                "update private.provider_health set starts = date_trunc(step, now(), 'UTC')"
                " - make_interval(mins => %s)",
                [age],
            )
            report = await desk.reports.report(OPERATOR, span)  # pyright: ignore[reportArgumentType]
            assert sum(each.health.attempts for each in report.providers) == int(there), (span, age)


async def test_first_tokens_of_different_lengths_are_added_up(desk: Desk) -> None:
    process = desk.process()
    for seconds in (100.0, 0.02, 100.0):
        process.record(attempt(first_token_seconds=seconds))
        await process.flush()
    process.record(attempt())
    await process.flush()
    counts = [0] * (range_of(100) + 1)
    counts[range_of(0.02)], counts[-1] = 1, 2
    assert desk.rows("step, times, first_tokens") == [("hour", 4, counts), ("minute", 4, counts)]


async def test_what_an_outage_keeps_is_written_after_it_and_memory_is_bounded(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    away = DatabasePool("postgresql://nobody@127.0.0.1:1/nothing")
    process = ProviderHealth(ServiceDatabase(away), tuple, buffered=2)
    for model in ("a", "b", "b", "c"):
        process.record(attempt(model=model))
        with pytest.raises(DependencyError):
            await process.flush()
    process._service = desk.service  # pyright: ignore[reportPrivateUsage]
    assert await process.flush() == 2
    assert desk.owner.execute(
        "select model, times from private.provider_health where step = 'hour' order by 1"
    ).fetchall() == [("b", 2), ("c", 1)]
    assert "1 attempts at providers were not recorded" in caplog.text
    await away.close()


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        (KEY_REFUSED[0], "GROQ_EU_KEY"),
        (KEY_REFUSED[1], "GROQ_EU_KEY"),
        ("RateLimitError", "GROQ_EU_KEY"),
        (MODEL_GONE, "MODEL_CATALOGUE"),
        ("timeout", "FIRST_TOKEN_TIMEOUT_SECONDS"),
        ("thinking_timeout", "THINKING_TIMEOUT_SECONDS"),
    ],
)
async def test_the_last_failure_of_a_week_names_the_variable_to_look_at(
    desk: Desk, kind: str, variable: str
) -> None:
    process = desk.process()
    process.record(attempt("cut", model="earlier"))
    await process.flush()
    process.record(attempt(kind, model="later"))
    process.record(attempt(model="later"))
    await process.flush()
    for days in (0, 6, 8):
        desk.owner.execute(
            "update private.provider_health set starts = starts - make_interval(days => %s)", [days]
        )
        groq = await desk.groq()
        if days == 8:
            assert groq.last_failure is None
        else:
            assert groq.last_failure is not None
            failure = groq.last_failure
            assert (failure.model, failure.kind, failure.variable) == ("later", kind, variable)
            desk.owner.execute(
                "update private.provider_health set starts = starts + %s", [timedelta(days=days)]
            )


async def test_circuits_are_those_of_the_processes_that_live(desk: Desk) -> None:
    first, second = desk.process(), desk.process()
    desk.circuits = [CircuitState(GROQ.id, "", 3, 30), CircuitState(GROQ.id, "m", 4, 0)]
    await first.flush()
    await second.flush()
    report = await desk.report()
    groq = await desk.groq()
    assert groq.circuit is not None
    assert groq.circuit.processes == 2
    assert groq.circuit.until > report.at
    (model,) = report.models
    assert model.circuit is not None
    # It may be tried now: it is half-open.
    assert model.circuit.until <= report.at

    # The first closes them all, the second is not heard of any more.
    desk.circuits = []
    await first.flush()
    groq = await desk.groq()
    assert groq.circuit is not None
    assert groq.circuit.processes == 1
    desk.owner.execute("update private.provider_circuits set seen_at = now() - interval '31 s'")
    assert (await desk.groq()).circuit is None


async def test_a_process_that_ends_takes_its_circuits_along(desk: Desk) -> None:
    process = desk.process()
    desk.circuits = [CircuitState(GROQ.id, "", 3, 30)]
    await process.flush()
    process.record(attempt())
    await job.leave_provider_health(process)
    assert (await desk.groq()).circuit is None
    assert (await desk.groq()).health.attempts == 1


async def test_the_job_writes_and_survives_its_own_surprises(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    process = desk.process()
    broken = [True]

    def circuits() -> tuple[CircuitState, ...]:
        if broken:
            broken.clear()
            raise RuntimeError("a surprise")
        return ()

    process._circuits = circuits  # pyright: ignore[reportPrivateUsage]
    process.record(attempt())
    task = asyncio.create_task(job.record_provider_health(process, every=0.01))
    async with asyncio.timeout(10):
        while len(desk.rows()) < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    assert "a surprise" in caplog.text


async def test_without_the_database_nothing_is_shown() -> None:
    away = DatabasePool("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        await ProviderReports(ServiceDatabase(away), {}).report(OPERATOR, "1h")
    await away.close()


# Ranges


def test_every_time_has_a_range_and_comes_back_within_a_tenth() -> None:
    assert (range_of(0), range_of(0.001), range_of(10_000)) == (0, 0, RANGES - 1)
    for n in range(1, 4000):
        seconds = n * 0.0125
        counts = [0] * RANGES
        counts[range_of(seconds)] = 1
        found = quantile(counts, 0.5)
        assert found == pytest.approx(seconds, rel=0.1), seconds


def test_a_quantile_lies_where_its_share_does() -> None:
    assert quantile([0] * RANGES, 0.5) is None
    fast, slow = range_of(0.1), range_of(10)
    counts = [0] * RANGES
    counts[fast], counts[slow] = 95, 5
    assert quantile(counts, 0.95) == pytest.approx(0.1, rel=0.2)
    assert quantile(counts, 0.96) == pytest.approx(10, rel=0.2)

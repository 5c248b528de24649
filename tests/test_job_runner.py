"""A run that fails is counted and logged, and stops none of the later ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from aisaas.errors import DependencyError, TooSlow
from aisaas.jobs.runner import Job, NextRound, one_round, run
from aisaas.observe.jobs import RUNS
from aisaas.observe.metrics import JOB_RUNS

NAME = "a_job_of_these_tests"
EVERY = 7.0


@dataclass
class Rounds:
    """Rounds with these outcomes, then no more; how long each rest was to be."""

    outcomes: list[object]
    rests: list[float] = field(default_factory=list)

    async def once(self) -> object:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def rest(self, seconds: float) -> None:
        self.rests.append(seconds)

    def job(self) -> Job:
        return Job(
            name=NAME,
            every=EVERY,
            once=self.once,
            waits="it waits",
            failed="it failed",
            rest=self.rest,
            over=lambda: not self.outcomes,
        )


def counted(result: str) -> float:
    return JOB_RUNS.labels(NAME, result)._value.get()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]


@pytest.fixture
def ends() -> Iterator[list[float]]:
    """How many rounds were done and failed since; filled in at the end of the test's own steps."""
    before = counted("done"), counted("failed")
    found: list[float] = []
    yield found
    assert found == [counted("done") - before[0], counted("failed") - before[1]]


async def test_rounds_go_on_after_trouble_of_any_kind(
    caplog: pytest.LogCaptureFixture, ends: list[float]
) -> None:
    rounds = Rounds([None, DependencyError("database"), ValueError("no text of ours"), None])
    await run(rounds.job())
    assert rounds.rests == [EVERY] * 4
    logged = [(record.levelname, record.name, record.message) for record in caplog.records]
    assert logged == [
        ("WARNING", f"aisaas.jobs.{NAME}", f"it waits: {DependencyError('database')}"),
        ("ERROR", f"aisaas.jobs.{NAME}", "it failed"),
    ]
    assert RUNS.successes[NAME] >= RUNS.begun[NAME]
    ends += [2, 2]


async def test_a_round_may_say_when_the_next_one_is_due(ends: list[float]) -> None:
    rounds = Rounds([NextRound(0.5), DependencyError("database"), 3])
    await run(rounds.job())
    # What a round returns otherwise is no time.
    assert rounds.rests == [0.5, EVERY, EVERY]
    ends += [2, 1]


async def test_a_job_may_rest_before_its_first_round(ends: list[float]) -> None:
    rounds = Rounds([None])
    await run(replace(rounds.job(), rests_first=True))
    assert rounds.rests == [EVERY, EVERY]
    ends += [1, 0]


async def test_what_counts_as_an_outage_is_the_jobs_to_say(
    caplog: pytest.LogCaptureFixture, ends: list[float]
) -> None:
    caplog.set_level(logging.WARNING)
    rounds = Rounds([TooSlow(), TooSlow()])
    await one_round(rounds.job())
    await one_round(replace(rounds.job(), outages=(TooSlow,)))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    ends += [0, 2]

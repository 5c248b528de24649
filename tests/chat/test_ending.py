"""A process ends, also when a job doesn't hear that it should."""

from __future__ import annotations

import asyncio

import pytest

from aisaas.jobs import lifespan
from aisaas.jobs.lifespan import end


async def test_job_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifespan, "CANCEL_AGAIN_SECONDS", 0.05)
    lost: list[str] = []

    async def listens() -> None:
        while len(lost) < 2:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost.append("lost")
        await asyncio.sleep(3600)

    async def fails() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(listens()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    await end(tasks)
    assert lost == ["lost", "lost"]
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ZeroDivisionError)


async def test_nothing_to_end_ends_at_once() -> None:
    await end([])

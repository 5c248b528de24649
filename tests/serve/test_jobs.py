"""Which jobs a process does."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.services import Build

ANYWHERE = {
    "recover_replies",
    "deliver_notices",
    "alert_spending",
    "alert_providers",
    "purge_records",
    "record_prices",
}


def _running() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if not task.done()}


def _names(tasks: set[asyncio.Task[Any]]) -> set[str]:
    return {getattr(task.get_coro(), "__name__", "") for task in tasks}


async def test_a_process_without_jobs_still_looks_after_its_own_replies(
    build_services: Build,
) -> None:
    others = _running()
    async with build_services(run_jobs=False):
        own = _names(_running() - others)
    assert {"renew_leases", "listen_for_stops", "end_replies", "record_refusals"} <= own
    assert not own & ANYWHERE
    others = _running()
    async with build_services():
        assert _names(_running() - others) > ANYWHERE - {"deliver_notices"}

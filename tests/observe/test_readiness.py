"""Whether a process is alive, and whether it can do its work."""

from __future__ import annotations

import asyncio

import pytest

from aisaas.errors import DependencyError
from aisaas.observe.draining import Draining
from aisaas.observe.readiness import Dependencies, Dependency
from devstack.stack import Stack
from tests.observe.conftest import Routes
from tests.parts import Outage, outage

NAMES = {"database", "database_jobs", "redis", "auth"}
FAILED = {
    "postgres": ["database", "database_jobs", "auth"],
    "valkey": ["redis"],
    "auth": ["auth"],
}


async def test_ready_names_every_part_with_its_latency_and_no_secret(
    routes: Routes, spare_stack: Stack
) -> None:
    async with routes() as (services, browser):
        answer = await browser.get("/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["failed"]) == ("ready", [])
    assert set(body["dependencies"]) == NAMES
    for part in body["dependencies"].values():
        assert part["ok"]
        assert part["ms"] > 0
    for _, secret in services.settings.secrets():
        assert secret not in answer.text
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("kind", ["stopped", "paused"])
@pytest.mark.parametrize("part", ["valkey", "auth", "postgres"])
async def test_a_part_that_is_away_makes_unready_and_alive(
    routes: Routes, spare_stack: Stack, part: str, kind: Outage
) -> None:
    async with routes() as (services, browser):
        with outage(spare_stack, part, kind):
            answer = await browser.get("/ready")
            alive = await browser.get("/health")
        assert answer.status_code == 503
        body = answer.json()
        assert body["status"] == "failed"
        # The sign-in server itself says that it is ill while its database is away.
        assert set(body["failed"]) <= set(FAILED[part])
        assert FAILED[part][0] in body["failed"]
        for name in body["failed"]:
            assert body["dependencies"][name]["trouble"]
        for _, secret in services.settings.secrets():
            assert secret not in answer.text
        assert alive.status_code == 200


async def test_a_process_that_drains_is_not_ready_and_alive(routes: Routes) -> None:
    async with routes() as (services, browser):
        services.draining.begin()
        answer = await browser.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert answer.json()["failed"] == []
        assert (await browser.get("/health")).status_code == 200


async def test_all_who_ask_within_a_moment_share_one_look() -> None:
    asked = 0

    async def reach() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    dependencies = Dependencies([Dependency("database", reach, seconds=1)], Draining())
    found = await asyncio.gather(*(dependencies.look() for _ in range(50)))
    assert asked == 1
    assert all(each.ready for each in found)


async def test_an_answer_is_not_kept_for_long() -> None:
    away = False

    async def reach() -> None:
        if away:
            raise DependencyError("postgresql://user:password@host")

    part = Dependency("database", reach, seconds=1, fresh_seconds=0.0)
    dependencies = Dependencies([part], Draining())
    assert (await dependencies.look()).ready
    away = True
    found = await dependencies.look()
    assert found.failed == ("database",)
    assert "password" not in str(dependencies.as_json(found))


async def test_a_part_that_hangs_is_reported_within_its_time_and_the_others_are_reported_too() -> (
    None
):
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def answers() -> None:
        return None

    dependencies = Dependencies(
        [Dependency("redis", hangs, seconds=0.01), Dependency("database", answers, seconds=1)],
        Draining(),
    )
    found = await dependencies.look()
    assert found.failed == ("redis",)
    assert [answer.trouble for answer in found.answers] == ["timeout", None]


async def test_a_part_that_is_not_required_may_be_away() -> None:
    async def away() -> None:
        raise DependencyError("payments")

    part = Dependency("payments", away, seconds=1, required=False)
    dependencies = Dependencies([part], Draining())
    found = await dependencies.look()
    assert found.ready
    assert dependencies.as_json(found)["dependencies"] == {
        "payments": {"ok": False, "required": False, "ms": pytest.approx(0, abs=1000)}
        | {"trouble": "unavailable"}
    }

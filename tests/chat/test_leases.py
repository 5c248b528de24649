"""Who settles a reply after an outage: its own process while that lives, another when it is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aisaas.chat import running
from aisaas.chat.recover import PROMPT_SECONDS
from aisaas.jobs import recover_replies as job
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.chat.test_untrusted_replies import product, says
from tests.parts import outage
from tests.services import Build, Database, new_principal, whole


def counting_rounds(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many replies each round of the recovery settled."""
    rounds: list[int] = []
    recovery: Any = services.recovery
    run_once = recovery.run_once

    async def counted(**more: object) -> int:
        rounds.append(settled := await run_once(**more))
        return settled

    monkeypatch.setattr(recovery, "run_once", counted)
    return rounds


pytestmark = pytest.mark.usefixtures("patience")


@pytest.mark.parametrize("kind", ["stopped", "paused"])
async def test_lease_that_ran_out_in_an_outage_is_renewed_before_anybody_recovers(
    build_services: Build,
    tmp_path: Path,
    stack: Stack,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
) -> None:
    monkeypatch.setattr(running, "RENEW_SECONDS", 2.0)
    async with (
        product(build_services, tmp_path) as (services, provider),
        build_services(run_jobs=False) as other,
    ):
        provider.reply, provider.hold = says("So ", "far."), asyncio.Event()
        ada = await new_principal(services)
        lives = await services.chat.send(ada, "one", conversation_id=None, model="demo")
        gone = await services.chat.send(ada, "two", conversation_id=None, model="demo")
        for started in (lives, gone):
            reply = services.running.get(started.reply.id)
            assert reply is not None
            while not reply.text_from(0).text:
                await asyncio.sleep(0.02)
        reply.mark_lease_lost()
        while services.running.get(gone.reply.id) is not None:
            await asyncio.sleep(0.02)
        rounds = counting_rounds(other, monkeypatch)
        recovering = asyncio.create_task(job.recover_replies(other.recovery, every=0.2))
        try:
            while not rounds:
                await asyncio.sleep(0.05)
            database(
                "update reservations set lease_expires_at = now() + interval '50 ms'"
                " where message_id = any(%s)",
                [lives.reply.id, gone.reply.id],
            )
            with outage(stack, "postgres", kind):
                rounds.clear()
                # It lasts longer than what is left of the leases, and longer than a look may take.
                await asyncio.sleep(PROMPT_SECONDS + 0.5)
            async with asyncio.timeout(90):
                while not any(rounds):
                    await asyncio.sleep(0.05)
            stored = await services.chat.message(ada, gone.reply.id)
            assert (stored.status, stored.content) == ("interrupted", "So far.")
            assert services.running.get(lives.reply.id) is not None
            provider.hold.set()
            shown, stored = await whole(services, ada, lives)
            assert (shown, stored.status) == ("So far.", "done")
        finally:
            recovering.cancel()


async def test_process_that_has_just_begun_recovers_nothing_yet(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.hold = asyncio.Event()
        ada = await new_principal(services)
        started = await services.chat.send(ada, "one", conversation_id=None, model="demo")
        reply = services.running.get(started.reply.id)
        assert reply is not None
        reply.mark_lease_lost()
        while services.running.get(started.reply.id) is not None:
            await asyncio.sleep(0.02)
        database(
            "update reservations set lease_expires_at = now() where message_id = %s",
            started.reply.id,
        )
        # It doesn't know yet whether the database was there a moment ago.
        assert await services.recovery.run_when_steady() == 0
        assert (await services.chat.message(ada, started.reply.id)).status == "streaming"
        async with asyncio.timeout(60):
            while not await services.recovery.run_when_steady():
                await asyncio.sleep(0.5)
        assert (await services.chat.message(ada, started.reply.id)).status != "streaming"

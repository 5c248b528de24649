"""The kill switch over several processes: each `Services` here is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from aisaas.callers import Caller
from aisaas.chat.models import Started
from aisaas.chat.ports import Admitted, Chunk
from aisaas.errors import ActionInvalid, DependencyError, NotFound, SpendingPaused
from aisaas.language_models import Model
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Build, Database, new_principal, whole

OPERATOR = "operator:tests"
SLOW = "long 4000 speed 60"


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """Switches are everybody's."""
    yield
    database("delete from private.kill_switches")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other(build_services: Build) -> AsyncGenerator[Services]:
    """A second process."""
    async with build_services() as made:
        yield made


async def _running(services: Services, principal: Caller, model: str = "demo") -> Started:
    """A reply that has begun to answer and would go on for a minute."""
    started = await services.chat.send(principal, SLOW, conversation_id=None, model=model)
    running = services.running.get(started.reply.id)
    assert running is not None
    while not running.text_from(0).text:
        await asyncio.sleep(0.02)
    return started


async def _stopped_and_settled(
    services: Services, database: Database, principal: Caller, started: Started
) -> None:
    async with asyncio.timeout(60):
        shown, stored = await whole(services, principal, started)
    assert (stored.status, stored.error_code) == ("stopped", "switched_off")
    assert shown == stored.content != ""
    ((outcome, completion, state),) = database(
        "select u.outcome, u.completion_tokens, r.state from usage_records u"
        " join reservations r on r.id = u.reservation_id where u.message_id = %s",
        started.reply.id,
    )
    assert (outcome, state) == ("stopped", "settled")
    assert 0 < completion < 4000  # pyright: ignore[reportOperatorIssue]


async def _goes_on(services: Services, principal: Caller, started: Started) -> None:
    running = services.running.get(started.reply.id)
    assert running is not None
    length = len(running.text_from(0).text)
    while len(running.text_from(0).text) == length:
        await asyncio.sleep(0.02)
    await services.chat.stop(principal, started.reply.id)
    await whole(services, principal, started)


@pytest.mark.parametrize("scope", ["all", "plan:free", "model:demo", "provider:demo"])
async def test_once_it_is_engaged_no_process_starts_a_call_and_what_runs_goes_on(
    services: Services, other: Services, scope: str
) -> None:
    ada = await new_principal(services)
    here, there = [await _running(process, ada) for process in (services, other)]
    assert await services.switches.engage(scope, actor=OPERATOR, reason="a drill")
    # No waiting: as soon as it is said, it is so.
    for process in (services, other):
        with pytest.raises(SpendingPaused):
            await process.chat.send(ada, "hello", conversation_id=None, model="demo")
    await _goes_on(services, ada, here)
    await _goes_on(other, ada, there)
    assert await services.switches.lift(scope, actor=OPERATOR, reason="it is over")
    started = await other.chat.send(ada, "hello", conversation_id=None, model="demo")
    await whole(other, ada, started)


async def test_running_replies_stop_in_every_process_and_are_settled(
    services: Services, other: Services, database: Database
) -> None:
    ada = await new_principal(services)
    here, there = [await _running(process, ada) for process in (services, other)]
    await services.switches.engage("all", actor=OPERATOR, reason="a drill", stop_running=True)
    await _stopped_and_settled(services, database, ada, here)
    await _stopped_and_settled(other, database, ada, there)


async def test_running_replies_stop_although_the_signal_is_lost(
    services: Services, other: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(topic: str, subject: str) -> None:
        raise DependencyError("redis", f"{topic} {subject}")

    ada = await new_principal(services)
    there = await _running(other, ada)
    signals = services.switches._signals  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(signals, "send", lost)
    await services.switches.engage("plan:free", actor=OPERATOR, reason="Redis", stop_running=True)
    monkeypatch.undo()
    await _stopped_and_settled(other, database, ada, there)


async def test_only_replies_that_the_switch_names_are_stopped(
    services: Services, database: Database
) -> None:
    ada = await new_principal(services)
    # It asked for a model that is broken; what answers is another.
    stands_in = await _running(services, ada, "broken")
    other_model = await _running(services, ada, "small-window")
    assert await services.switches.engage(
        "model:broken", actor=OPERATOR, reason="broken", stop_running=True
    )
    assert await services.switches.engage(
        "model:small-window", actor=OPERATOR, reason="small", stop_running=True
    )
    await _stopped_and_settled(services, database, ada, other_model)
    # That process has looked at both switches by now.
    await _goes_on(services, ada, stands_in)


async def test_engaged_switch_can_stop_what_runs_later(
    services: Services, database: Database
) -> None:
    ada = await new_principal(services)
    started = await _running(services, ada)
    engage, why = services.switches.engage, f"a drill {uuid4()}"
    assert await engage("provider:demo", actor=OPERATOR, reason=why)
    assert not await engage("provider:demo", actor=OPERATOR, reason=why)
    assert await engage("provider:demo", actor=OPERATOR, reason=why, stop_running=True)
    # Never narrowed by asking for less.
    assert not await engage("provider:demo", actor=OPERATOR, reason=why)
    await _stopped_and_settled(services, database, ada, started)
    assert database(
        "select before, after from audit_log where reason = %s order by created_at", why
    ) == [
        ({"engaged": False}, {"engaged": True}),
        ({"engaged": True}, {"engaged": True, "running": "stopped"}),
    ]


def _counting(stream: Callable[..., object], asked: list[str]) -> Callable[..., object]:
    async def counted(admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        asked.append(model.id)
        async with aclosing(stream(admitted, model)) as chunks:  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
            async for chunk in chunks:  # pyright: ignore[reportUnknownVariableType]
                yield chunk

    return counted


@pytest.fixture
def with_fallbacks(tmp_path: Path, catalogue: Path) -> Path:
    """A catalogue in which the demo model stands in for every other."""
    path = tmp_path / "catalogue.json"
    path.write_text(catalogue.read_text().replace('"fallback": null', '"fallback": "demo"'))
    return path


async def test_running_reply_turns_to_no_model_that_is_stopped_meanwhile(
    build_services: Build, with_fallbacks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"model_catalogue": with_fallbacks, "first_token_timeout_seconds": 2}
    async with build_services(**overrides) as process:
        asked: list[str] = []
        monkeypatch.setattr(process.model, "stream", _counting(process.model.stream, asked))
        ada = await new_principal(process)
        started = await process.chat.send(
            ada, "silent 600", conversation_id=None, model="small-window"
        )
        await process.switches.engage("model:demo", actor=OPERATOR, reason="a drill")
        _, stored = await whole(process, ada, started)
    assert (stored.status, stored.answered_by) == ("failed", None)
    assert asked == ["small-window"]


@pytest.mark.parametrize("scope", ["", "model:", "model:no-such", "everything", "plan:Free"])
async def test_what_is_not_there_can_not_be_stopped_by_a_slip_of_the_pen(
    services: Services, scope: str
) -> None:
    with pytest.raises(ActionInvalid, match="provider:demo"):
        await services.switches.engage(scope, actor=OPERATOR, reason="a try")
    assert not await services.switches.engaged()


async def test_admin_acts_under_their_name_and_nobody_else_does(
    services: Services, database: Database
) -> None:
    admin, member = (await new_admin(services, database)).principal, await new_principal(services)
    assert await services.switches.engage("plan:pro", actor=admin, reason="too dear")
    (seen,) = await services.switches.seen_by(admin)
    assert (seen.scope, seen.reason, seen.engaged_by) == (
        "plan:pro",
        "too dear",
        f"user:{admin.user_id}",
    )
    database("update profiles set role = 'user' where id = %s", admin.user_id)
    for actor in (admin, member):
        with pytest.raises(NotFound):
            await services.switches.engage("all", actor=actor, reason="a try")
        with pytest.raises(NotFound):
            await services.switches.lift("plan:pro", actor=actor, reason="a try")
    with pytest.raises(NotFound):
        await services.switches.seen_by(member)
    with pytest.raises(ActionInvalid, match="reason"):
        await services.switches.lift("plan:pro", actor=OPERATOR, reason=" ")
    assert [switch.scope for switch in await services.switches.engaged()] == ["plan:pro"]

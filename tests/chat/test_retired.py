"""Models that an admin retires: who asked for them is refused and loses nothing, and what runs goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from aisaas.callers import Caller
from aisaas.controls.model_overrides import ModelChange
from aisaas.errors import ActionInvalid, ModelRetired, Refusal
from aisaas.wiring import Services
from tests.services import CATALOGUE, Build, Database, Member, new_member, new_principal, whole

OPERATOR = "operator:tests"
RETIRED = CATALOGUE[1] | {"id": "old", "label": "Old", "retired": True, "successor": "demo"}
OFF = CATALOGUE[1] | {"id": "off", "label": "Off", "enabled": False}


@pytest.fixture(scope="module", name="listed")
def _listed(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("retired") / "catalogue.json"
    path.write_text(json.dumps([*json.loads(catalogue.read_text()), RETIRED, OFF]))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def here(build_services: Build, listed: Path) -> AsyncGenerator[Services]:
    async with build_services(model_catalogue=listed) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def there(build_services: Build, listed: Path) -> AsyncGenerator[Services]:
    """A second process."""
    async with build_services(model_catalogue=listed) as made:
        yield made


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    yield
    database("delete from private.model_overrides")


async def _retire(services: Services, model: str, successor: str | None = None) -> None:
    wanted = ModelChange(retired=True, successor=successor)
    assert await services.offers.change(model, wanted, actor=OPERATOR, reason="a test")


async def _restore(services: Services, model: str) -> None:
    wanted = ModelChange(retired=False)
    assert await services.offers.change(model, wanted, actor=OPERATOR, reason="a test")


def _taken(database: Database, who: Caller) -> list[tuple[object, ...]]:
    """Whatever a call takes."""
    return [
        database(f"select count(*) from {table} where user_id = %s", who.user_id)[0]
        for table in ("conversations", "messages", "reservations", "usage_records")
    ]


async def _now(services: Services, member: Member) -> Caller:
    return await services.callers.resolve(member.cookie)


async def test_a_conversation_of_a_retired_model_is_refused_and_consumes_nothing(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    started = await there.chat.send(
        ada.principal, "hello", conversation_id=None, model="small-window"
    )
    await whole(there, ada.principal, started)
    await there.chat.title_ready(ada.principal, started.conversation_id)
    await _retire(here, "small-window", "demo")
    before = _taken(database, ada.principal)
    for process in (there, here):
        who = await _now(process, ada)
        assert await _refused(process, who, started.conversation_id) == "model_retired"
        assert await _refused(process, who, None) == "model_retired"
        with pytest.raises(ModelRetired, match=r"Small window has been retired\."):
            await process.chat.retry(who, started.reply.id)
        offered = [model.id for model in process.catalogue.for_plan("free")]
        assert "small-window" not in offered
        succession = process.catalogue.succession("small-window")
        assert succession is not None
        assert succession.successor == process.catalogue.get("demo")
    assert _taken(database, ada.principal) == before
    # With the successor it goes on.
    more = await there.chat.send(
        await _now(there, ada), "more", conversation_id=started.conversation_id, model="demo"
    )
    _, message = await whole(there, ada.principal, more)
    assert (message.status, message.model) == ("done", "demo")
    await _restore(here, "small-window")
    again = await there.chat.send(
        await _now(there, ada), "again", conversation_id=None, model="small-window"
    )
    await whole(there, ada.principal, again)


async def _refused(services: Services, who: Caller, conversation: UUID | None) -> str:
    with pytest.raises(Refusal) as caught:
        await services.chat.send(who, "more", conversation_id=conversation, model="small-window")
    assert (
        caught.value.sentence == "Small window has been retired. Choose another model to continue."
    )
    return caught.value.code


async def test_a_refused_request_is_not_counted(
    build_services: Build, listed: Path, database: Database
) -> None:
    async with build_services(
        model_catalogue=listed, run_jobs=False, free_requests_per_minute=1
    ) as tight:
        ada = await new_principal(tight)
        for _ in range(3):
            with pytest.raises(ModelRetired):
                await tight.chat.send(ada, "hello", conversation_id=None, model="old")
        started = await tight.chat.send(ada, "hello", conversation_id=None, model="demo")
        await whole(tight, ada, started)


async def test_a_running_reply_finishes_at_its_price(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    started = await there.chat.send(
        ada, "long 60 speed 60", conversation_id=None, model="small-window"
    )
    await _retire(here, "small-window")
    text, message = await whole(there, ada, started)
    assert message.status == "done"
    assert text
    booked = "select model, cost_usd > 0 from usage_records where message_id = %s"
    assert database(booked, started.reply.id) == [("small-window", True)]


async def test_a_reply_at_its_limit_is_not_continued_by_a_retired_model(
    here: Services, database: Database
) -> None:
    ada = await new_member(here)
    started = await here.chat.send(
        ada.principal, "long 600 speed 0", conversation_id=None, model="small-window"
    )
    _, message = await whole(here, ada.principal, started)
    assert message.ending == "limit"
    await _retire(here, "small-window", "demo")
    with pytest.raises(ModelRetired, match="can't be continued"):
        await here.chat.go_on(await _now(here, ada), message.id)
    assert (await here.chat.message(ada.principal, message.id)).content == message.content


async def test_the_files_retired_models_are_restored_and_given_back(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    await _restore(here, "old")
    started = await there.chat.send(
        await _now(there, ada), "hello", conversation_id=None, model="old"
    )
    await whole(there, ada.principal, started)
    # As the file has it: no override is left.
    await _retire(here, "old", "demo")
    assert database("select retired, successor from private.model_overrides") == [(None, None)]
    with pytest.raises(ModelRetired):
        await there.chat.send(await _now(there, ada), "hi", conversation_id=None, model="old")


@pytest.mark.parametrize("successor", ["small-window", "old", "off", "no-such"])
async def test_a_successor_has_to_be_on_sale(
    here: Services, database: Database, successor: str
) -> None:
    with pytest.raises(ActionInvalid, match="successor"):
        await _retire(here, "small-window", successor)
    assert database("select 1 from private.model_overrides") == []


async def test_the_last_model_of_a_plan_is_not_retired(here: Services) -> None:
    await here.live_catalogue.read()
    names = [model.id for model in here.catalogue.for_plan("free")]
    for name in names[1:]:
        await _retire(here, name)
    with pytest.raises(ActionInvalid, match="at least one model"):
        await _retire(here, names[0])


async def test_retiring_is_audited_with_its_reason(here: Services, database: Database) -> None:
    why = f"too old {uuid4()}"
    for wanted in (ModelChange(retired=True, successor="demo"), ModelChange(retired=False)):
        await here.offers.change("small-window", wanted, actor=OPERATOR, reason=why)
    rows = database(
        "select action, subject, after ->> 'retired', after ->> 'successor' from audit_log"
        " where reason = %s order by created_at",
        why,
    )
    assert rows == [
        ("model.retire", "model:small-window", "true", "demo"),
        ("model.restore", "model:small-window", None, None),
    ]

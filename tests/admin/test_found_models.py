"""Models that admins add from a provider's list, and remove: each `Services` here is a process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from aisaas.adapters.litellm_prices import price_of
from aisaas.billing.plans.terms import plans
from aisaas.callers import Caller
from aisaas.chat.catalogue import BUNDLED
from aisaas.controls.found_models import MOST_SHOWN, NewModel
from aisaas.controls.model_overrides import ModelChange, OwnPrice
from aisaas.errors import ActionInvalid, ModelRetired, ModelUnavailable, NotFound, SpendingPaused
from aisaas.prices import weight_of
from aisaas.wiring import Services
from tests.adapters.test_provider_models import Lister, listing
from tests.admin.members import new_admin
from tests.scripted_provider import ends, says
from tests.services import CATALOGUE, Build, Database, new_member, new_principal, whole

OPERATOR = "operator:tests"
WHY = "a test"
PRICE = OwnPrice(Decimal(2), Decimal(8), Decimal(1))
# The demo model's server has it, and the catalogue here has not.
LARGE = NewModel(
    provider="demo",
    upstream="openai/demo-large",
    label="Large",
    context_window=16_000,
    max_output=4096,
    plans=frozenset({"free", "pro"}),
    price=PRICE,
    fallback=None,
)
# LiteLLM's map has a price for it.
LUNA = replace(LARGE, provider="openai", upstream="openai/gpt-6-luna", label="Luna", price=None)
NAMES = ["gpt-6-luna", "unheard-of", *(f"gpt-x-{n}" for n in range(MOST_SHOWN))]


@pytest.fixture(scope="module", name="listed")
def _listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    demo = [each for each in json.loads(BUNDLED.read_text()) if each["id"] == "demo"]
    path = tmp_path_factory.mktemp("found") / "catalogue.json"
    path.write_text(json.dumps([*demo, *CATALOGUE]))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def provider() -> AsyncGenerator[Lister]:
    """Streams a reply to every request; a test puts what else it answers before that."""
    async with listing(b"".join([*says("Hello"), *ends()])) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def here(build_services: Build, listed: Path, provider: Lister) -> AsyncGenerator[Services]:
    async with build_services(
        model_catalogue=listed, openai_api_key="sk-tests", openai_api_base=provider.url
    ) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def there(build_services: Build, listed: Path, provider: Lister) -> AsyncGenerator[Services]:
    """A second process."""
    async with build_services(
        model_catalogue=listed, openai_api_key="sk-tests", openai_api_base=provider.url
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """Models are everybody's."""
    yield
    for table in ("model_overrides", "added_models", "kill_switches"):
        database(f"delete from private.{table}")


async def _add(services: Services, wanted: NewModel = LARGE) -> str:
    return await services.found_models.add(wanted, actor=OPERATOR, reason=WHY)


async def _remove(services: Services, model: str) -> None:
    await services.found_models.remove(model, actor=OPERATOR, reason=WHY)


async def _ask(services: Services, who: Caller, model: str) -> tuple[str, object]:
    """The text and the id of the reply, once it has settled."""
    started = await services.chat.send(who, "hello", conversation_id=None, model=model)
    _, message = await whole(services, who, started)
    assert message.model == model
    return message.content, message.id


def _booked(database: Database, message_id: object) -> tuple[object, ...]:
    (row,) = database(
        "select model, provider, weight, input_usd_per_million, output_usd_per_million,"
        " price_version from usage_records where message_id = %s",
        message_id,
    )
    return row


# Found


async def test_an_admin_sees_what_the_key_can_reach(
    here: Services, provider: Lister, database: Database
) -> None:
    admin = (await new_admin(here, database)).principal
    await _add(here, LUNA)
    provider.requests.clear()
    provider.bodies.insert(0, json.dumps({"data": [{"id": name} for name in NAMES]}).encode())
    found = await here.found_models.find(admin, "openai", "")
    assert provider.requests[0].startswith("GET /models ")
    assert (found.problem, found.fitting, len(found.models)) == (None, len(NAMES), MOST_SHOWN)
    luna = found.models[0]
    assert luna.model.price == price_of("openai/gpt-6-luna")
    assert luna.listed is not None
    assert luna.listed.label == "Luna"
    provider.bodies.insert(0, json.dumps({"data": [{"id": name} for name in NAMES]}).encode())
    (one,) = (await here.found_models.find(admin, "openai", "HEARD")).models
    assert (one.model.upstream, one.model.price, one.listed) == ("openai/unheard-of", None, None)


async def test_a_provider_in_trouble_is_a_sentence(
    build_services: Build, database: Database
) -> None:
    async with (
        listing(b"no", status=401) as server,
        build_services(
            run_jobs=False, openai_api_key="sk-tests", openai_api_base=server.url
        ) as services,
    ):
        admin = (await new_admin(services, database)).principal
        found = await services.found_models.find(admin, "openai", "")
    assert found.models == ()
    assert found.problem == "OpenAI refuses the key in OPENAI_API_KEY (status 401)."


async def test_one_provider_is_asked_once_at_a_time(
    build_services: Build, database: Database
) -> None:
    async with (
        listing(b"", silent=True) as server,
        build_services(
            run_jobs=False, openai_api_key="sk-tests", openai_api_base=server.url
        ) as services,
    ):
        admin = (await new_admin(services, database)).principal
        first = asyncio.create_task(services.found_models.find(admin, "openai", ""))
        while not server.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(ActionInvalid, match="being asked already"):
            await services.found_models.find(admin, "openai", "")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # And again, once nobody asks.
        second = asyncio.create_task(services.found_models.find(admin, "openai", ""))
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        second.cancel()


# Added


async def test_an_added_model_is_sold_by_every_process_at_the_typed_price(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    with pytest.raises(ModelUnavailable):
        await _ask(there, ada.principal, "demo-large")
    assert await _add(here) == "demo-large"
    for process in (there, here):
        text, message = await _ask(process, await process.callers.resolve(ada.cookie), "demo-large")
        assert text
        model, provider, weight, into, out, version = _booked(database, message)
        assert (model, provider, into, out) == ("demo-large", "demo", 2, 8)
        # By the one rule: (3 × $2 + $8) / 4 in quota tokens of $0.30, rounded up.
        assert weight == 12
        assert str(version).startswith("admin-")
        assert [m.id for m in process.catalogue.for_plan("free")][-1] == "demo-large"
        assert "demo-large" not in [m.id for m in process.catalogue.for_plan("business")]


async def test_without_a_typed_price_it_costs_what_the_map_says(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    await _add(here, LUNA)
    text, message = await _ask(there, ada, "gpt-6-luna")
    assert text == "Hello"
    listed = price_of("openai/gpt-6-luna")
    assert listed is not None
    model, provider, weight, into, out, version = _booked(database, message)
    assert (model, provider, weight) == ("gpt-6-luna", "openai", weight_of(listed))
    assert (into, out, version) == (listed.input_usd, listed.output_usd, listed.version)
    ((digest,),) = database("select price_digest from usage_records where message_id = %s", message)
    assert digest == listed.digest
    # The same price, typed, follows the map as well.
    await _remove(here, "gpt-6-luna")
    same = OwnPrice(listed.input_usd, listed.output_usd, listed.cached_input_usd)
    await _add(here, replace(LUNA, price=same))
    shown = {each.offer.listed.id: each.offer for each in await here.offers.all()}
    assert shown["gpt-6-luna"].price == listed


async def test_an_added_model_obeys_switches_fallbacks_and_later_changes(
    here: Services, there: Services, database: Database
) -> None:
    admin = await new_admin(here, database)
    ada = await new_member(here)
    gone = replace(LARGE, upstream="openai/gone", label="Gone", fallback="demo")
    await _add(here, gone)
    started = await there.chat.send(
        await there.callers.resolve(ada.cookie), "hi", conversation_id=None, model="gone"
    )
    _, message = await whole(there, ada.principal, started)
    assert (message.status, message.answered_by) == ("done", "demo")
    await here.live_catalogue.read()
    await here.switches.engage("model:gone", actor=admin.principal, reason=WHY)
    with pytest.raises(SpendingPaused):
        await _ask(there, await there.callers.resolve(ada.cookie), "gone")
    await here.switches.lift("model:gone", actor=admin.principal, reason=WHY)
    change = ModelChange(weight=Decimal(3), plans=frozenset({"business"}))
    await here.offers.change("gone", change, actor=OPERATOR, reason=WHY)
    with pytest.raises(ModelUnavailable):
        await _ask(there, await there.callers.resolve(ada.cookie), "gone")


async def test_the_cheapest_model_makes_titles_also_an_added_one(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    tiny = OwnPrice(Decimal("0.01"), Decimal("0.02"), Decimal("0.01"))
    await _add(here, replace(LARGE, price=tiny))
    started = await there.chat.send(ada, "hello", conversation_id=None, model="demo")
    await whole(there, ada, started)
    await there.chat.title_ready(ada, started.conversation_id)
    booked = "select model from usage_records where user_id = %s and purpose = 'title'"
    assert database(booked, ada.user_id) == [("demo-large",)]


async def test_what_is_added_is_audited_with_its_reason(here: Services, database: Database) -> None:
    admin, why = (await new_admin(here, database)).principal, f"wanted {uuid4()}"
    await here.found_models.add(LARGE, actor=admin, reason=why)
    await here.found_models.remove("demo-large", actor=admin, reason=why)
    rows = database(
        "select actor, action, subject, before ->> 'input_usd', after ->> 'input_usd',"
        " after ->> 'upstream' from audit_log where reason = %s order by created_at",
        why,
    )
    actor = f"user:{admin.user_id}"
    assert rows == [
        (actor, "model.add", "model:demo-large", None, "2", "openai/demo-large"),
        (actor, "model.remove", "model:demo-large", "2", None, None),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"price": None}, "no price"),
        ({"provider": "anthropic"}, "isn't configured"),
        ({"upstream": "anthropic/claude"}, "no model with that name"),
        ({"upstream": "openai/"}, "no model with that name"),
        ({"upstream": "openai/with space"}, "no model with that name"),
        ({"upstream": "openai/demo"}, "in the list already, as Demo"),
        ({"upstream": f"openai/{'x' * 121}"}, "name is too long"),
        ({"label": ""}, "1 to 80"),
        ({"label": "x" * 81}, "1 to 80"),
        ({"label": "a\nb"}, "1 to 80"),
        ({"context_window": 255}, "256"),
        ({"context_window": 100_000_001}, "256"),
        ({"max_output": 0}, "output limit"),
        ({"max_output": 16_001}, "output limit"),
        ({"plans": frozenset[str]()}, "at least one plan"),
        ({"plans": frozenset({"gold"})}, "at least one plan"),
        ({"price": replace(PRICE, input_usd=Decimal(-1))}, "from 0"),
        ({"price": replace(PRICE, output_usd=Decimal(10_001))}, "from 0"),
        ({"fallback": "nobody"}, "fallback"),
    ],
)
async def test_what_can_not_be_sold_is_not_added(
    here: Services, database: Database, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(ActionInvalid, match=said):
        await _add(here, replace(LARGE, **changed))  # pyright: ignore[reportArgumentType]
    assert database("select 1 from private.added_models") == []
    assert database("select 1 from private.model_overrides") == []


@pytest.mark.parametrize(
    "changed",
    [
        {"context_window": 256, "max_output": 256},
        {"label": "x" * 80},
        {"price": replace(PRICE, output_usd=Decimal(10_000))},
        {"price": OwnPrice(Decimal(0), Decimal(0), Decimal(0))},
        {"upstream": f"openai/{'x' * 115}"},
        {"fallback": "demo"},
    ],
)
async def test_what_just_fits_is_added(here: Services, changed: dict[str, object]) -> None:
    wanted = replace(LARGE, **changed)  # pyright: ignore[reportArgumentType]
    assert await _add(here, wanted) in {each.offer.listed.id for each in await here.offers.all()}


async def test_a_name_that_is_taken_gets_its_provider(here: Services) -> None:
    await _add(here, replace(LUNA, upstream="openai/small-window", price=PRICE))
    ids = [each.offer.listed.id for each in await here.offers.all()]
    assert ids[-1] == "openai/small-window"


async def test_nobody_else_finds_adds_or_removes(here: Services, database: Database) -> None:
    admin, member = (await new_admin(here, database)).principal, await new_principal(here)
    await _add(here)
    database("update profiles set role = 'user' where id = %s", admin.user_id)
    with pytest.raises(NotFound):
        await here.found_models.find(member, "openai", "")
    for actor in (admin, member):
        with pytest.raises(NotFound):
            await here.found_models.add(LUNA, actor=actor, reason=WHY)
        with pytest.raises(NotFound):
            await here.found_models.remove("demo-large", actor=actor, reason=WHY)
    left = database("select model, removed_at from private.added_models")
    assert left == [("demo-large", None)]


# Removed


async def test_a_removed_model_is_sold_by_no_process_and_comes_back(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    await _add(here)
    principal = await there.callers.resolve(ada.cookie)
    started = await there.chat.send(
        principal, "long 60 speed 60", conversation_id=None, model="demo-large"
    )
    await _remove(here, "demo-large")
    # What runs goes on to its end, at the price it began with.
    _, message = await whole(there, principal, started)
    assert message.status == "done"
    assert _booked(database, message.id)[3] == 2
    for process in (there, here):
        now = await process.callers.resolve(ada.cookie)
        with pytest.raises(ModelRetired):
            await process.chat.send(
                now, "more", conversation_id=started.conversation_id, model="demo-large"
            )
        assert process.catalogue.labels["demo-large"] == "Large"
        assert "model:demo-large" not in process.switches.scopes
    assert "demo-large" not in {each.offer.listed.id for each in await here.offers.all()}
    with pytest.raises(ActionInvalid, match="No added model"):
        await _remove(here, "demo-large")
    with pytest.raises(ActionInvalid, match="No model is called"):
        await here.offers.change(
            "demo-large", ModelChange(enabled=True), actor=OPERATOR, reason=WHY
        )
    assert await _add(here, replace(LARGE, label="Larger")) == "demo-large"
    await _ask(there, await there.callers.resolve(ada.cookie), "demo-large")
    assert there.catalogue.labels["demo-large"] == "Larger"


async def test_a_model_of_the_file_is_not_removed(here: Services) -> None:
    with pytest.raises(ActionInvalid, match="No added model"):
        await _remove(here, "demo")


async def test_the_last_model_of_a_plan_is_not_removed(here: Services) -> None:
    await _add(here, replace(LARGE, plans=frozenset(plans(here.settings))))
    for each in await here.offers.all():
        if each.offer.listed.id != "demo-large":
            off = ModelChange(enabled=False)
            await here.offers.change(each.offer.listed.id, off, actor=OPERATOR, reason=WHY)
    with pytest.raises(ActionInvalid, match="at least one model"):
        await _remove(here, "demo-large")


# Rows that can't be sold


BAD = {
    "no-provider": {"provider": "nowhere"},
    "other-prefix": {"upstream": "anthropic/claude"},
    "no-plan": {"plans": ["gold"]},
    "with space": {},
    # The catalogue file has one.
    "small-window": {},
}


async def test_bad_rows_are_left_out_logged_and_shown_and_stop_nothing(
    here: Services, there: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    admin = (await new_admin(here, database)).principal
    for name, own in BAD.items():
        row: dict[str, object] = {"provider": "demo", "upstream": "openai/demo", "plans": ["free"]}
        row |= own
        database(
            "insert into private.added_models (model, label, provider, upstream, context_window,"
            " max_output, plans, added_by) values (%s, %s, %s, %s, 1000, 100, %s, 'tests')",
            name,
            f"Label of {name}",
            row["provider"],
            row["upstream"],
            row["plans"],
        )
    await _add(here)
    ada = await new_principal(here)
    with caplog.at_level(logging.WARNING, "aisaas.controls.lineup"):
        await _ask(there, ada, "demo-large")
        await _ask(there, ada, "demo")
    for name in BAD:
        assert sum(f"added model {name} is" in line for line in caplog.messages) >= 1
    left_out = {each.id: each.reason for each in await here.offers.left_out(admin)}
    assert left_out.keys() == BAD.keys()
    assert left_out["no-provider"] == "its provider, nowhere, isn't configured"
    # And each can be removed there, without touching the model of the file.
    for name in BAD:
        await _remove(here, name)
    assert not await here.offers.left_out(admin)
    await _ask(there, await new_principal(there), "small-window")


async def test_a_model_that_vanished_from_the_map_is_off_until_it_has_a_price(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    await _add(here, LUNA)
    database(
        "update private.added_models set upstream = 'openai/vanished' where model = 'gpt-6-luna'"
    )
    await here.offers.change("demo", ModelChange(weight=Decimal(2)), actor=OPERATOR, reason=WHY)
    with pytest.raises(ModelUnavailable):
        await _ask(there, await there.callers.resolve(ada.cookie), "gpt-6-luna")
    await _ask(there, await there.callers.resolve(ada.cookie), "demo")
    shown = {each.offer.listed.id: each.offer for each in await here.offers.all()}
    assert shown["gpt-6-luna"].price is None
    await here.offers.change("gpt-6-luna", ModelChange(price=PRICE), actor=OPERATOR, reason=WHY)
    text, _ = await _ask(there, await there.callers.resolve(ada.cookie), "gpt-6-luna")
    assert text == "Hello"

"""Models, changed while calls go on: each `Services` here is a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from aisaas.billing.plans.terms import plans
from aisaas.callers import Caller
from aisaas.controls.model_overrides import ModelChange, OfferDetails, OwnPrice
from aisaas.errors import (
    ActionInvalid,
    ConfigurationError,
    ModelUnavailable,
    NotFound,
    Unavailable,
)
from aisaas.settings import load
from aisaas.wiring import Services, build
from tests.admin.members import new_admin
from tests.services import CATALOGUE, Build, Database, new_member, new_principal, whole

OPERATOR = "operator:tests"
UNPRICED = CATALOGUE[1] | {
    "id": "unpriced",
    "label": "Unpriced",
    "upstream": "openai/demo",
    "price": None,
    "enabled": False,
}
DEAR = OwnPrice(Decimal(100), Decimal(200), Decimal(50))


@pytest.fixture(scope="module", name="listed")
def _listed(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offers") / "catalogue.json"
    path.write_text(json.dumps([*json.loads(catalogue.read_text()), UNPRICED]))
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
    """Models are everybody's."""
    yield
    database("delete from private.model_overrides")


async def _change(services: Services, model: str, wanted: ModelChange) -> bool:
    return await services.offers.change(model, wanted, actor=OPERATOR, reason="a test")


async def _shown(services: Services, model: str) -> OfferDetails:
    return next(each for each in await services.offers.all() if each.offer.listed.id == model)


async def _ask(services: Services, who: Caller, model: str = "demo") -> tuple[object, ...]:
    """The id and the model of the reply, once it has settled."""
    started = await services.chat.send(who, "hello", conversation_id=None, model=model)
    await whole(services, who, started)
    return started.reply.id, started.reply.model


def _booked(database: Database, message_id: object) -> tuple[Decimal, Decimal, str, bool]:
    """Weight, input price, version; and whether cost and quota are what they come to."""
    ((weight, input_usd, version, right),) = database(
        "select weight, input_usd_per_million, price_version,"
        " cost_usd = round((prompt_tokens * input_usd_per_million"
        "   + completion_tokens * output_usd_per_million) / 1000000, 6)"
        " and quota_tokens = ceil((prompt_tokens + completion_tokens) * weight)"
        " from usage_records where message_id = %s",
        message_id,
    )
    return Decimal(str(weight)), Decimal(str(input_usd)), str(version), bool(right)


async def test_price_and_weight_hold_for_the_next_call_of_any_process_and_go_back(
    here: Services, there: Services, database: Database
) -> None:
    # Read before the change, as by a request that is admitted meanwhile.
    ada = await new_principal(here)
    before, _ = await _ask(there, ada)
    assert await _change(here, "demo", ModelChange(weight=Decimal("2.5"), price=DEAR))
    for process in (there, here):
        message, _ = await _ask(process, ada)
        weight, usd, version, right = _booked(database, message)
        assert (weight, usd, right) == (Decimal("2.5"), 100, True)
        assert version.startswith("admin-")
    assert await _change(here, "demo", ModelChange(weight=None, price=None))
    after, _ = await _ask(there, ada)
    assert _booked(database, after) == _booked(database, before)


async def test_reservation_holds_the_new_price(here: Services, database: Database) -> None:
    ada = await new_principal(here)
    await _change(here, "demo", ModelChange(price=DEAR))
    message, _ = await _ask(here, ada)
    ((held, prompt, most),) = database(
        "select cost_usd, prompt_estimate, max_tokens from reservations where message_id = %s",
        message,
    )
    assert held == (Decimal(str(prompt)) * 100 + Decimal(str(most)) * 200) / 1_000_000


async def test_running_call_settles_at_the_price_it_began_with(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    started = await there.chat.send(ada, "long 60 speed 60", conversation_id=None, model="demo")
    await _change(here, "demo", ModelChange(price=DEAR))
    await whole(there, ada, started)
    _, usd, version, right = _booked(database, started.reply.id)
    assert (usd, version, right) == (Decimal("0.15"), "demo-1", True)


async def test_call_whose_process_died_settles_at_the_price_it_began_with(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    await _change(here, "demo", ModelChange(price=DEAR, weight=Decimal(3)))
    started = await there.chat.send(ada, "long 4000 speed 60", conversation_id=None, model="demo")
    running = there.running.get(started.reply.id)
    assert running is not None
    while not running.text_from(0).text:
        await asyncio.sleep(0.02)
    await _change(here, "demo", ModelChange(price=None, weight=None))
    running.mark_lease_lost()
    async for _ in running.follow(0):
        pass
    database(
        "update reservations set lease_expires_at = now() - interval '1 s' where message_id = %s",
        started.reply.id,
    )
    while not database("select 1 from usage_records where message_id = %s", started.reply.id):
        await here.recovery.run_once()
    weight, usd, version, right = _booked(database, started.reply.id)
    assert (weight, usd, right) == (3, 100, True)
    assert version.startswith("admin-")


async def test_model_that_is_off_is_offered_and_called_by_no_process(
    here: Services, there: Services
) -> None:
    ada = await new_principal(here)
    await _ask(there, ada, "small-window")
    assert await _change(here, "small-window", ModelChange(enabled=False))
    for process in (there, here):
        with pytest.raises(ModelUnavailable):
            await _ask(process, ada, "small-window")
        offered = [model.id for model in process.catalogue.for_plan("free")]
        assert "small-window" not in offered
        # What was said by it keeps its name.
        assert process.catalogue.labels["small-window"] == "Small window"
    await _change(here, "small-window", ModelChange(enabled=None))
    await _ask(there, ada, "small-window")


async def test_model_is_sold_on_the_plans_it_is_given(here: Services, there: Services) -> None:
    ada = await new_principal(here)
    await _change(here, "small-window", ModelChange(plans=frozenset({"pro"})))
    with pytest.raises(ModelUnavailable):
        await _ask(there, ada, "small-window")
    await _change(here, "demo-large", ModelChange(plans=frozenset({"free", "pro"})))
    _, model = await _ask(there, ada, "demo-large")
    assert model == "demo-large"


async def test_model_that_is_off_stands_in_for_nobody(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_principal(here)
    await _change(here, "demo", ModelChange(enabled=False))
    message, _ = await _ask(there, ada, "broken")
    assert database("select status, answered_by from messages where id = %s", message) == [
        ("failed", None)
    ]


async def test_model_without_a_price_is_not_on_before_it_has_one(
    here: Services, there: Services, database: Database
) -> None:
    ada = await new_member(here)
    assert not (await _shown(here, "unpriced")).margins
    with pytest.raises(ActionInvalid, match="no price"):
        await _change(here, "unpriced", ModelChange(enabled=True))
    await _change(here, "unpriced", ModelChange(price=DEAR))
    with pytest.raises(ModelUnavailable):
        await _ask(there, ada.principal, "unpriced")
    await _change(here, "unpriced", ModelChange(enabled=True))
    # As each call does, they come with what holds now.
    message, _ = await _ask(there, await there.callers.resolve(ada.cookie), "unpriced")
    assert _booked(database, message)[1] == 100
    # Nor does it lose its price while it is on.
    with pytest.raises(ActionInvalid, match="no price"):
        await _change(here, "unpriced", ModelChange(price=None))


def test_unpriced_model_that_is_on_in_the_file_keeps_the_instance_from_starting(
    here: Services, tmp_path: Path
) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([*CATALOGUE, UNPRICED | {"enabled": True}]))
    values = here.settings.model_dump() | {"model_catalogue": path, "default_model": None}
    with pytest.raises(ConfigurationError, match="no price is known for unpriced"):
        build(load(**values))


async def test_each_plan_keeps_a_model_under_concurrent_changes(here: Services) -> None:
    await here.live_catalogue.read()
    names = [model.id for model in here.catalogue.for_plan("free")]
    changes = [_change(here, name, ModelChange(enabled=False)) for name in names]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, ActionInvalid)]
    assert len(refused) == 1
    assert "needs at least one model" in str(refused[0])
    await here.live_catalogue.read()
    assert len(here.catalogue.for_plan("free")) == 1


async def test_margin_is_what_is_paid_less_what_it_costs(here: Services) -> None:
    await _change(
        here,
        "demo-large",
        ModelChange(
            plans=frozenset({"free", "pro"}),
            weight=Decimal(2),
            price=OwnPrice(Decimal(4), Decimal(20), Decimal(1)),
        ),
    )
    shown = await _shown(here, "demo-large")
    free, pro = shown.margins
    sold = plans(here.settings)["pro"]
    assert sold.price is not None
    # Three tokens of the prompt to one of the answer: (3 × $4 + $20) / 4.
    assert free.cost_usd == pro.cost_usd == 8
    included = Decimal(20) / 2_000_000 * 1_000_000 * 2
    assert (pro.included_usd, pro.overage_usd) == (included, 20)
    assert pro.included == (included - 8) / included
    assert pro.overage == Decimal("0.6")
    assert (free.included, free.overage) == (None, None)
    # Half a million of its tokens use up the free plan's million.
    assert free.whole_usd == 4
    assert shown.changed_by == OPERATOR


async def test_who_changed_what_and_why_is_written_once(here: Services, database: Database) -> None:
    admin, why = (await new_admin(here, database)).principal, f"dearer {uuid4()}"
    for _ in range(2):
        await here.offers.change("demo", ModelChange(weight=Decimal(2)), actor=admin, reason=why)
    rows = database(
        "select actor, action, subject, before ->> 'weight', after ->> 'weight' from audit_log"
        " where reason = %s",
        why,
    )
    assert rows == [(f"user:{admin.user_id}", "model.change", "model:demo", "1", "2")]
    assert (await here.offers.seen_by(admin))[1].changed_at is None


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("no-such", ModelChange(enabled=False)),
        ("demo", ModelChange(plans=frozenset())),
        ("demo", ModelChange(plans=frozenset({"free", "gold"}))),
        ("demo", ModelChange(weight=Decimal(0))),
        ("demo", ModelChange(weight=Decimal(-1))),
        ("demo", ModelChange(weight=Decimal("NaN"))),
        ("demo", ModelChange(weight=Decimal("0.00001"))),
        ("demo", ModelChange(weight=Decimal(10_001))),
        ("demo", ModelChange(price=replace(DEAR, input_usd=Decimal(-1)))),
        ("demo", ModelChange(price=replace(DEAR, output_usd=Decimal("Infinity")))),
        ("demo", ModelChange(price=replace(DEAR, output_usd=Decimal(10_001)))),
        ("demo", ModelChange(price=replace(DEAR, cached_input_usd=Decimal("0.0000001")))),
    ],
)
async def test_what_can_not_be_is_refused(
    here: Services, database: Database, model: str, wanted: ModelChange
) -> None:
    with pytest.raises(ActionInvalid):
        await _change(here, model, wanted)
    assert database("select 1 from private.model_overrides") == []


async def test_nobody_else_looks_or_changes(here: Services, database: Database) -> None:
    admin, member = (await new_admin(here, database)).principal, await new_principal(here)
    database("update profiles set role = 'user' where id = %s", admin.user_id)
    with pytest.raises(NotFound):
        await here.offers.seen_by(member)
    for actor in (admin, member):
        with pytest.raises(NotFound):
            await here.offers.change(
                "demo", ModelChange(weight=Decimal(2)), actor=actor, reason="a try"
            )
    assert database("select 1 from private.model_overrides") == []


async def test_call_is_refused_when_prices_change_faster_than_it_can_look(
    here: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await new_principal(here)
    await here.live_catalogue.read()
    await _change(here, "demo", ModelChange(weight=Decimal(2)))

    async def stale() -> None:
        """It has read what was there before."""

    monkeypatch.setattr(here.live_catalogue, "read", stale)
    with pytest.raises(Unavailable):
        await _ask(here, ada)

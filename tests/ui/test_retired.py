"""A conversation whose model is retired: what its page says, and what one click does."""

from __future__ import annotations

from collections.abc import Generator
from decimal import Decimal

import pytest

from aisaas.billing.plans.terms import plans
from aisaas.chat.catalogue import Succession
from aisaas.controls.model_overrides import ModelChange
from aisaas.language_models import Model
from aisaas.prices import Price
from aisaas.settings import Settings
from aisaas.ui.chat import view
from aisaas.ui.chat.state import Chat
from aisaas.wiring import Services
from tests.services import Database, Member, new_member, whole
from tests.ui.tabs import open_tab

PLANS = plans(Settings.model_construct())

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    yield
    database("delete from private.model_overrides")


async def _retire(services: Services, successor: str | None) -> None:
    wanted = ModelChange(retired=True, successor=successor)
    await services.offers.change("small-window", wanted, actor="operator:tests", reason="a test")


async def _talked(services: Services) -> tuple[Member, str]:
    """Someone with a conversation of the model, and its address."""
    ada = await new_member(services)
    started = await services.chat.send(
        ada.principal, "hello", conversation_id=None, model="small-window"
    )
    await whole(services, ada.principal, started)
    return ada, f"/chat/{started.conversation_id}"


async def test_the_page_says_it_and_one_click_goes_on_with_the_successor(
    domain: Services, database: Database
) -> None:
    ada, path = await _talked(domain)
    await _retire(domain, "demo")
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=path)
        retired = tab.vars["chat.retired"]
        assert retired.sentence == "Small window has been retired."
        assert (retired.successor, retired.action) == ("demo", "Continue with Demo")
        assert tab.vars["chat.model"] == "small-window"
        assert tab.vars["chat.models"][-1] == view.ModelView(
            "small-window", "Small window", retired=True
        )
        conversation = path.rpartition("/")[2]
        asked = {"text": "more", "conversation": conversation, "nonce": "n1", "effort": ""}
        await tab.call(Chat.send, path=path, model="small-window", **asked)
        assert tab.refused == "model_retired"
        await tab.call(Chat.choose_model, path=path, model=retired.successor)
        assert tab.refused == ""
        assert tab.vars["chat.retired"] == view.RetiredView()
        assert tab.vars["chat.model"] == "demo"
        assert "small-window" not in [each.id for each in tab.vars["chat.models"]]
        stored = "select model from conversations where id = %s"
        assert database(stored, conversation) == [("demo",)]
        await tab.call(Chat.load, path=path)
        assert tab.vars["chat.retired"] == view.RetiredView()


async def test_a_model_that_is_retired_while_the_page_is_open_is_said_when_it_is_asked(
    domain: Services,
) -> None:
    ada, path = await _talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=path)
        await _retire(domain, None)
        asked = {"text": "more", "conversation": path.rpartition("/")[2], "nonce": "n1"}
        await tab.call(Chat.send, path=path, model="small-window", effort="", **asked)
        assert tab.refused == "model_retired"
        retired = tab.vars["chat.retired"]
        assert (
            retired.sentence == "Small window has been retired. Choose another model to continue."
        )
        assert (retired.successor, retired.action, retired.plans) == ("", "", False)
        # Another model of the list goes on just as well.
        await tab.call(Chat.choose_model, path=path, model="broken")
        assert (tab.refused, tab.vars["chat.retired"]) == ("", view.RetiredView())


async def test_someone_elses_conversation_says_nothing(domain: Services) -> None:
    _, path = await _talked(domain)
    await _retire(domain, "demo")
    eve = await new_member(domain)
    async with open_tab(eve.cookie) as tab:
        await tab.call(Chat.load, path=path)
        assert tab.refused == "not_found"
        assert not tab.vars.get("chat.retired", view.RetiredView()).sentence


def _model(*sold_on: str) -> Model:
    one = Decimal(1)
    return Model(
        id="new",
        label="New",
        provider="demo",
        upstream="openai/new",
        context_window=1000,
        max_output=100,
        weight=one,
        plans=frozenset(sold_on),
        fallback=None,
        price=Price(one, one, one, "tests"),
    )


def test_a_successor_on_another_plan_is_named_with_that_plan() -> None:
    succession = Succession("Old", _model("business", "pro"))
    shown = view.retired_view(succession, "free", PLANS)
    assert shown.sentence == (
        "Old has been retired. Its successor, New, is on the Pro plan; you can also choose another "
        "model."
    )
    assert (shown.successor, shown.action, shown.plans) == ("", "", True)
    mine = view.retired_view(succession, "pro", PLANS)
    assert (mine.successor, mine.action, mine.plans) == ("new", "Continue with New", False)


def test_a_successor_on_no_plan_is_none() -> None:
    for succession in (Succession("Old", _model("gold")), Succession("Old", None)):
        shown = view.retired_view(succession, "free", PLANS)
        assert shown == view.RetiredView("Old has been retired. Choose another model to continue.")

"""The billing page's handlers as any client can call them, on the real services: without payments,
and with a provider that doesn't answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from aisaas import wiring
from aisaas.ui.billing import bills, state
from aisaas.ui.billing.state import Billing
from aisaas.wiring import Services
from childprocess.ports import free_port
from tests.services import Build, Database, Member, new_member
from tests.ui.tabs import JUNK, Tab, by_name, open_tab

BILLING = "/billing"
WITH_A_PLAN = (Billing.choose, Billing.switch)
WITHOUT_ARGUMENTS = (
    Billing.load,
    Billing.ask_provider,
    Billing.watch,
    Billing.await_plan,
    Billing.open_portal,
    Billing.reset_cap,
)
TO_PAY: dict[Any, dict[str, Any]] = {
    Billing.choose: {"plan": "pro"},
    Billing.switch: {"plan": "pro"},
    Billing.keep_plan: {},
    Billing.open_portal: {},
}
HANDLERS = {**TO_PAY, **{each: {} for each in WITHOUT_ARGUMENTS}, Billing.save_cap: {"usd": "5"}}
NO_MONEY = ["NaN", "Infinity", "-1", "1e3", "1,000", "12.345", "٣", "0x10", "five", " ", "9" * 30]
SUBSCRIBE = """
update profiles set plan = %s, subscription_status = %s, subscription_id = 'sub_' || id,
  stripe_customer_id = 'cus_' || id, period_start = now() - interval '1 day',
  period_end = now() + interval '9 days' where id = %s
"""
POLL_SECONDS = 0.02

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody watches for long, unless a test says so."""
    monkeypatch.setattr(state, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(state, "LOOK_SECONDS", POLL_SECONDS)
    monkeypatch.setattr(state, "LONGEST_LOOK_SECONDS", POLL_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def away(build_services: Build) -> AsyncGenerator[Services]:
    """Services whose payment provider is not there."""
    url = f"http://127.0.0.1:{free_port()}"
    async with build_services(stripe_secret_key="sk_test_tests", stripe_api_base=url) as made:
        yield made


@pytest.fixture
def without_provider(away: Services, monkeypatch: pytest.MonkeyPatch) -> Generator[Services]:
    monkeypatch.setattr(wiring, "settings", lambda: away.settings)
    monkeypatch.setattr(wiring, "build", lambda _: away)
    wiring.services.cache_clear()
    yield away
    wiring.services.cache_clear()


async def on_pro(services: Services, database: Database, status: str = "active") -> Member:
    member = await new_member(services)
    database(SUBSCRIBE, "pro", status, member.principal.user_id)
    return member


def stored_cap(database: Database, member: Member) -> object:
    ((cap,),) = database(
        "select overage_cap_usd from profiles where id = %s", member.principal.user_id
    )
    return cap


async def until(tab: Tab, var: str, value: object) -> None:
    while tab.vars.get(var) != value:
        await asyncio.sleep(POLL_SECONDS)


def test_every_handler_of_the_page_is_tried() -> None:
    own = {f"Billing.{name}" for name in Billing.event_handlers if name in vars(Billing)}
    assert {by_name(handler) for handler in HANDLERS} == own - {"Billing.setvar"}


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_nobody_gets_anywhere_without_a_session(domain: Services, handler: Any) -> None:
    async with open_tab("") as tab:
        await tab.call(handler, path=BILLING, **HANDLERS[handler])
        # Loading leads to the sign-in instead.
        assert tab.refused == ("" if handler is Billing.load else "unauthenticated")
        assert tab.vars["billing.plan"].label == tab.vars["session.owner"] == ""


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_someone_elses_page_is_not_used(
    domain: Services, database: Database, handler: Any
) -> None:
    ada, eve = await on_pro(domain, database), await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        tab.cookie, tab.deltas = eve.cookie, []
        await tab.call(handler, path=BILLING, **HANDLERS[handler])
        assert tab.refused == ("" if handler is Billing.load else "unauthenticated")
        assert Billing.get_full_name() not in {name for delta in tab.deltas for name in delta}
    assert stored_cap(database, ada) is stored_cap(database, eve) is None


@pytest.mark.parametrize("handler", WITH_A_PLAN, ids=by_name)
async def test_a_plan_that_is_none_is_refused(domain: Services, handler: Any) -> None:
    ada = await new_member(domain)
    for junk in [*JUNK, "free", "enterprise"]:
        async with open_tab(ada.cookie) as tab:
            await tab.call(handler, path=BILLING, plan=junk)
            assert tab.refused == "billing_invalid", repr(junk)[:80]


@pytest.mark.parametrize("handler", TO_PAY, ids=by_name)
async def test_without_payments_the_page_says_so(domain: Services, handler: Any) -> None:
    ada = await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        assert (tab.vars["billing.choices"], tab.vars["billing.plan"].label) == ([], "Free")
        assert tab.vars["billing.invoices"].stage == bills.SHOWN
        await tab.call(handler, path=BILLING, **TO_PAY[handler])
        assert tab.refused == "billing_invalid"


# The cap


@pytest.mark.parametrize("junk", [*JUNK, *NO_MONEY], ids=lambda junk: repr(junk)[:12])
async def test_what_is_no_amount_is_said_beside_the_field(
    domain: Services, database: Database, junk: Any
) -> None:
    ada = await on_pro(domain, database)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        await tab.call(Billing.save_cap, path=BILLING, usd=junk)
        assert tab.vars["billing.cap_problem"]
        assert (tab.refused, tab.vars.get("billing.cap_saved", 0)) == ("", 0)
    assert stored_cap(database, ada) is None


async def test_a_cap_has_a_bound(domain: Services, database: Database) -> None:
    ada = await on_pro(domain, database)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        await tab.call(Billing.save_cap, path=BILLING, usd="10000.01")
        assert tab.vars["billing.cap_problem"] == "Enter an amount from $0 to $10,000."
        await tab.call(Billing.save_cap, path=BILLING, usd="$ 10000")
        assert (tab.vars["billing.cap_problem"], tab.vars["billing.cap_saved"]) == ("", 1)
    assert stored_cap(database, ada) == 10_000


async def test_a_cap_is_set_shown_and_taken_back(domain: Services, database: Database) -> None:
    ada = await on_pro(domain, database)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        assert (tab.vars["billing.cap"].current, tab.vars["billing.cap"].own) == ("$20.00", False)
        await tab.call(Billing.save_cap, path=BILLING, usd="0")
        assert (tab.vars["billing.cap"].current, tab.vars["billing.cap"].own) == ("$0.00", True)
        assert stored_cap(database, ada) == 0
        await tab.call(Billing.save_cap, path=BILLING, usd="7.50")
        assert stored_cap(database, ada) == Decimal("7.50")
        assert tab.vars["billing.usage"].cap == "$7.50"
        await tab.call(Billing.reset_cap, path=BILLING)
        assert (tab.vars["billing.cap"].current, tab.vars["billing.cap"].own) == ("$20.00", False)
    assert stored_cap(database, ada) is None


# Without an answer of the provider


async def test_without_the_provider_everything_of_ours_is_shown(
    without_provider: Services, database: Database
) -> None:
    ada = await on_pro(without_provider, database)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        assert tab.vars["billing.plan"].label == "Pro"
        assert tab.vars["billing.estimate"].total == "$20.00"
        assert [offer.id for offer in tab.vars["billing.choices"]] == ["free", "pro", "business"]
        assert tab.vars["billing.preview"].stage == bills.AWAY
        assert tab.vars["billing.invoices"].stage == bills.AWAY
        assert not tab.refused
        await tab.call(Billing.save_cap, path=BILLING, usd="3")
        assert tab.vars["billing.cap"].current == "$3.00"


@pytest.mark.parametrize("handler", TO_PAY, ids=by_name)
async def test_without_the_provider_nobody_is_sent_anywhere(
    without_provider: Services, database: Database, handler: Any
) -> None:
    ada = await on_pro(without_provider, database)
    async with open_tab(ada.cookie) as tab:
        await tab.call(handler, path=BILLING, **TO_PAY[handler])
        assert tab.refused == "unavailable"
        assert "Stripe isn't responding" in tab.vars["notices.refusal"].sentence


# Back from paying


async def test_the_address_of_the_way_back_grants_nothing(
    domain: Services, database: Database
) -> None:
    ada = await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.await_plan, path=f"{BILLING}?checkout=done")
        assert tab.vars["billing.arriving"] == "late"
        assert tab.vars["billing.plan"].label == "Free"
    ((plan,),) = database("select plan from profiles where id = %s", ada.principal.user_id)
    assert plan == "free"


async def test_a_plan_shows_when_it_arrives(
    domain: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Billing.load, path=BILLING)
        monkeypatch.setattr(state, "WATCH_SECONDS", 60.0)
        waiting = asyncio.create_task(tab.call(Billing.await_plan, path=BILLING))
        await until(tab, "billing.arriving", "waiting")
        database(SUBSCRIBE, "pro", "active", ada.principal.user_id)
        await until(tab, "billing.arriving", "done")
        assert tab.vars["billing.plan"].label == "Pro"
        # The look-out goes on for what comes next; another page ends it.
        monkeypatch.setattr(state, "WATCH_SECONDS", 0.0)
        await tab.call(Billing.load, path=BILLING)
        await waiting


async def test_an_open_page_learns_of_a_failed_payment(
    domain: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await on_pro(domain, database)
    monkeypatch.setattr(state, "WATCH_SECONDS", 60.0)
    async with open_tab(ada.cookie) as tab:
        watching = asyncio.create_task(tab.call(Billing.load, path=BILLING))
        while "billing.plan" not in tab.vars:
            await asyncio.sleep(POLL_SECONDS)
        database(
            "update profiles set subscription_status = 'past_due',"
            " plan_ends_at = now() + interval '5 days' where id = %s",
            ada.principal.user_id,
        )
        while not tab.vars["session.due"].before:
            await asyncio.sleep(POLL_SECONDS)
        assert tab.vars["billing.plan"].standing == "due"
        monkeypatch.setattr(state, "WATCH_SECONDS", 0.0)
        await tab.call(Billing.load, path=BILLING)
        await watching

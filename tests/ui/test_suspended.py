"""A suspended account sees that it is, may see and pay its bills, export its data and sign out; every
other handler and every other route refuses, those that come later included.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from reflex.istate.manager.memory import StateManagerMemory
from reflex_base.event import Event
from reflex_base.event.processor import BaseStateEventProcessor
from reflex_base.registry import RegistrationContext

import aisaas.aisaas  # noqa: F401 - all of its handlers are asked
from aisaas.api.app import api_routes
from aisaas.api.moved import MOVED
from aisaas.api.serving import serving
from aisaas.ui import routes
from aisaas.ui.chat.state import Chat
from aisaas.ui.events import CONNECTED, NAVIGATED, handlers
from aisaas.wiring import Services
from tests.services import Database, Member, new_member, whole
from tests.ui.tabs import open_tab

pytestmark = pytest.mark.usefixtures("app")

NOTICES = "reflex___state____state.aisaas___ui___notices____notices"
# By the names of their classes: what a suspended account may ask for.
ALLOWED = {
    *("billing.load", "billing.ask_provider", "billing.watch", "billing.await_plan"),
    *("billing.choose", "billing.switch", "billing.keep_plan", "billing.open_portal"),
    "session.leave_unless_suspended",
}
# They do nothing for anybody in particular.
HARMLESS = {"notices.dismiss", "session.leave_if_signed_in", "recovery.look"}
SUSPEND = "update profiles set suspended_at = now(), role = 'admin' where id = %s"


@pytest_asyncio.fixture(loop_scope="session")
async def suspended(domain: Services, database: Database) -> AsyncGenerator[Member]:
    """An admin even, so that nothing refuses for another reason."""
    member = await new_member(domain)
    sent = await domain.chat.send(
        member.principal, "what I said", conversation_id=None, model="demo"
    )
    await whole(domain, member.principal, sent)
    await domain.chat.title_ready(member.principal, sent.conversation_id)
    database(SUSPEND, member.principal.user_id)
    yield member


def short(name: str) -> str:
    return name.rpartition("____")[2]


OURS = sorted(name for name in handlers() if name not in {CONNECTED, NAVIGATED})


async def called(name: str, cookie: str) -> tuple[list[Any], list[Any]]:
    """The deltas, and the events for the page, of a handler that is called with plausible arguments."""
    processor = BaseStateEventProcessor(middleware=RegistrationContext.get().app)
    processor.configure(state_manager=StateManagerMemory())
    payload = dict.fromkeys(handlers()[name].needed, str(uuid4()))
    place = {"pathname": "/chat", "asPath": "/chat", "headers": {"cookie": cookie}}
    deltas: list[Any] = []
    async with processor:
        event = Event(name=name, payload=payload, router_data=place)
        async for delta in processor.enqueue_stream_delta("tab", event):
            deltas.append(delta)
    codes = [
        value.code
        for delta in deltas
        for var, value in delta.get(NOTICES, {}).items()
        if var.startswith("refusal") and value.code
    ]
    return codes, deltas


async def test_handlers_refuse_or_lead_to_the_page_that_says_so(suspended: Member) -> None:
    found: dict[str, list[str]] = {}
    for name in OURS:
        if short(name) in ALLOWED | HARMLESS:
            continue
        codes, deltas = await called(name, suspended.cookie)
        assert "what I said" not in str(deltas), name
        found[short(name)] = codes
    # A page that is loaded says it by leading elsewhere.
    expected = {name: [] if name.endswith(".load") else ["suspended"] for name in found}
    assert found == expected
    assert len(found) > 60


async def test_its_pages_lead_to_the_one_that_says_so(suspended: Member) -> None:
    async with open_tab(suspended.cookie) as tab:
        await tab.call(Chat.load)
        assert tab.vars.get("chat.ready") is not True


async def test_it_may_see_and_pay_its_bills(suspended: Member) -> None:
    for name in OURS:
        if short(name) in ALLOWED:
            codes, _ = await called(name, suspended.cookie)
            assert not {"suspended", "unauthenticated"} & set(codes), name


def test_what_is_allowed_exists() -> None:
    assert {short(name) for name in OURS} >= ALLOWED | HARMLESS


# Routes

OPEN_TO_ALL = {"/health", "/ready", "/metrics", "/robots.txt", "/manifest.webmanifest"} | {*MOVED}
BY_SIGNATURE = {"/api/webhooks/stripe", "/api/webhooks/stripe/meters"}
# About having a session: signing in and out, and the links in mails.
SESSIONS = "/api/session/"
MAY = {routes.EXPORT}


@pytest_asyncio.fixture(loop_scope="session")
async def browser(domain: Services, suspended: Member) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(serving(api_routes(), lambda: domain))
    origin = domain.settings.origins[0]
    headers = {"cookie": suspended.cookie, "origin": origin, "accept": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url=origin, headers=headers) as client:
        yield client


async def test_every_route_of_an_account_refuses_but_the_export(
    browser: httpx.AsyncClient, suspended: Member
) -> None:
    form = {
        "email": "new@example.com",
        "current_password": "a long enough password",
        "new_password": "another long password",
    }
    tried = 0
    for route in api_routes():
        if route.path in OPEN_TO_ALL | BY_SIGNATURE | MAY or route.path.startswith(SESSIONS):
            continue
        path = route.path.replace("{user_id:uuid}", str(suspended.principal.user_id))
        assert "{" not in path
        method = "POST" if "POST" in (route.methods or ()) else "GET"
        data = form if method == "POST" else None
        answer = await browser.request(method, path, data=data)
        assert (path, answer.status_code) == (path, 403)
        tried += 1
    assert tried >= 6


async def test_the_export_has_everything_of_theirs_and_nothing_of_others(
    browser: httpx.AsyncClient, domain: Services, suspended: Member
) -> None:
    other = await new_member(domain)
    sent = await domain.chat.send(other.principal, "theirs", conversation_id=None, model="demo")
    await whole(domain, other.principal, sent)
    answer = await browser.get(routes.EXPORT)
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["kind"] for line in lines] == [
        *("account", "conversation", "message", "message", "end")
    ]
    assert lines[0]["email"] == suspended.principal.email
    assert (lines[2]["role"], lines[2]["content"]) == ("user", "what I said")
    assert "theirs" not in answer.text


async def test_nobody_exports_without_a_session(browser: httpx.AsyncClient) -> None:
    answer = await browser.get(routes.EXPORT, headers={"cookie": ""})
    assert answer.status_code == 401


async def test_it_may_sign_out(browser: httpx.AsyncClient, domain: Services) -> None:
    answer = await browser.post(routes.SIGN_OUT, data={"scope": "here"})
    assert answer.json() == {"redirect": "/"}
    assert (await browser.get(routes.EXPORT)).status_code == 401

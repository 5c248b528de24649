"""The page of provider health: what it shows, to whom, and what its actions do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from aisaas.admin.provider_reports import (
    Health,
    HealthSpan,
    LastFailure,
    ProviderReport,
    ProviderStatus,
)
from aisaas.billing.providers.health import ANSWERED, Attempt
from aisaas.billing.providers.reports import Circuit, Ended
from aisaas.errors import KEY_REFUSED
from aisaas.ui.admin.providers import state, view
from aisaas.ui.admin.providers.state import ProviderStatuses
from aisaas.wiring import Services
from tests.admin.members import new_admin, new_user
from tests.services import Database, Member
from tests.ui.tabs import JUNK, open_tab

PAGE = "/admin/providers"
POLL_SECONDS = 0.02
HANDLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "load": (ProviderStatuses.load, {}),
    "choose_span": (ProviderStatuses.choose_span, {"span": "24h"}),
    "watch": (ProviderStatuses.watch, {}),
}
HEALTH = "provider_statuses.health"

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tab of a test has no socket; it is there unless a test says so."""
    monkeypatch.setattr(state, "has_socket", lambda _: False)
    monkeypatch.setattr(state, "LOOK_SECONDS", POLL_SECONDS)


@pytest.fixture
async def admin(domain: Services, database: Database) -> Member:
    return await new_admin(domain, database)


def test_every_handler_of_the_page_is_tried() -> None:
    own = {name for name in ProviderStatuses.event_handlers if name in vars(ProviderStatuses)}
    assert set(HANDLERS) == own - {"setvar"}


@pytest.mark.parametrize("handler", HANDLERS)
async def test_others_find_nothing_here(domain: Services, database: Database, handler: str) -> None:
    member = await new_user(domain, database)
    async with open_tab(member.cookie) as tab:
        await tab.call(HANDLERS[handler][0], path=PAGE, **HANDLERS[handler][1])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
        assert tab.vars[HEALTH] == view.HealthView()


@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_role_that_is_taken_away_is_gone_with_the_next_click(
    admin: Member, database: Database, handler: str
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(ProviderStatuses.load, path=PAGE)
        assert not tab.refused
        database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
        await tab.call(HANDLERS[handler][0], path=PAGE, **HANDLERS[handler][1])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
async def test_junk_changes_nothing(admin: Member, junk: Any) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(ProviderStatuses.load, path=PAGE)
        await tab.call(ProviderStatuses.choose_span, path=PAGE, span=junk)
        assert tab.refused == "action_invalid"
        assert tab.vars["provider_statuses.span"] == "1h"


@pytest.mark.parametrize("span", get_args(HealthSpan))
async def test_each_span_is_shown(domain: Services, admin: Member, span: str) -> None:
    domain.provider_health.record(Attempt("demo", "demo", ANSWERED, 0.3, 90, 2.0))
    await domain.provider_health.flush()
    async with open_tab(admin.cookie) as tab:
        await tab.call(ProviderStatuses.load, path=PAGE)
        await tab.call(ProviderStatuses.choose_span, path=PAGE, span=span)
        assert not tab.refused
        assert tab.vars["provider_statuses.span"] == span
        shown = {each.id: each for each in tab.vars[HEALTH].providers}
        assert int(shown["demo/"].attempts.replace(",", "")) >= 1
        assert shown["demo/"].p50 != view.NOTHING
    assert set(get_args(HealthSpan)) == {key for key, _ in view.SPANS}


async def test_figures_come_without_being_asked_for_until_the_tab_is_gone(
    admin: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = True
    monkeypatch.setattr(state, "has_socket", lambda _: there)
    async with open_tab(admin.cookie) as tab:
        watching = asyncio.create_task(tab.call(ProviderStatuses.load, path=PAGE))
        seen = set[str]()
        while len(seen) < 2:
            await asyncio.sleep(POLL_SECONDS)
            if HEALTH in tab.vars:
                seen.add(tab.vars[HEALTH].at)
        there = False
        await watching
        assert not tab.refused


async def test_a_tab_that_watches_loses_the_page_with_the_role(
    admin: Member, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "has_socket", lambda _: True)
    async with open_tab(admin.cookie) as tab:
        watching = asyncio.create_task(tab.call(ProviderStatuses.load, path=PAGE))
        while HEALTH not in tab.vars:
            await asyncio.sleep(POLL_SECONDS)
        database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
        await watching
        assert tab.vars["area.nowhere"] is True


# The view

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NO_ATTEMPTS = Health(0, 0, 0, None, None, None)


def shown(
    health: Health = NO_ATTEMPTS, circuit: Circuit | None = None, failure: LastFailure | None = None
) -> view.StatusView:
    status = ProviderStatus("groq", "Groq", "", health, circuit, failure)
    report = ProviderReport(NOW, "1h", [status], [], [])
    return view.health_view(report, {}).providers[0]


def test_what_is_not_known_is_a_dash() -> None:
    found = shown()
    assert (found.attempts, found.errors, found.share, found.stopped) == ("0", "0", "", "")
    assert {found.p50, found.p95, found.speed} == {view.NOTHING}
    assert (found.circuit, found.failure, found.variable) == ("Closed", "", "")


def test_figures_read_as_they_are() -> None:
    found = shown(Health(1200, 3, 60, 0.4237, 12.4, 48.6))
    assert (found.attempts, found.stopped) == ("1,200", "3 stopped")
    assert (found.errors, found.share) == ("60", "5%")
    assert (found.p50, found.p95, found.speed) == ("0.42 s", "12 s", "49")


def test_circuits_are_open_until_they_may_be_tried() -> None:
    later, past = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    found = shown(circuit=Circuit("groq", "", 2, later))
    assert (found.circuit, found.tone, found.processes) == ("Open", "bad", "in 2 processes")
    assert found.open_until == later.isoformat()
    for until in (NOW, past):
        found = shown(circuit=Circuit("groq", "", 1, until))
        assert (found.circuit, found.tone, found.processes) == ("Half-open", "near", "in 1 process")
        assert found.open_until == ""


def test_the_last_failure_names_the_variable_to_look_at() -> None:
    found = shown(failure=LastFailure("m", KEY_REFUSED[0], NOW, "GROQ_API_KEY"))
    assert (found.failure, found.failed_at) == (KEY_REFUSED[0], NOW.isoformat())
    assert found.variable == "GROQ_API_KEY"


def test_errors_name_their_model_and_provider() -> None:
    status = ProviderStatus("groq", "Groq", "", NO_ATTEMPTS, None, None)
    errors = [
        Ended("groq", "m", "timeout", 1200, 0, 0, NOW),
        Ended("gone", "n", "cut", 1, 0, 0, NOW),
    ]
    found = view.health_view(ProviderReport(NOW, "1h", [status], [], errors), {"m": "Model M"})
    assert [(each.model, each.provider, each.times) for each in found.errors] == [
        ("Model M", "Groq", "1,200"),
        ("n", "gone", "1"),
    ]

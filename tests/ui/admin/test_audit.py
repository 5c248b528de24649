"""The page of the audit log: what it shows, and to whom."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from aisaas.ui.admin.audit.state import Audit
from aisaas.ui.admin.audit.view import changes
from aisaas.wiring import Services
from tests.admin.members import new_admin, new_user
from tests.services import Database, Member
from tests.ui.tabs import JUNK, by_name, open_tab

PAGE = "/admin/audit"
HANDLERS: dict[Any, dict[str, Any]] = {
    Audit.load: {},
    Audit.find: {"form": {"search": ""}},
    Audit.older: {},
    Audit.newer: {},
}

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
async def admin(domain: Services, database: Database) -> Member:
    return await new_admin(domain, database)


def entries(database: Database, word: str, count: int = 1) -> None:
    database(
        "insert into audit_log (actor, action, subject, reason)"
        " select 'operator:tests', 'test', 'nothing', %s from generate_series(1, %s)",
        word,
        count,
    )


async def test_an_admin_finds_pages_and_turns_them(admin: Member, database: Database) -> None:
    word = uuid4().hex
    entries(database, word, 51)
    async with open_tab(admin.cookie) as tab:
        await tab.call(Audit.load, path=PAGE)
        assert tab.vars["audit.ready"] is True
        await tab.call(Audit.find, path=PAGE, form={"search": f"  {word}  "})
        assert [entry.reason for entry in tab.vars["audit.shown"].rows] == [word] * 50
        await tab.call(Audit.older, path=PAGE)
        assert len(tab.vars["audit.shown"].rows) == 1
        # There is nothing behind the last page.
        await tab.call(Audit.older, path=PAGE)
        assert tab.vars["audit.shown"].page == 2
        await tab.call(Audit.newer, path=PAGE)
        assert len(tab.vars["audit.shown"].rows) == 50


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_others_find_nothing_here(domain: Services, database: Database, handler: Any) -> None:
    member = await new_user(domain, database)
    entries(database, "not for everybody")
    async with open_tab(member.cookie) as tab:
        await tab.call(handler, path=PAGE, **HANDLERS[handler])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
        assert "not for everybody" not in repr(tab.deltas)


async def test_a_role_that_is_taken_away_is_gone_with_the_next_click(
    admin: Member, database: Database
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Audit.load, path=PAGE)
        assert not tab.refused
        database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
        await tab.call(Audit.newer, path=PAGE)
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
async def test_junk_is_no_search(admin: Member, junk: Any) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Audit.load, path=PAGE)
        await tab.call(Audit.find, path=PAGE, form=junk)
        await tab.call(Audit.find, path=PAGE, form={"search": junk})
        assert not tab.refused


def test_changes_name_what_differs() -> None:
    assert changes({"role": "user", "same": 1}, {"role": "admin", "same": 1}) == [
        "role: user → admin"
    ]
    assert changes(None, {"tokens": 50_000, "expires_at": None}) == ["tokens: 50,000"]
    assert changes({"limit": 5, "on": True}, {"limit": None, "on": False}) == [
        "limit: 5 → –",
        "on: yes → no",
    ]
    assert changes(None, None) == []

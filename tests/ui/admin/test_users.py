"""The pages of users: what they show, what they do, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from aisaas.ui.admin.user.state import OneUser
from aisaas.ui.admin.users.state import Users
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Database, Member, new_member
from tests.ui.tabs import JUNK, Tab, by_name, open_tab

LIST = "/admin/users"
WHY = "told us so"
FORM: dict[str, Any] = {"form": {"reason": WHY, "subject": str(uuid4())}}
LISTING: dict[Any, dict[str, Any]] = {
    Users.load: {},
    Users.find: {"form": {"search": ""}},
    Users.choose_plan: {"plan": "pro"},
    Users.choose_standing: {"standing": "owing"},
    Users.sort: {"key": "cost"},
    Users.earlier: {},
    Users.later: {},
}
ACTING: dict[Any, dict[str, Any]] = {
    OneUser.suspend: FORM,
    OneUser.lift: FORM,
    OneUser.sign_out: FORM,
    OneUser.set_limits: FORM,
    OneUser.grant_credits: {"form": {**FORM["form"], "tokens": "5"}},
    OneUser.make_admin: FORM,
    OneUser.end_admin: FORM,
    OneUser.mail: {"form": {**FORM["form"], "mail": "reset"}},
}
HANDLERS = LISTING | ACTING | {OneUser.load: {}, OneUser.mail_again: FORM}

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
async def admin(domain: Services, database: Database) -> Member:
    return await new_admin(domain, database)


@pytest.fixture
async def ada(domain: Services) -> Member:
    return await new_member(domain)


def page_of(member: Member) -> str:
    return f"{LIST}/{member.principal.user_id}"


@pytest.fixture
async def tab(admin: Member, ada: Member) -> AsyncIterator[Tab]:
    """The admin's, on Ada's page."""
    async with open_tab(admin.cookie) as opened:
        await opened.call(OneUser.load, path=page_of(ada))
        assert opened.refused == ""
        yield opened


def form(ada: Member, **fields: str) -> dict[str, str]:
    return {"reason": WHY, "subject": str(ada.principal.user_id), **fields}


def audited(database: Database, ada: Member) -> list[tuple[object, ...]]:
    return database(
        "select action, reason from audit_log where subject = %s order by created_at",
        f"user:{ada.principal.user_id}",
    )


def said(tab: Tab) -> str:
    assert tab.refused == ""
    return tab.vars["area.said"]


# The list


async def test_an_admin_finds_narrows_and_sorts(
    admin: Member, ada: Member, database: Database
) -> None:
    address = ada.principal.email
    async with open_tab(admin.cookie) as tab:
        await tab.call(Users.load, path=LIST)
        assert tab.vars["users.ready"] is True
        await tab.call(Users.find, path=LIST, form={"search": f"  {address.upper()} "})
        (row,) = tab.vars["users.found"].rows
        assert (row.email, row.href, row.suspended) == (address, page_of(ada), False)
        await tab.call(Users.choose_standing, path=LIST, standing="suspended")
        assert tab.vars["users.found"].rows == []
        database("update profiles set suspended_at = now() where email = %s", address)
        await tab.call(Users.choose_standing, path=LIST, standing="suspended")
        assert [row.suspended for row in tab.vars["users.found"].rows] == [True]
        await tab.call(Users.choose_plan, path=LIST, plan="pro")
        assert tab.vars["users.found"].rows == []
        await tab.call(Users.choose_plan, path=LIST, plan="")
        await tab.call(Users.sort, path=LIST, key="cost")
        assert tab.vars["users.found"].order.key == "cost"
        assert tab.vars["users.found"].order.down
        await tab.call(Users.sort, path=LIST, key="cost")
        assert not tab.vars["users.found"].order.down
        # What it is narrowed to stays, and there is nothing beyond the last page.
        await tab.call(Users.later, path=LIST)
        found = tab.vars["users.found"]
        assert [row.email for row in found.rows] == [address]
        assert (found.standing, found.pages.page) == ("suspended", 1)
        assert tab.refused == ""


# One user


async def test_page_shows_a_user_without_a_word_of_theirs(
    domain: Services, admin: Member, ada: Member
) -> None:
    secret = uuid4().hex
    started = await domain.chat.send(ada.principal, secret, conversation_id=None, model="demo")
    async for _ in domain.chat.follow(ada.principal, started.reply.id):
        pass
    async with open_tab(admin.cookie) as tab:
        await tab.call(OneUser.load, path=page_of(ada))
        user = tab.vars["one_user.user"]
        assert (user.email, user.plan, user.mine) == (ada.principal.email, "Free", False)
        assert sum(user.chart.series[0].replies) >= 1
        assert [line.detail for line in user.sessions] == ["Signed up"]
        assert secret not in repr(tab.deltas)


async def test_each_action_is_done_reported_and_shown(
    tab: Tab, ada: Member, database: Database
) -> None:
    path = page_of(ada)

    async def act(handler: Any, **fields: str) -> Any:
        await tab.call(handler, path=path, form=form(ada, **fields))
        return tab.vars["one_user.user"]

    user = await act(OneUser.suspend)
    assert (said(tab), user.suspended_reason) == ("Suspended. 1 session was ended.", WHY)
    assert not (await act(OneUser.lift)).suspended_at
    await act(OneUser.sign_out)
    assert said(tab) == "They had no active sessions."
    user = await act(OneUser.set_limits, requests_per_day="7", highest_cap_usd="2.5")
    limits = {limit.name: limit.words for limit in user.limits if limit.own}
    assert limits == {"Requests per day": "7", "Highest spending cap": "$2.50"}
    user = await act(OneUser.grant_credits, tokens="500", expires="2999-01-31")
    (credit,) = user.credits
    assert (credit.figure, credit.until) == ("0 of 500", "2999-01-31T23:59:59+00:00")
    assert (await act(OneUser.make_admin)).admin
    assert not (await act(OneUser.end_admin)).admin
    user = await act(OneUser.mail, mail="reset")
    assert "will email the link" in said(tab)
    actions = [
        *("user.suspend", "user.lift", "user.sign_out", "user.set_limits", "credits.grant"),
        *("role.set", "role.set", "user.mail"),
    ]
    assert audited(database, ada) == [(action, WHY) for action in actions]
    assert [line.what for line in reversed(user.done)] == actions
    assert tab.vars["area.acted"] == len(actions)


@pytest.mark.parametrize(
    ("handler", "fields", "sentence"),
    [
        (OneUser.suspend, {"reason": " "}, "Enter a reason"),
        (OneUser.lift, {}, "isn't suspended"),
        (OneUser.set_limits, {"requests_per_day": "1e3"}, "whole number"),
        (OneUser.set_limits, {"highest_cap_usd": "-1"}, "amount in USD"),
        (OneUser.set_limits, {}, "already"),
        (OneUser.grant_credits, {"tokens": ""}, "enter a number"),
        (OneUser.grant_credits, {"tokens": "5", "expires": "2020-01-31"}, "past"),
        (OneUser.grant_credits, {"tokens": "5", "expires": "soon"}, "choose a day"),
        (OneUser.mail, {"mail": "spam"}, "That email doesn't exist"),
    ],
)
async def test_what_makes_no_sense_is_said_and_not_done(
    tab: Tab, ada: Member, database: Database, handler: Any, fields: dict[str, str], sentence: str
) -> None:
    await tab.call(handler, path=page_of(ada), form=form(ada, **fields))
    assert tab.refused == "action_invalid"
    assert sentence in tab.vars["notices.refusal"].sentence
    assert tab.vars.get("area.acted", 0) == 0
    assert audited(database, ada) == []


async def test_own_role_is_given_up_only_by_saying_so_and_the_page_is_gone_with_it(
    admin: Member, ada: Member, database: Database
) -> None:
    path = page_of(admin)
    async with open_tab(admin.cookie) as tab:
        await tab.call(OneUser.load, path=path)
        assert tab.vars["one_user.user"].mine
        await tab.call(OneUser.end_admin, path=path, form=form(admin))
        assert "own role" in tab.vars["notices.refusal"].sentence
        # Someone has to stay one.
        database("update profiles set role = 'admin' where email = %s", ada.principal.email)
        await tab.call(OneUser.end_admin, path=path, form=form(admin, own="yes"))
        assert tab.vars["area.nowhere"] is True
        await tab.call(OneUser.suspend, path=path, form=form(ada))
        assert tab.refused == "not_found"
        assert audited(database, ada) == []


# To whom


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_others_find_nothing_here(ada: Member, database: Database, handler: Any) -> None:
    database("update profiles set role = 'user' where email = %s", ada.principal.email)
    fields = HANDLERS[handler]
    if handler in ACTING:
        fields = {"form": {**fields["form"], "subject": str(ada.principal.user_id)}}
    async with open_tab(ada.cookie) as tab:
        await tab.call(handler, path=page_of(ada), **fields)
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
        assert ada.principal.email not in repr(tab.vars.get("one_user.user"))
    assert audited(database, ada) == []


async def test_junk_is_refused_and_does_nothing(tab: Tab, ada: Member, database: Database) -> None:
    path = page_of(ada)
    for junk in JUNK:
        await tab.call(Users.find, path=LIST, form=junk)
        await tab.call(Users.sort, path=LIST, key=junk)
        await tab.call(Users.choose_plan, path=LIST, plan=junk)
        await tab.call(Users.choose_standing, path=LIST, standing=junk)
        for handler in [*ACTING, OneUser.mail_again]:
            await tab.call(handler, path=path, form=junk)
            assert tab.refused in {"not_found", "action_invalid"}
            await tab.call(handler, path=path, form=form(ada, subject=junk))
            assert tab.refused in {"not_found", "action_invalid"}
    assert audited(database, ada) == []


@pytest.mark.parametrize("name", [str(UUID(int=9)), "nonsense", "%00", ""])
async def test_address_of_nobody_leads_nowhere(tab: Tab, ada: Member, name: str) -> None:
    await tab.call(OneUser.load, path=f"{LIST}/{name}")
    assert tab.vars["area.nowhere"] is True
    assert tab.vars["one_user.user"].email == ""
    # And back from there the pages are there again.
    await tab.call(OneUser.load, path=page_of(ada))
    assert (tab.vars["area.nowhere"], tab.vars["one_user.ready"]) == (False, True)

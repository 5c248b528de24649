"""What admins do to users: its effect, its line in the audit log, and who may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from aisaas.accounts.people_models import OwnLimits, Search
from aisaas.admin.users import Actor, Users
from aisaas.admin.users_models import SignedOut
from aisaas.errors import (
    ActionInvalid,
    AuthError,
    BillingInvalid,
    Busy,
    NotFound,
    RateLimitedMinute,
    Suspended,
    Unauthenticated,
    Unavailable,
)
from aisaas.jobs.end_replies import end_replies_once
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.admin.members import new_admin
from tests.parts import Mailbox, outage
from tests.services import Build, Database, Member, new_member, new_principal, whole

WHY = "told us so"
PASSWORD = "a long enough password"
OPERATOR = "operator:tests"
LIMITS = OwnLimits(3, 40, 5_000)
SLOW = "long 4000 speed 60"

Action = Callable[[Users, Actor, UUID], Awaitable[object]]
ACTIONS: dict[str, Action] = {
    "suspend": lambda users, actor, of: users.suspend(actor, of, reason=WHY),
    "lift": lambda users, actor, of: users.lift(actor, of, reason=WHY),
    "sign_out": lambda users, actor, of: users.sign_out(actor, of, reason=WHY),
    "set_limits": lambda users, actor, of: users.set_limits(actor, of, LIMITS, reason=WHY),
    "grant_credits": lambda users, actor, of: users.grant_credits(actor, of, 500, reason=WHY),
    "set_role": lambda users, actor, of: users.set_role(actor, of, "admin", reason=WHY),
    "mail": lambda users, actor, of: users.mail(actor, of, "reset", reason=WHY),
    "mail_notice_again": lambda users, actor, of: users.mail_notice_again(
        actor, of, UUID(int=1), reason=WHY
    ),
}
READS: dict[str, Action] = {
    "find": lambda users, actor, _: users.find(actor, Search()),
    "look": lambda users, actor, of: users.look(actor, of),
    "admins": lambda users, actor, _: users.admins(actor),
    "named": lambda users, actor, of: users.named(actor, str(of)),
}


@pytest_asyncio.fixture(loop_scope="session")
async def admin(services: Services, database: Database) -> Member:
    return await new_admin(services, database)


@pytest.fixture
def mailbox(stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(stack)
    yield box
    box.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def with_mails(build_services: Build, stack: Stack) -> AsyncGenerator[Services]:
    """A process that has a mail server, which nobody answers at: notices stay as they are."""
    async with build_services(
        smtp_url="smtp://127.0.0.1:9", mail_from="billing@example.com"
    ) as made:
        yield made


def audit(database: Database, user_id: UUID) -> list[tuple[object, ...]]:
    return database(
        "select actor, action, before, after, reason from audit_log where subject = %s"
        " order by created_at",
        f"user:{user_id}",
    )


def everything_of(database: Database, user_id: UUID) -> list[tuple[object, ...]]:
    """All that an action could change."""
    return [
        *database(
            "select role, suspended_at, suspended_reason, requests_per_minute, requests_per_day,"
            " tokens_per_month, updated_at from profiles where id = %s",
            user_id,
        ),
        *database("select id, revoked_at from private.sessions where user_id = %s", user_id),
        *database("select id from credit_grants where user_id = %s", user_id),
        *database("select id, state from billing_notices where user_id = %s", user_id),
        *audit(database, user_id),
    ]


def test_every_action_and_every_look_is_tried() -> None:
    public = {name for name in vars(Users) if not name.startswith("_")}
    assert public == ACTIONS.keys() | READS.keys()


@pytest.mark.parametrize("action", [*ACTIONS, *READS])
async def test_nobody_but_an_admin_looks_or_acts(
    services: Services, database: Database, admin: Member, mailbox: Mailbox, action: str
) -> None:
    ada, eve = await new_principal(services), await new_principal(services)
    database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
    before = everything_of(database, ada.user_id)
    for actor in (eve, ada, admin.principal):
        with pytest.raises(NotFound):
            await (ACTIONS | READS)[action](services.users, actor, ada.user_id)
    assert everything_of(database, ada.user_id) == before
    assert mailbox.to(ada.email) == []


@pytest.mark.parametrize("action", [*ACTIONS, "look"])
async def test_nothing_is_done_to_nobody(
    services: Services, database: Database, admin: Member, action: str
) -> None:
    nobody = uuid4()
    with pytest.raises(NotFound):
        await (ACTIONS | READS)[action](services.users, admin.principal, nobody)
    assert audit(database, nobody) == []


@pytest.mark.parametrize("action", ACTIONS)
async def test_nothing_is_done_without_a_reason(
    services: Services,
    database: Database,
    admin: Member,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
) -> None:
    ada = await new_principal(services)
    before = everything_of(database, ada.user_id)
    for none in ("", " \t\n", "x" * 501):
        monkeypatch.setattr(f"{__name__}.WHY", none)
        with pytest.raises(ActionInvalid, match=r"Enter a reason|at most 500"):
            await ACTIONS[action](services.users, admin.principal, ada.user_id)
    assert everything_of(database, ada.user_id) == before


# Suspending


async def test_suspended_user_is_signed_out_and_refused_until_it_is_lifted(
    services: Services, database: Database, admin: Member
) -> None:
    ada, name = await new_member(services), f"user:{admin.principal.user_id}"
    user_id = ada.principal.user_id
    done = await services.users.suspend(admin.principal, user_id, reason="  sent spam. ")
    assert done == SignedOut(sessions=1, confirmed=True)
    with pytest.raises(Unauthenticated):
        await services.accounts.principal(ada.cookie)
    again = await services.accounts.sign_in(ada.principal.email, PASSWORD, user_agent="tests")
    cookie = f"{services.cookie}={again.token}"
    now = await services.callers.resolve(cookie)
    assert now.suspended
    with pytest.raises(Suspended) as refused:
        await services.chat.send(now, "hello", conversation_id=None, model="demo")
    assert "spam" not in refused.value.sentence
    with pytest.raises(ActionInvalid, match="already"):
        await services.users.suspend(admin.principal, user_id, reason=WHY)
    await services.users.lift(admin.principal, user_id, reason=WHY)
    with pytest.raises(ActionInvalid, match="isn't suspended"):
        await services.users.lift(admin.principal, user_id, reason=WHY)
    now = await services.callers.resolve(cookie)
    started = await services.chat.send(now, "hello", conversation_id=None, model="demo")
    assert (await whole(services, now, started))[1].status == "done"
    on = {"suspended": True, "reason": "sent spam."}
    off = {"suspended": False, "reason": None}
    assert audit(database, user_id) == [
        (name, "user.suspend", off | {"sessions": 1}, on | {"sessions": 0}, "sent spam."),
        (name, "user.lift", on, off, WHY),
    ]


async def test_running_reply_of_whom_an_admin_suspends_ends_and_is_paid_for(
    services: Services, database: Database, admin: Member
) -> None:
    ada = await new_member(services)
    started = await services.chat.send(ada.principal, SLOW, conversation_id=None, model="demo")
    reply = services.running.get(started.reply.id)
    assert reply is not None
    while not reply.text_from(0).text:
        await asyncio.sleep(0.02)
    await services.users.suspend(admin.principal, ada.principal.user_id, reason=WHY)
    await end_replies_once(services.accounts, services.running)
    while services.running.get(started.reply.id) is not None:
        await asyncio.sleep(0.02)
    assert database(
        "select outcome from usage_records where message_id = %s", started.reply.id
    ) == [("stopped",)]


async def test_nobody_suspends_themselves_or_the_last_admin(
    services: Services, database: Database, admin: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = admin.principal.user_id
    before = everything_of(database, user_id)
    with pytest.raises(ActionInvalid, match="yourself"):
        await services.users.suspend(admin.principal, user_id, reason=WHY)
    monkeypatch.setattr("aisaas.accounts.people.other_admins", _none)
    with pytest.raises(ActionInvalid, match="last active admin"):
        await services.users.suspend(OPERATOR, user_id, reason=WHY)
    assert everything_of(database, user_id) == before


async def _none(*_: object) -> int:
    return 0


# Signing out


async def test_signed_out_everywhere_here_and_at_the_sign_in_server(
    services: Services, database: Database, admin: Member
) -> None:
    ada = await new_member(services)
    again = await services.accounts.sign_in(ada.principal.email, PASSWORD, user_agent="tests")
    cookies = [ada.cookie, f"{services.cookie}={again.token}"]
    live = services.users._parts.live  # pyright: ignore[reportPrivateUsage]
    tokens = [
        await live.access_token(await services.accounts.principal(cookie)) for cookie in cookies
    ]
    done = await services.users.sign_out(admin.principal, ada.principal.user_id, reason=WHY)
    assert done == SignedOut(sessions=2, confirmed=True)
    for cookie in cookies:
        with pytest.raises(Unauthenticated):
            await services.accounts.principal(cookie)
    for token in tokens:
        with pytest.raises(AuthError):
            await services.users._parts.identity.get_user(token)  # pyright: ignore[reportPrivateUsage]
    assert audit(database, ada.principal.user_id) == [
        (
            f"user:{admin.principal.user_id}",
            "user.sign_out",
            {"sessions": 2},
            {"sessions": 0},
            WHY,
        )
    ]
    # Nobody to sign out is fine, and says so.
    done = await services.users.sign_out(admin.principal, ada.principal.user_id, reason=WHY)
    assert done == SignedOut(sessions=0, confirmed=True)


async def test_sign_out_holds_here_while_the_sign_in_server_is_away(
    services: Services, admin: Member, stack: Stack
) -> None:
    ada = await new_member(services)
    with outage(stack, "auth", "stopped"):
        done = await services.users.sign_out(admin.principal, ada.principal.user_id, reason=WHY)
        assert done == SignedOut(sessions=1, confirmed=False)
        with pytest.raises(Unauthenticated):
            await services.accounts.principal(ada.cookie)


# Limits and credits


async def test_own_limits_stand_in_place_of_the_plans_until_they_are_taken_away(
    services: Services, database: Database, admin: Member
) -> None:
    ada = await new_member(services)
    user_id, name = ada.principal.user_id, f"user:{admin.principal.user_id}"
    limits = OwnLimits(1, 40, 9_000, 2, Decimal("12.5"))
    await services.users.set_limits(admin.principal, user_id, limits, reason=WHY)
    now = await services.callers.resolve(ada.cookie)
    assert (await services.quota.allowance(now.billing)).limit == 9_000
    started = await services.chat.send(now, "hello", conversation_id=None, model="demo")
    await whole(services, now, started)
    with pytest.raises(RateLimitedMinute):
        await services.chat.send(now, "again", conversation_id=None, model="demo")
    with pytest.raises(ActionInvalid, match="already"):
        await services.users.set_limits(admin.principal, user_id, limits, reason=WHY)
    await services.users.set_limits(OPERATOR, user_id, OwnLimits(), reason=WHY)
    now = await services.callers.resolve(ada.cookie)
    assert (await services.quota.allowance(now.billing)).limit == 1_000_000
    own = {
        "requests_per_minute": 1,
        "requests_per_day": 40,
        "tokens_per_month": 9_000,
        "parallel_replies": 2,
        "highest_cap_usd": "12.50",
    }
    plans = dict.fromkeys(own)
    assert audit(database, user_id) == [
        (name, "user.set_limits", plans, own, WHY),
        ("operator:tests", "user.set_limits", own, plans, WHY),
    ]


@pytest.mark.parametrize(
    "limits",
    [
        OwnLimits(requests_per_minute=-1),
        OwnLimits(requests_per_day=10**9),
        OwnLimits(tokens_per_month=10**18),
        OwnLimits(parallel_replies=0),
        OwnLimits(highest_cap_usd=Decimal("-0.01")),
        OwnLimits(highest_cap_usd=Decimal("NaN")),
    ],
)
async def test_limits_that_make_no_sense_change_nothing(
    services: Services, database: Database, admin: Member, limits: OwnLimits
) -> None:
    ada = await new_principal(services)
    before = everything_of(database, ada.user_id)
    with pytest.raises(ActionInvalid, match=r"from \d to"):
        await services.users.set_limits(admin.principal, ada.user_id, limits, reason=WHY)
    assert everything_of(database, ada.user_id) == before


async def test_own_number_of_replies_at_once_holds_in_place_of_the_plans(
    services: Services, admin: Member
) -> None:
    ada = await new_member(services)
    await services.users.set_limits(
        admin.principal, ada.principal.user_id, OwnLimits(parallel_replies=1), reason=WHY
    )
    now = await services.callers.resolve(ada.cookie)
    started = await services.chat.send(now, SLOW, conversation_id=None, model="demo")
    with pytest.raises(Busy):
        await services.chat.send(now, "hello", conversation_id=None, model="demo")
    await services.chat.stop(now, started.reply.id)
    await whole(services, now, started)


async def test_nobody_spends_beyond_the_highest_cap_an_admin_allows(
    services: Services, database: Database, admin: Member
) -> None:
    ada = await new_member(services)
    user_id = ada.principal.user_id
    database(
        "update profiles set plan = 'pro', subscription_status = 'active', overage_cap_usd = 50,"
        " stripe_customer_id = %s, subscription_id = 'sub', period_start = now() - interval '1 day',"
        " period_end = now() + interval '9 days', plan_ends_at = null where id = %s",
        f"cus_{user_id}",
        user_id,
    )
    highest = OwnLimits(highest_cap_usd=Decimal(5))
    await services.users.set_limits(admin.principal, user_id, highest, reason=WHY)
    now = await services.callers.resolve(ada.cookie)
    price = services.quota.plan_of(now.billing).price
    assert price is not None
    assert services.quota.limits_of(now.billing).overage == price.tokens_for(Decimal(5))
    # Nor sets a cap beyond it: below it, yes.
    with pytest.raises(BillingInvalid, match=r"for your account is \$5\."):
        await services.checkout.set_cap(now.billing, Decimal(6))
    await services.checkout.set_cap(now.billing, Decimal(4))
    now = await services.callers.resolve(ada.cookie)
    assert services.quota.cap_of(now.billing) == Decimal(4)


async def test_credits_count_at_once_and_say_which_admin_gave_them(
    services: Services, database: Database, admin: Member
) -> None:
    ada, name = await new_principal(services), f"user:{admin.principal.user_id}"
    before = await services.quota.allowance(ada.billing)
    end = datetime.now(UTC) + timedelta(days=3)
    grant = await services.users.grant_credits(
        admin.principal, ada.user_id, 500, reason=WHY, expires_at=end
    )
    assert (await services.quota.allowance(ada.billing)).left == before.left + 500
    assert database("select granted_by, reason from credit_grants where id = %s", grant) == [
        (name, WHY)
    ]
    noted = {"grant": str(grant), "tokens": 500, "expires_at": end.isoformat()}
    assert audit(database, ada.user_id) == [(name, "credits.grant", None, noted, WHY)]


@pytest.mark.parametrize(
    ("tokens", "end"), [(0, None), (10**12, None), (5, datetime(2020, 1, 1, tzinfo=UTC))]
)
async def test_credits_that_make_no_sense_leave_nothing(
    services: Services, database: Database, admin: Member, tokens: int, end: datetime | None
) -> None:
    ada = await new_principal(services)
    before = everything_of(database, ada.user_id)
    with pytest.raises(ActionInvalid, match="Not granted"):
        await services.users.grant_credits(
            admin.principal, ada.user_id, tokens, reason=WHY, expires_at=end
        )
    assert everything_of(database, ada.user_id) == before


# The role


async def test_role_counts_from_the_next_call_on_and_so_does_its_end(
    services: Services, database: Database, admin: Member
) -> None:
    bob = await new_member(services)
    user_id, name = bob.principal.user_id, f"user:{admin.principal.user_id}"
    assert await services.users.set_role(admin.principal, user_id, "admin", reason=WHY)
    assert not await services.users.set_role(admin.principal, user_id, "admin", reason=WHY)
    held = await services.accounts.principal(bob.cookie)
    assert held.is_admin
    await services.users.look(held, user_id)
    assert await services.users.set_role(admin.principal, user_id, "user", reason=WHY)
    # No minute has to pass, and what a tab still holds proves nothing.
    assert not (await services.accounts.principal(bob.cookie)).is_admin
    with pytest.raises(NotFound):
        await services.users.look(held, user_id)
    assert audit(database, user_id) == [
        (name, "role.set", {"role": "user"}, {"role": "admin"}, WHY),
        (name, "role.set", {"role": "admin"}, {"role": "user"}, WHY),
    ]


async def test_own_role_is_given_up_only_by_saying_so(
    services: Services, database: Database, admin: Member
) -> None:
    await new_admin(services, database)
    user_id = admin.principal.user_id
    with pytest.raises(ActionInvalid, match="own role"):
        await services.users.set_role(admin.principal, user_id, "user", reason=WHY)
    assert (await services.accounts.principal(admin.cookie)).is_admin
    assert await services.users.set_role(
        admin.principal, user_id, "user", reason=WHY, even_own=True
    )
    assert not (await services.accounts.principal(admin.cookie)).is_admin


async def test_of_the_last_two_admins_one_stays_when_both_resign_at_once(
    services: Services, database: Database
) -> None:
    ada, bob = await new_admin(services, database), await new_admin(services, database)
    both = [ada.principal.user_id, bob.principal.user_id]
    others = database(
        "update profiles set role = 'user' where role = 'admin' and id <> all(%s) returning id",
        both,
    )
    try:
        ends = await asyncio.gather(
            *(
                services.users.set_role(
                    each.principal, each.principal.user_id, "user", reason=WHY, even_own=True
                )
                for each in (ada, bob)
            ),
            return_exceptions=True,
        )
        assert sorted(map(str, ends))[0] == "True"
        assert [type(end) for end in ends if end is not True] == [ActionInvalid]
        ((left,),) = database("select id from profiles where role = 'admin'")
        with pytest.raises(ActionInvalid, match="last active admin"):
            await services.users.set_role(OPERATOR, UUID(str(left)), "user", reason=WHY)
        assert database("select id from profiles where role = 'admin'") == [(left,)]
    finally:
        database(
            "update profiles set role = 'admin' where id = any(%s)", [each for (each,) in others]
        )


# Mails


async def test_link_for_a_new_password_is_mailed_and_written_down(
    services: Services, database: Database, admin: Member, mailbox: Mailbox
) -> None:
    ada = await new_principal(services)
    await services.users.mail(admin.principal, ada.user_id, "reset", reason=WHY)
    assert [mail["type"] for mail in mailbox.to(ada.email)] == ["recovery"]
    name = f"user:{admin.principal.user_id}"
    assert audit(database, ada.user_id) == [(name, "user.mail", None, {"mail": "reset"}, WHY)]
    # Too soon for the sign-in server: it says so, and the admin hears of it.
    with pytest.raises(ActionInvalid, match="sign-in server refused"):
        await services.users.mail(admin.principal, ada.user_id, "reset", reason=WHY)


async def test_mail_is_refused_while_the_sign_in_server_is_away(
    services: Services, admin: Member, stack: Stack
) -> None:
    ada = await new_principal(services)
    with outage(stack, "auth", "stopped"), pytest.raises(Unavailable, match="no email was sent"):
        await services.users.mail(admin.principal, ada.user_id, "confirmation", reason=WHY)


def notice(database: Database, user_id: UUID, *, state: str = "sent", key: str = "") -> UUID:
    ((made,),) = database(
        "insert into billing_notices (user_id, kind, key, values, state, sent_at, next_attempt_at)"
        " values (%s, 'payment_failed', %s, '{\"amount\": 5}', %s,"
        " case when %s = 'sent' then now() end, now() + interval '1 day') returning id",
        user_id,
        key or f"tests:{uuid4()}",
        state,
        state,
    )
    assert isinstance(made, UUID)
    return made


@pytest.mark.parametrize("state", ["sent", "dead"])
async def test_mail_about_billing_goes_out_once_more_and_the_first_stays_as_it_was(
    with_mails: Services, database: Database, admin: Member, state: str
) -> None:
    ada = await new_principal(with_mails)
    old = notice(database, ada.user_id, state=state)
    again = await with_mails.users.mail_notice_again(admin.principal, ada.user_id, old, reason=WHY)
    assert again.id != old
    rows = database(
        "select id, kind, values, state = 'sent' from billing_notices where user_id = %s"
        " order by created_at",
        ada.user_id,
    )
    assert rows == [
        (old, "payment_failed", {"amount": 5}, state == "sent"),
        (again.id, "payment_failed", {"amount": 5}, False),
    ]
    ((_, action, before, after, reason),) = audit(database, ada.user_id)
    assert (action, reason) == ("user.mail", WHY)
    assert before == {"notice": str(old), "state": state}
    assert after == {"notice": str(again.id), "mail": "payment_failed"}


async def test_mail_that_waits_or_is_another_matter_is_not_sent_again(
    with_mails: Services, services: Services, database: Database, admin: Member
) -> None:
    ada, bob = await new_principal(services), await new_principal(services)
    waiting = notice(database, ada.user_id, state="pending")
    as_admin = notice(database, ada.user_id, key=f"admin:{ada.user_id}:{uuid4()}")
    bobs, old = notice(database, bob.user_id), notice(database, ada.user_id)
    before = everything_of(database, ada.user_id)
    tries: list[tuple[Services, UUID, type[Exception]]] = [
        (with_mails, waiting, ActionInvalid),
        (with_mails, as_admin, NotFound),
        (with_mails, bobs, NotFound),
        (services, old, ActionInvalid),
    ]
    for using, each, error in tries:
        with pytest.raises(error):
            await using.users.mail_notice_again(admin.principal, ada.user_id, each, reason=WHY)
    assert everything_of(database, ada.user_id) == before


# Outages


async def test_nothing_is_done_while_the_database_is_away(
    services: Services, database: Database, admin: Member, stack: Stack, patience: None
) -> None:
    ada = await new_principal(services)
    before = everything_of(database, ada.user_id)
    with outage(stack, "postgres", "stopped"):
        for action in ("suspend", "look"):
            with pytest.raises(Unavailable):
                await (ACTIONS | READS)[action](services.users, admin.principal, ada.user_id)
    assert everything_of(database, ada.user_id) == before

"""Who is asking: only what the server itself vouches for counts, and not for longer than a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from aisaas.accounts.models import Principal
from aisaas.accounts.sessions import TokenCipher, cookie_name
from aisaas.db.engine import ASK_SECONDS
from aisaas.db.service import ServiceDatabase
from aisaas.errors import AuthError, Unauthenticated, Unavailable
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.accounts.conftest import PASSWORD, Member, Sql, ask, build_services, sign_up
from tests.parts import AuthAdmin, Outage, outage

Age = Callable[..., None]
Asked = Callable[[str], int]
GET_USER, REFRESH = "/auth/v1/user", "/auth/v1/token"


async def _is_signed_out(services: Services, cookie: str | None) -> None:
    with pytest.raises(Unauthenticated):
        await services.accounts.principal(cookie)


# The cookie


async def test_cookie_of_a_sign_up_says_who_is_asking(services: Services, ada: Member) -> None:
    principal = await ask(services, ada)
    assert (principal.user_id, principal.email) == (ada.user_id, ada.email)
    assert not principal.suspended


async def test_caller_has_what_billing_and_operators_say_in_the_same_round_trip(
    services: Services, ada: Member, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql("update profiles set tokens_per_month = 7, plan = 'pro' where id = %s", ada.user_id)
    trips, ask_all = 0, ServiceDatabase.ask

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal trips
        trips += 1
        return await ask_all(*args, **kwargs)

    monkeypatch.setattr(ServiceDatabase, "ask", counted)
    caller = await services.callers.resolve(ada.cookie)
    assert trips == 1
    assert (caller.user_id, caller.billing.user_id) == (ada.user_id, ada.user_id)
    assert (caller.billing.plan, caller.billing.tokens_per_month) == ("pro", 7)
    assert caller.controls.switches == frozenset()
    with pytest.raises(Unauthenticated):
        await services.callers.resolve(f"{services.cookie}=nobody")


async def test_cookie_is_found_among_others_and_rubbish(services: Services, ada: Member) -> None:
    header = f'theme=dark; broken="; {ada.cookie}; =; aisaas_production_session=x'
    assert (await services.accounts.principal(header)).user_id == ada.user_id


@pytest.mark.parametrize(
    "header", [None, "", "a=b", "aisaas_development_session=", "aisaas_development_session=rubbish"]
)
async def test_without_a_session_nobody_is_signed_in(
    services: Services, header: str | None
) -> None:
    await _is_signed_out(services, header)


async def test_tampered_cookie_is_nobodys(services: Services, ada: Member) -> None:
    other = "A" if ada.token[0] != "A" else "B"
    for token in (other + ada.token[1:], ada.token[:-1], ada.token + "A", ada.token.swapcase()):
        await _is_signed_out(services, f"{services.cookie}={token}")


@pytest.mark.parametrize(("app_env", "secure"), [("preview", False), ("production", True)])
async def test_cookie_of_another_environment_is_not_looked_at(
    services: Services, ada: Member, app_env: str, secure: bool
) -> None:
    name = cookie_name(app_env=app_env, secure=secure)
    assert name != services.cookie
    await _is_signed_out(services, f"{name}={ada.token}")


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
async def test_ended_session_is_over_at_once(
    services: Services, ada: Member, sql: Sql, end: str
) -> None:
    sql(f"update private.sessions set {end} where user_id = %s", ada.user_id)
    await _is_signed_out(services, ada.cookie)


async def test_sign_out_ends_this_session_and_no_other(services: Services, ada: Member) -> None:
    again = await services.accounts.sign_in(ada.email, PASSWORD, user_agent="tests")
    assert again.token != ada.token
    await services.accounts.sign_out(ada.cookie)
    await _is_signed_out(services, ada.cookie)
    principal = await services.accounts.principal(f"{services.cookie}={again.token}")
    assert principal.user_id == ada.user_id
    # Once more, or without any session, is fine.
    await services.accounts.sign_out(ada.cookie)
    await services.accounts.sign_out(None)


async def test_change_of_role_plan_and_standing_shows_in_the_next_call(
    services: Services, ada: Member, sql: Sql
) -> None:
    sql(
        "update profiles set role = 'admin', plan = 'pro', suspended_at = now() where id = %s",
        ada.user_id,
    )
    caller = await services.callers.resolve(ada.cookie)
    assert (caller.is_admin, caller.billing.plan, caller.suspended) == (True, "pro", True)


# What is stored


async def test_database_holds_no_token_that_could_be_used(
    services: Services, ada: Member, sql: Sql, spare_stack: Stack
) -> None:
    ((row, access, refresh),) = sql(
        "select s::text, access_token, refresh_token from private.sessions s where user_id = %s",
        ada.user_id,
    )
    assert isinstance(access, bytes)
    assert isinstance(refresh, bytes)
    cipher = TokenCipher(spare_stack.env["SESSION_SECRET"])
    tokens = [cipher.open(access), cipher.open(refresh)]
    assert all(tokens)
    for secret in (ada.token, *tokens):
        assert secret is not None
        assert secret not in str(row)
        assert secret.encode().hex() not in str(row)
        assert secret.encode() not in access + refresh
    assert TokenCipher("x" * 48).open(access) is None


async def test_secret_is_rotated_without_signing_anybody_out(
    ada: Member, age: Age, sql: Sql, spare_stack: Stack
) -> None:
    former, new = spare_stack.env["SESSION_SECRET"], "a new secret that is long enough for this"

    async def goes_on(secret: str, previous: str | None, *, expired: bool = False) -> bytes:
        """What is stored after that process has looked at the session."""
        process = build_services(
            spare_stack, session_secret=secret, session_secret_previous=previous
        )
        try:
            age(ada.user_id, verified=31)
            if expired:
                sql(
                    "update private.sessions set access_expires_at = now() where user_id = %s",
                    ada.user_id,
                )
            assert (await process.accounts.principal(ada.cookie)).user_id == ada.user_id
        finally:
            await process.close()
        ((sealed,),) = sql(
            "select access_token from private.sessions where user_id = %s", ada.user_id
        )
        assert isinstance(sealed, bytes)
        return sealed

    # First every process learns the new one, then it seals, whichever process renews the tokens.
    sealed = await goes_on(former, new, expired=True)
    assert TokenCipher(former).open(sealed)
    sealed = await goes_on(new, f"{'x' * 32},{former}")
    assert TokenCipher(former).open(sealed)
    sealed = await goes_on(new, former, expired=True)
    assert TokenCipher(former).open(sealed) is None
    # One that has not been restarted yet knows what the others seal.
    await goes_on(former, new)
    # Once the tokens have been renewed the former one isn't needed any more.
    await goes_on(new, None)


async def test_session_sealed_with_another_secret_ends_with_a_new_sign_in(
    ada: Member, age: Age, spare_stack: Stack
) -> None:
    rotated = build_services(spare_stack, session_secret="another secret, long enough for this")
    try:
        age(ada.user_id, verified=31)
        await _is_signed_out(rotated, ada.cookie)
        again = await rotated.accounts.sign_in(ada.email, PASSWORD, user_agent="tests")
        cookie = f"{rotated.cookie}={again.token}"
        assert (await rotated.accounts.principal(cookie)).user_id == ada.user_id
    finally:
        await rotated.close()


# Asking the auth server again


async def test_auth_server_is_asked_again_after_half_a_minute_and_not_before(
    services: Services, ada: Member, age: Age, asked: Asked
) -> None:
    before = asked(GET_USER)
    age(ada.user_id, verified=25)
    await ask(services, ada)
    assert asked(GET_USER) == before
    age(ada.user_id, verified=31)
    await ask(services, ada)
    await ask(services, ada)
    assert asked(GET_USER) == before + 1


async def test_callers_at_once_share_a_question(
    services: Services, ada: Member, age: Age, asked: Asked
) -> None:
    before = asked(GET_USER)
    age(ada.user_id, verified=31)
    principals = await asyncio.gather(*(ask(services, ada) for _ in range(40)))
    assert {each.user_id for each in principals} == {ada.user_id}
    # Not exactly one: who read the session before the answer came and looks after it asks again.
    assert before < asked(GET_USER) < before + 20


async def test_banned_user_is_out_within_half_a_minute_and_stays_out(
    services: Services, ada: Member, age: Age, auth_admin: AuthAdmin, sql: Sql
) -> None:
    auth_admin.ban(ada.user_id)
    age(ada.user_id, verified=31)
    await _is_signed_out(services, ada.cookie)
    assert sql(
        "select revoked_at is not null from private.sessions where user_id = %s", ada.user_id
    ) == [(True,)]
    with pytest.raises(AuthError):
        await services.accounts.sign_in(ada.email, PASSWORD, user_agent="tests")


async def test_deleted_user_is_out_at_once(
    services: Services, ada: Member, auth_admin: AuthAdmin
) -> None:
    auth_admin.delete(ada.user_id)
    await _is_signed_out(services, ada.cookie)


async def test_session_that_was_ended_at_the_auth_server_ends_here(
    services: Services, ada: Member, age: Age, sql: Sql
) -> None:
    sql("delete from auth.sessions where user_id = %s", ada.user_id)
    age(ada.user_id, verified=31)
    await _is_signed_out(services, ada.cookie)


# Refreshing


def _sealed(sql: Sql, user_id: UUID) -> object:
    ((token,),) = sql("select refresh_token from private.sessions where user_id = %s", user_id)
    return token


async def test_20_callers_in_two_processes_refresh_once_and_all_stay_signed_in(
    services: Services, other_process: Services, ada: Member, age: Age, asked: Asked, sql: Sql
) -> None:
    before, token = asked(REFRESH), _sealed(sql, ada.user_id)
    age(ada.user_id, verified=31, expires_in=5)
    principals = await asyncio.gather(
        *(ask(each, ada) for each in (services, other_process) for _ in range(10))
    )
    assert {each.user_id for each in principals} == {ada.user_id}
    assert asked(REFRESH) == before + 1
    assert _sealed(sql, ada.user_id) != token
    # The renewed tokens are good ones.
    age(ada.user_id, verified=31)
    assert (await ask(other_process, ada)).user_id == ada.user_id


async def test_session_is_renewed_again_and_again(
    services: Services, ada: Member, age: Age, asked: Asked
) -> None:
    before = asked(REFRESH)
    for _ in range(5):
        age(ada.user_id, verified=31, expires_in=-60)
        assert (await ask(services, ada)).user_id == ada.user_id
    assert asked(REFRESH) == before + 5


async def test_claim_of_a_process_that_died_lapses(
    services: Services, ada: Member, age: Age, sql: Sql
) -> None:
    age(ada.user_id, verified=31, expires_in=5)
    sql(
        "update private.sessions set refresh_claimed_until = now() + interval '0.4 s'"
        " where user_id = %s",
        ada.user_id,
    )
    assert (await ask(services, ada)).user_id == ada.user_id
    assert sql(
        "select refresh_claimed_until from private.sessions where user_id = %s", ada.user_id
    ) == [(None,)]


async def test_caller_who_goes_away_does_not_break_the_refresh_for_the_others(
    services: Services, ada: Member, age: Age
) -> None:
    age(ada.user_id, verified=31, expires_in=5)
    callers = [asyncio.create_task(ask(services, ada)) for _ in range(4)]
    await asyncio.sleep(0.01)
    callers[0].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [type(each).__name__ for each in answers[1:]] == ["Principal"] * 3
    assert (await ask(services, ada)).user_id == ada.user_id


async def test_refresh_that_the_auth_server_refuses_ends_the_session(
    services: Services, ada: Member, age: Age, sql: Sql
) -> None:
    sql("delete from auth.sessions where user_id = %s", ada.user_id)
    age(ada.user_id, verified=31, expires_in=5)
    await _is_signed_out(services, ada.cookie)
    assert sql(
        "select revoked_at is not null from private.sessions where user_id = %s", ada.user_id
    ) == [(True,)]


# Outages


async def test_without_the_auth_server_users_go_on_for_a_minute_and_come_back_after(
    services: Services, ada: Member, age: Age, spare_stack: Stack
) -> None:
    with outage(spare_stack, "auth", "stopped"):
        age(ada.user_id, verified=45)
        assert (await ask(services, ada)).user_id == ada.user_id
        age(ada.user_id, verified=61)
        with pytest.raises(Unavailable):
            await ask(services, ada)
    assert (await ask(services, ada)).user_id == ada.user_id


async def test_refresh_that_found_no_auth_server_is_made_up_for(
    services: Services, ada: Member, age: Age, spare_stack: Stack
) -> None:
    age(ada.user_id, verified=45, expires_in=5)
    with outage(spare_stack, "auth", "stopped"):
        assert (await ask(services, ada)).user_id == ada.user_id
        age(ada.user_id, verified=61, expires_in=-5)
        with pytest.raises(Unavailable):
            await ask(services, ada)
    assert (await ask(services, ada)).user_id == ada.user_id


@pytest.mark.parametrize("kind", ["stopped", "paused"])
async def test_without_the_database_nobody_can_be_told_apart_and_nobody_waits_long(
    services: Services, ada: Member, spare_stack: Stack, kind: Outage
) -> None:
    assert (await ask(services, ada)).user_id == ada.user_id
    # Ten at once, so that also those are told who wait for a connection.
    with outage(spare_stack, "postgres", kind):
        async with asyncio.timeout(ASK_SECONDS + 30):
            told = await asyncio.gather(
                *(ask(services, ada) for _ in range(10)), return_exceptions=True
            )
    assert [type(answer) for answer in told] == [Unavailable] * 10
    back = await answered_in_the_end(lambda: ask(services, ada))
    assert back.user_id == ada.user_id


async def answered_in_the_end(call: Callable[[], Awaitable[Principal]]) -> Principal:
    """A server that was frozen still has to deal with what was asked of it meanwhile."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(0.1)


# The first account


@pytest.fixture
def _empty_install(sql: Sql) -> None:
    sql("delete from auth.users")
    sql("delete from audit_log")


def _admins(sql: Sql) -> list[tuple[object, ...]]:
    return sql("select id from profiles where role = 'admin'")


@pytest.mark.usefixtures("_empty_install")
async def test_first_account_of_an_embedded_install_becomes_admin_and_only_that(
    services: Services, sql: Sql
) -> None:
    first = await sign_up(services)
    second = await sign_up(services)
    assert _admins(sql) == [(first.user_id,)]
    assert (await ask(services, first)).is_admin
    assert not (await ask(services, second)).is_admin
    assert sql("select action, subject, after from audit_log") == [
        ("role.set", f"user:{first.user_id}", {"role": "admin"})
    ]


@pytest.mark.usefixtures("_empty_install")
async def test_of_first_accounts_at_once_exactly_one_becomes_admin(
    services: Services, other_process: Services, sql: Sql
) -> None:
    members = await asyncio.gather(
        *(sign_up(each) for each in (services, other_process) for _ in range(3))
    )
    ((admin,),) = _admins(sql)
    assert admin in {member.user_id for member in members}


@pytest.mark.usefixtures("_empty_install")
async def test_nobody_inherits_the_role_of_a_first_account_that_was_deleted(
    services: Services, sql: Sql, auth_admin: AuthAdmin
) -> None:
    first = await sign_up(services)
    auth_admin.delete(first.user_id)
    await sign_up(services)
    assert _admins(sql) == []


@pytest.mark.usefixtures("_empty_install")
async def test_install_on_a_hosted_auth_server_makes_nobody_an_admin(
    spare_stack: Stack, sql: Sql
) -> None:
    hosted = build_services(spare_stack, embedded_parts="postgres,valkey")
    try:
        await sign_up(hosted)
        assert _admins(sql) == []
    finally:
        await hosted.close()

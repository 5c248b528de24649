"""The contract of `accounts.ports.Identity`, on the auth server that development uses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest

from aisaas.accounts.ports import AuthSession
from aisaas.adapters.supabase_identity import SupabaseIdentity
from aisaas.errors import AuthError, DependencyError
from devstack.stack import Stack
from tests.parts import AuthAdmin, Mailbox, outage, pkce_code

PASSWORD = "a long enough password"
HANGS_SECONDS = 60


def _email() -> str:
    return f"{uuid4().hex}@example.com"


@pytest.fixture
def email() -> str:
    return _email()


async def _signed_up(identity: SupabaseIdentity, email: str) -> AuthSession:
    session = await identity.sign_up(email, PASSWORD, "Ada Lovelace")
    assert session is not None
    return session


async def test_sign_up_gives_a_session_of_the_new_user(
    identity: SupabaseIdentity, email: str
) -> None:
    session = await _signed_up(identity, email)
    assert session.user.email == email
    assert session.user.email_confirmed
    assert session.expires_at > datetime.now(UTC)
    assert await identity.get_user(session.access_token) == session.user


async def test_sign_in_gives_another_session_of_the_same_user(
    identity: SupabaseIdentity, email: str
) -> None:
    first = await _signed_up(identity, email)
    second = await identity.sign_in(email.upper(), PASSWORD)
    assert second.user.id == first.user.id
    assert second.refresh_token != first.refresh_token
    assert (await identity.get_user(first.access_token)).id == first.user.id


async def test_refresh_gives_new_tokens_of_the_same_user(
    identity: SupabaseIdentity, email: str
) -> None:
    first = await _signed_up(identity, email)
    renewed = await identity.refresh(first.refresh_token)
    assert renewed.user.id == first.user.id
    assert renewed.refresh_token != first.refresh_token
    assert (await identity.get_user(renewed.access_token)).id == first.user.id


async def test_clients_of_many_users_at_once_do_not_mix(identity: SupabaseIdentity) -> None:
    emails = [_email() for _ in range(6)]
    sessions = await asyncio.gather(*(_signed_up(identity, each) for each in emails))
    users = await asyncio.gather(*(identity.get_user(each.access_token) for each in sessions))
    assert [user.email for user in users] == emails


async def test_wrong_password_is_an_answer_and_not_an_outage(
    identity: SupabaseIdentity, email: str
) -> None:
    await _signed_up(identity, email)
    with pytest.raises(AuthError) as caught:
        await identity.sign_in(email, "not the password")
    assert caught.value.code == "invalid_credentials"
    assert caught.value.sentence == "Incorrect email or password."


async def test_unknown_and_known_address_get_the_same_answer(
    identity: SupabaseIdentity, email: str
) -> None:
    await _signed_up(identity, email)
    answers: list[tuple[str, str]] = []
    for tried in (email, _email()):
        with pytest.raises(AuthError) as caught:
            await identity.sign_in(tried, "not the password")
        answers.append((caught.value.code, caught.value.sentence))
    assert answers[0] == answers[1]


async def test_taken_address_and_weak_password_are_distinguished(
    identity: SupabaseIdentity, email: str
) -> None:
    await _signed_up(identity, email)
    with pytest.raises(AuthError) as caught:
        await identity.sign_up(email, PASSWORD, "")
    assert caught.value.code == "user_already_exists"
    with pytest.raises(AuthError) as caught:
        await identity.sign_up(_email(), "short", "")
    assert caught.value.code == "weak_password"


async def test_signed_out_session_is_over_at_once(identity: SupabaseIdentity, email: str) -> None:
    session = await _signed_up(identity, email)
    other = await identity.sign_in(email, PASSWORD)
    await identity.sign_out(session.access_token)
    with pytest.raises(AuthError):
        await identity.get_user(session.access_token)
    with pytest.raises(AuthError):
        await identity.refresh(session.refresh_token)
    # This one only: the user's other browser goes on.
    assert (await identity.get_user(other.access_token)).email == email


async def test_banned_user_is_refused_everywhere(
    identity: SupabaseIdentity, email: str, auth_admin: AuthAdmin
) -> None:
    session = await _signed_up(identity, email)
    auth_admin.ban(session.user.id)
    with pytest.raises(AuthError) as caught:
        await identity.get_user(session.access_token)
    assert caught.value.code == "user_banned"
    with pytest.raises(AuthError):
        await identity.refresh(session.refresh_token)
    # Trying passwords doesn't reveal that the account exists.
    with pytest.raises(AuthError) as caught:
        await identity.sign_in(email, PASSWORD)
    assert caught.value.code == "invalid_credentials"


async def test_deleted_user_is_refused_everywhere(
    identity: SupabaseIdentity, email: str, auth_admin: AuthAdmin
) -> None:
    session = await _signed_up(identity, email)
    auth_admin.delete(session.user.id)
    with pytest.raises(AuthError):
        await identity.get_user(session.access_token)
    with pytest.raises(AuthError):
        await identity.refresh(session.refresh_token)
    with pytest.raises(AuthError):
        await identity.sign_in(email, PASSWORD)


@pytest.mark.parametrize("token", ["", "rubbish", "a.b.c", "x" * 10_000])
async def test_rubbish_is_nobodys_token(identity: SupabaseIdentity, token: str) -> None:
    with pytest.raises(AuthError):
        await identity.get_user(token)
    with pytest.raises(AuthError):
        await identity.refresh(token)


async def test_stopped_server_is_an_outage_and_forgotten_when_it_is_back(
    identity: SupabaseIdentity, email: str, spare_stack: Stack
) -> None:
    session = await _signed_up(identity, email)
    with outage(spare_stack, "auth", "stopped"):
        async with asyncio.timeout(HANGS_SECONDS):
            answers = await asyncio.gather(
                identity.sign_up(_email(), PASSWORD, ""),
                identity.sign_in(email, PASSWORD),
                identity.refresh(session.refresh_token),
                identity.get_user(session.access_token),
                identity.sign_out(session.access_token),
                identity.mail_reset(email),
                identity.mail_sign_in(email, may_sign_up=True),
                identity.mail_confirmation(email),
                identity.verify("token", "signup"),
                identity.change_password(session.access_token, "another password"),
                identity.change_address(session.access_token, _email()),
                identity.exchange("code", "verifier"),
                identity.invite(_email()),
                return_exceptions=True,
            )
    assert {type(answer) for answer in answers} == {DependencyError}
    assert (await identity.get_user(session.access_token)).email == email


async def test_server_without_its_database_is_an_outage_and_no_answer(
    identity: SupabaseIdentity, email: str, spare_stack: Stack
) -> None:
    session = await _signed_up(identity, email)
    with outage(spare_stack, "postgres", "stopped"):
        for call in (
            identity.get_user(session.access_token),
            identity.refresh(session.refresh_token),
            identity.sign_in(email, PASSWORD),
        ):
            with pytest.raises(DependencyError):
                await call
    assert (await identity.get_user(session.access_token)).email == email


# Mail


async def test_link_of_a_reset_mail_becomes_a_session_once(
    identity: SupabaseIdentity, email: str, mailbox: Mailbox
) -> None:
    first = await _signed_up(identity, email)
    await identity.mail_reset(email)
    token = await mailbox.token(email, "recovery")
    session = await identity.verify(token, "recovery")
    assert session is not None
    assert session.user.id == first.user.id
    with pytest.raises(AuthError) as caught:
        await identity.verify(token, "recovery")
    assert caught.value.code == "otp_expired"


async def test_reset_of_an_unknown_address_is_answered_alike_and_mails_nothing(
    identity: SupabaseIdentity, email: str, mailbox: Mailbox
) -> None:
    await identity.mail_reset(email)
    assert mailbox.to(email) == []


async def test_sign_in_link_makes_an_account_only_where_it_may(
    identity: SupabaseIdentity, email: str, mailbox: Mailbox
) -> None:
    with pytest.raises(AuthError):
        await identity.mail_sign_in(email, may_sign_up=False)
    assert mailbox.to(email) == []
    await identity.mail_sign_in(email, may_sign_up=True)
    session = await identity.verify(await mailbox.token(email, "magiclink"), "magiclink")
    assert session is not None
    assert session.user.email == email


async def test_sign_up_that_has_to_be_confirmed(
    confirming: SupabaseIdentity, confirming_mailbox: Mailbox, email: str
) -> None:
    assert await confirming.sign_up(email, PASSWORD, "Ada") is None
    with pytest.raises(AuthError) as caught:
        await confirming.sign_in(email, PASSWORD)
    assert caught.value.code == "email_not_confirmed"
    session = await confirming.verify(await confirming_mailbox.token(email, "signup"), "signup")
    assert session is not None
    assert session.user.email_confirmed
    # The answer doesn't reveal a taken address, and its owner's password stays.
    assert await confirming.sign_up(email, "another long password", "Eve") is None
    assert (await confirming.sign_in(email, PASSWORD)).user.id == session.user.id


async def test_confirmation_is_mailed_again_no_sooner_than_the_server_likes(
    confirming: SupabaseIdentity, email: str
) -> None:
    await confirming.sign_up(email, PASSWORD, "Ada")
    with pytest.raises(AuthError) as caught:
        await confirming.mail_confirmation(email)
    assert caught.value.code == "over_email_send_rate_limit"
    # An unknown address is answered as if all were well.
    await confirming.mail_confirmation(_email())


@pytest.mark.parametrize("token", ["rubbish", "x" * 500, "\u00e9", "a b"])
async def test_made_up_link_is_refused(identity: SupabaseIdentity, token: str) -> None:
    with pytest.raises(AuthError) as caught:
        await identity.verify(token, "recovery")
    assert caught.value.code == "otp_expired"


# Changes


async def test_changed_password_is_the_one_that_counts(
    identity: SupabaseIdentity, email: str
) -> None:
    session = await _signed_up(identity, email)
    await identity.change_password(session.access_token, "quite another password")
    with pytest.raises(AuthError):
        await identity.sign_in(email, PASSWORD)
    await identity.sign_in(email, "quite another password")
    assert (await identity.get_user(session.access_token)).email == email


@pytest.mark.parametrize(
    ("password", "code"), [(PASSWORD, "same_password"), ("x", "weak_password")]
)
async def test_password_that_is_no_change_or_too_weak_is_reported(
    identity: SupabaseIdentity, email: str, password: str, code: str
) -> None:
    session = await _signed_up(identity, email)
    with pytest.raises(AuthError) as caught:
        await identity.change_password(session.access_token, password)
    assert caught.value.code == code


async def test_address_changes_at_once_where_none_is_confirmed(
    identity: SupabaseIdentity, email: str
) -> None:
    session, new = await _signed_up(identity, email), _email()
    assert (await identity.change_address(session.access_token, new)).email == new
    with pytest.raises(AuthError) as caught:
        await identity.change_address(session.access_token, (await _taken(identity)))
    assert caught.value.code == "email_exists"


async def _taken(identity: SupabaseIdentity) -> str:
    email = _email()
    await _signed_up(identity, email)
    return email


async def test_address_changes_with_the_click_where_it_is_confirmed(
    confirming: SupabaseIdentity, confirming_mailbox: Mailbox, email: str
) -> None:
    await confirming.sign_up(email, PASSWORD, "Ada")
    session = await confirming.verify(await confirming_mailbox.token(email, "signup"), "signup")
    assert session is not None
    new = _email()
    assert (await confirming.change_address(session.access_token, new)).email == email
    # One link, or one for each mailbox: the last one does it.
    links = confirming_mailbox.tokens(new, "email_change")
    links += confirming_mailbox.tokens(email, "email_change")
    *halves, renewed = [await confirming.verify(link, "email_change") for link in links]
    assert halves == [None] * (len(links) - 1)
    assert renewed is not None
    assert (renewed.user.id, renewed.user.email) == (session.user.id, new)


@pytest.mark.parametrize("token", ["", "rubbish", "a.b.c"])
async def test_rubbish_changes_nothing(identity: SupabaseIdentity, token: str) -> None:
    with pytest.raises(AuthError):
        await identity.change_password(token, "quite another password")


async def test_sign_out_ends_the_others_or_all(identity: SupabaseIdentity, email: str) -> None:
    first = await _signed_up(identity, email)
    second, third = [await identity.sign_in(email, PASSWORD) for _ in range(2)]
    await identity.sign_out(second.access_token, "others")
    assert (await identity.get_user(second.access_token)).email == email
    for ended in (first, third):
        with pytest.raises(AuthError):
            await identity.get_user(ended.access_token)
    fourth = await identity.sign_in(email, PASSWORD)
    await identity.sign_out(second.access_token, "global")
    for ended in (second, fourth):
        with pytest.raises(AuthError):
            await identity.get_user(ended.access_token)


# Providers


async def test_visit_carries_a_challenge_whose_answer_stays_here(
    identity: SupabaseIdentity, spare_stack: Stack
) -> None:
    visit = await identity.visit_provider("github", redirect_to="http://127.0.0.1:3000/back?a=b")
    again = await identity.visit_provider("github", redirect_to="http://127.0.0.1:3000/back?a=b")
    assert visit.url.startswith(f"{spare_stack.env['SUPABASE_URL']}/auth/v1/authorize?")
    query = parse_qs(urlsplit(visit.url).query)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(visit.verifier.encode()).digest())
    assert query == {
        "provider": ["github"],
        "redirect_to": ["http://127.0.0.1:3000/back?a=b"],
        "code_challenge": [challenge.rstrip(b"=").decode()],
        "code_challenge_method": ["s256"],
    }
    assert visit.verifier not in visit.url
    assert visit.verifier != again.verifier


async def test_code_and_its_verifier_become_a_session_once(
    identity: SupabaseIdentity, email: str, mailbox: Mailbox, spare_stack: Stack
) -> None:
    first = await _signed_up(identity, email)
    verifier = "v" * 64
    code = await pkce_code(spare_stack, mailbox, email, verifier)
    with pytest.raises(AuthError) as caught:
        await identity.exchange(code, "w" * 64)
    assert caught.value.code == "bad_code_verifier"
    assert (await identity.exchange(code, verifier)).user.id == first.user.id
    with pytest.raises(AuthError) as caught:
        await identity.exchange(code, verifier)
    assert caught.value.code == "flow_state_not_found"


# Invitations


async def test_invitation_is_mailed_and_lets_in(
    identity: SupabaseIdentity, email: str, mailbox: Mailbox
) -> None:
    invited = await identity.invite(email)
    session = await identity.verify(await mailbox.token(email, "invite"), "invite")
    assert session is not None
    assert session.user.id == invited.id
    with pytest.raises(AuthError) as caught:
        await identity.invite(email)
    assert caught.value.code == "email_exists"


async def test_invitation_needs_the_secret_key(spare_stack: Stack, email: str) -> None:
    env = spare_stack.env
    for key in (None, env["SUPABASE_PUBLISHABLE_KEY"]):
        adapter = SupabaseIdentity(env["SUPABASE_URL"], env["SUPABASE_PUBLISHABLE_KEY"], key)
        with pytest.raises(AuthError):
            await adapter.invite(email)
        await adapter.close()


# What only a hosted server says


def _answering(status: int, content: str, seen: list[httpx.Request]) -> SupabaseIdentity:
    adapter = SupabaseIdentity("https://project.supabase.example", "sb_publishable_x")

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        headers = {"x-supabase-api-version": "2024-01-01", "content-type": "application/json"}
        return httpx.Response(status, headers=headers, content=content)

    adapter._http = httpx.AsyncClient(transport=httpx.MockTransport(answer))  # pyright: ignore[reportPrivateUsage]
    return adapter


async def test_mail_that_we_ask_for_ourselves_is_asked_for_with_the_secret_key() -> None:
    seen: list[httpx.Request] = []
    adapter = _answering(200, "{}", seen)
    with pytest.raises(AuthError):
        # Without the key it isn't asked for at all.
        await adapter.mail_reset("ada@example.com", trusted=True)
    assert seen == []
    adapter._secret_key = "sb_secret_x"  # pyright: ignore[reportPrivateUsage]
    await adapter.mail_reset("ada@example.com", trusted=True)
    await adapter.mail_confirmation("ada@example.com", trusted=True)
    await adapter.mail_reset("ada@example.com")
    assert [request.headers["apikey"] for request in seen] == [
        *("sb_secret_x", "sb_secret_x"),
        "sb_publishable_x",
    ]


async def test_server_that_asks_to_slow_down_ends_no_session() -> None:
    busy = _answering(429, '{"code": "over_request_rate_limit", "message": "slow down"}', [])
    for call in (busy.get_user("a.b.c"), busy.refresh("token")):
        with pytest.raises(DependencyError):
            await call
    with pytest.raises(AuthError):
        await busy.sign_in("ada@example.com", PASSWORD)


@pytest.mark.parametrize("content", ["<html>Maintenance</html>", "[]", "{}", ""])
async def test_answer_that_is_not_the_servers_is_an_outage(content: str) -> None:
    with pytest.raises(DependencyError):
        await _answering(200, content, []).sign_in("ada@example.com", PASSWORD)


@pytest.mark.parametrize(
    ("reasons", "word"),
    [(["length"], "8 characters"), (["characters", "length"], "symbols"), (["pwned"], "leak")],
)
async def test_weak_password_is_reported_with_what_it_lacks(reasons: list[str], word: str) -> None:
    refusal = {"code": "weak_password", "message": "", "weak_password": {"reasons": reasons}}
    with pytest.raises(AuthError) as caught:
        await _answering(422, json.dumps(refusal), []).sign_up("ada@example.com", "x", "Ada")
    assert caught.value.code == "weak_password"
    assert word in caught.value.sentence


async def test_first_of_two_confirmations_of_an_address_gives_no_session() -> None:
    half = '{"code": "200", "msg": "Confirmation link accepted."}'
    assert await _answering(200, half, []).verify("token", "email_change") is None


CAPTCHA_CALLS: list[Callable[[SupabaseIdentity], Awaitable[object]]] = [
    lambda it: it.sign_up("ada@example.com", PASSWORD, "Ada", captcha="solved"),
    lambda it: it.sign_in("ada@example.com", PASSWORD, captcha="solved"),
    lambda it: it.mail_reset("ada@example.com", captcha="solved"),
    lambda it: it.mail_sign_in("ada@example.com", may_sign_up=False, captcha="solved"),
    lambda it: it.mail_confirmation("ada@example.com", captcha="solved"),
]


@pytest.mark.parametrize("call", CAPTCHA_CALLS)
async def test_captcha_is_passed_on_and_its_refusal_reported(
    call: Callable[[SupabaseIdentity], Awaitable[object]],
) -> None:
    seen: list[httpx.Request] = []
    strict = _answering(400, '{"code": "captcha_failed", "message": "no"}', seen)
    with pytest.raises(AuthError) as caught:
        await call(strict)
    assert caught.value.code == "captcha_failed"
    assert json.loads(seen[0].content)["gotrue_meta_security"] == {"captcha_token": "solved"}

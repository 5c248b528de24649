"""The contract of `ports.Identity`, on the auth server that development uses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from aisaas.adapters.supabase_identity import SupabaseIdentity
from aisaas.embedded.stack import Stack
from aisaas.errors import AuthError, DependencyError
from aisaas.ports import AuthSession
from tests.parts import AuthAdmin, outage

PASSWORD = "a long enough password"
HANGS_SECONDS = 20


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
    assert caught.value.sentence == "That email and password don't match an account."


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


async def test_taken_address_and_weak_password_are_told_apart(
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
    with pytest.raises(AuthError):
        await identity.sign_in(email, PASSWORD)


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

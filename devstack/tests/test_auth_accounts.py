"""The embedded auth server as its clients meet it: accounts and their sessions.

Driven by supabase-py's own client; by plain HTTP where the shape of an answer is what counts.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError
from supabase_auth.types import Session

from devstack.tests.auth_client import (
    PASSWORD,
    VERSION,
    Connect,
    claims_of,
    new_email,
    refusal,
    serving,
    session_of,
    sign_in,
    signed_up,
    variables_for,
)

# Signing up and in


async def test_sign_up_gives_a_session_and_the_person_behind_it(
    server: str, connect: Connect
) -> None:
    client, email = connect(server), new_email()
    response = await client.auth.sign_up(
        {
            "email": email.upper(),
            "password": PASSWORD,
            "options": {"data": {"full_name": "Ada"}},
        }
    )
    session = session_of(response)
    user = session.user
    assert user.email == email
    assert user.user_metadata["full_name"] == "Ada"
    assert user.app_metadata == {"provider": "email", "providers": ["email"]}
    assert (user.aud, user.role, user.is_anonymous) == ("authenticated", "authenticated", False)
    assert user.email_confirmed_at
    assert user.identities
    [identity] = user.identities
    assert (identity.id, identity.user_id, identity.provider) == (user.id, user.id, "email")
    assert identity.identity_id != identity.id
    assert (session.token_type, session.expires_in) == ("bearer", 3600)
    assert session.expires_at
    assert abs(session.expires_at - time.time() - 3600) < 60
    seen = await client.auth.get_user()
    assert seen
    assert seen.user == user


async def test_access_token_carries_the_claims_and_verifies_by_jwks(
    server: str, connect: Connect
) -> None:
    client = connect(server)
    session = await signed_up(client)
    verified = await client.auth.get_claims()
    assert verified
    assert verified["headers"]["alg"] == "ES256"
    claims: dict[str, Any] = {**verified["claims"]}
    assert claims["iss"] == f"{server}/auth/v1"
    assert claims["sub"] == session.user.id
    assert (claims["aud"], claims["role"], claims["aal"]) == ("authenticated",) * 2 + ("aal1",)
    assert claims["email"] == session.user.email
    assert claims["phone"] == ""
    assert claims["is_anonymous"] is False
    assert claims["app_metadata"] == session.user.app_metadata
    assert claims["user_metadata"] == session.user.user_metadata
    assert [entry["method"] for entry in claims["amr"]] == ["password"]
    assert claims["session_id"]
    assert claims["exp"] == session.expires_at == claims["iat"] + 3600


async def test_signing_in_opens_another_session(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    first = await signed_up(client, email)
    second = session_of(await sign_in(client, email.title()))
    assert (
        claims_of(first.access_token)["session_id"]
        != (claims_of(second.access_token)["session_id"])
    )
    assert second.user.id == first.user.id


async def test_taken_address_cannot_sign_up_again(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    await signed_up(client, email)
    again = client.auth.sign_up({"email": email.upper(), "password": "another one"})
    assert await refusal(again) == (422, "user_already_exists")
    assert (await sign_in(client, email)).user


async def test_simultaneous_sign_ups_make_one_account(server: str, connect: Connect) -> None:
    email = new_email()
    outcomes = await asyncio.gather(
        *(signed_up(connect(server), email) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Session) for outcome in outcomes) == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, AuthApiError)]
    assert {error.code for error in refused} == {"user_already_exists"}
    assert len(refused) == 4


async def test_short_password_is_refused_with_its_reason(server: str, connect: Connect) -> None:
    client = connect(server)
    with pytest.raises(AuthWeakPasswordError) as caught:
        await client.auth.sign_up({"email": new_email(), "password": "1234567"})
    assert (caught.value.status, caught.value.reasons) == (422, ["length"])
    too_long = client.auth.sign_up({"email": new_email(), "password": "x" * 73})
    assert await refusal(too_long) == (400, "validation_failed")


async def test_wrong_password_and_unknown_account_look_and_last_the_same(
    server: str, connect: Connect
) -> None:
    client, email = connect(server), new_email()
    await signed_up(client, email)

    async def attempt(address: str) -> tuple[tuple[str, int], float]:
        started = time.perf_counter()
        with pytest.raises(AuthApiError) as caught:
            await sign_in(client, address, "wrong password")
        assert caught.value.code == "invalid_credentials"
        return (caught.value.message, caught.value.status), time.perf_counter() - started

    known = [await attempt(email) for _ in range(7)]
    unknown = [await attempt(new_email()) for _ in range(7)]
    assert {answer for answer, _ in known} == {answer for answer, _ in unknown}
    # The quickest of each: hashing dominates, and noise only ever adds.
    quickest = [min(seconds for _, seconds in attempts) for attempts in (known, unknown)]
    assert quickest[1] > quickest[0] * 0.5


@pytest.mark.parametrize("email", ["nobody", "a@", "@b.co", "a b@c.de", "a@b..co", "x@y\n.de"])
async def test_what_is_no_address_cannot_sign_up(http: httpx.AsyncClient, email: str) -> None:
    body = {"email": email, "password": PASSWORD}
    response = await http.post("/signup", json=body, headers=VERSION)
    assert response.status_code == 400
    assert response.json()["code"] == "validation_failed"


async def test_anonymous_and_phone_sign_up_are_refused(server: str, connect: Connect) -> None:
    client = connect(server)
    anonymous = client.auth.sign_in_anonymously()
    assert await refusal(anonymous) == (422, "anonymous_provider_disabled")
    phone = client.auth.sign_up({"phone": "+4912345", "password": PASSWORD})
    assert await refusal(phone) == (400, "phone_provider_disabled")


# Sessions


async def test_refresh_token_is_rotated(server: str, connect: Connect) -> None:
    client = connect(server)
    first = await signed_up(client)
    second = session_of(await client.auth.refresh_session())
    assert second.refresh_token != first.refresh_token
    assert (
        claims_of(second.access_token)["session_id"]
        == (claims_of(first.access_token)["session_id"])
    )
    third = session_of(await client.auth.refresh_session(second.refresh_token))
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3


async def test_simultaneous_refreshes_get_the_same_successor(server: str, connect: Connect) -> None:
    first = await signed_up(connect(server))
    responses = await asyncio.gather(
        *(connect(server).auth.refresh_session(first.refresh_token) for _ in range(6))
    )
    successors = {session_of(response).refresh_token for response in responses}
    assert len(successors) == 1
    assert successors != {first.refresh_token}


async def test_lost_answer_can_be_asked_for_again_within_seconds(
    server: str, connect: Connect
) -> None:
    client = connect(server)
    first = await signed_up(client)
    second = session_of(await client.auth.refresh_session(first.refresh_token))
    third = session_of(await client.auth.refresh_session(second.refresh_token))
    again = session_of(await client.auth.refresh_session(first.refresh_token))
    assert again.refresh_token == third.refresh_token


async def test_old_refresh_token_ends_the_session_for_thief_and_owner(
    server: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    first = await signed_up(client)
    second = session_of(await client.auth.refresh_session(first.refresh_token))
    auth_database.execute(
        "update auth.refresh_tokens set revoked_at = revoked_at - interval '11 seconds'"
        " where session_id = %s",
        [claims_of(first.access_token)["session_id"]],
    )
    stolen = client.auth.refresh_session(first.refresh_token)
    assert await refusal(stolen) == (400, "refresh_token_already_used")
    assert await refusal(client.auth.get_user(second.access_token)) == (403, "session_not_found")
    owners = client.auth.refresh_session(second.refresh_token)
    assert await refusal(owners) == (400, "refresh_token_not_found")


async def test_unknown_refresh_token_is_refused(server: str, connect: Connect) -> None:
    pending = connect(server).auth.refresh_session("nothing")
    assert await refusal(pending) == (400, "refresh_token_not_found")


@pytest.mark.parametrize(
    ("scope", "this_ends", "other_ends"),
    [("global", True, True), ("local", True, False), ("others", False, True)],
)
async def test_sign_out_ends_the_sessions_of_its_scope(
    server: str, connect: Connect, scope: Any, this_ends: bool, other_ends: bool
) -> None:
    client, email = connect(server), new_email()
    other = await signed_up(client, email)
    this = session_of(await sign_in(client, email))
    stranger = await signed_up(connect(server))
    await client.auth.sign_out({"scope": scope})

    for session, ended in ((this, this_ends), (other, other_ends), (stranger, False)):
        pending = connect(server).auth.get_user(session.access_token)
        renewal = connect(server).auth.refresh_session(session.refresh_token)
        if ended:
            assert await refusal(pending) == (403, "session_not_found")
            assert await refusal(renewal) == (400, "refresh_token_not_found")
        else:
            assert await pending
            assert session_of(await renewal)


async def test_sessions_survive_a_restart_and_end_with_their_time(
    auth_database_url: str, connect: Connect, tmp_path: Path
) -> None:
    variables = variables_for(auth_database_url, AUTH_JWT_TTL="6")
    url = variables["AUTH_PUBLIC_URL"]
    with serving(variables, tmp_path / "log"):
        session = await signed_up(connect(url))
        assert session.expires_in == 6
    with serving(variables, tmp_path / "log"):
        assert await connect(url).auth.get_user(session.access_token)
        await asyncio.sleep(max(0.0, (session.expires_at or 0) - time.time() + 0.3))
        expired = connect(url).auth.get_user(session.access_token)
        assert await refusal(expired) == (403, "bad_jwt")
        assert session_of(await connect(url).auth.refresh_session(session.refresh_token))


# Changing an account


async def test_own_metadata_is_merged_and_app_metadata_untouched(
    server: str, connect: Connect, http: httpx.AsyncClient
) -> None:
    client = connect(server)
    session = await signed_up(client)
    await client.auth.update_user({"data": {"color": "red", "size": 3}})
    changed = await client.auth.update_user({"data": {"color": None}})
    assert changed.user.user_metadata["size"] == 3
    assert "color" not in changed.user.user_metadata
    bearer = {"authorization": f"Bearer {session.access_token}"}
    forged = {"app_metadata": {"role": "admin"}, "role": "service_role", "email_confirm": True}
    answer = await http.put("/user", json=forged, headers=bearer)
    assert answer.json()["app_metadata"] == session.user.app_metadata
    assert answer.json()["role"] == "authenticated"


async def test_new_password_works_and_ends_other_sessions(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    other = await signed_up(client, email)
    await sign_in(client, email)
    assert await refusal(client.auth.update_user({"password": PASSWORD})) == (422, "same_password")
    with pytest.raises(AuthWeakPasswordError):
        await client.auth.update_user({"password": "short"})
    await client.auth.update_user({"password": "battery staple"})
    assert await client.auth.get_user()
    ended = client.auth.get_user(other.access_token)
    assert await refusal(ended) == (403, "session_not_found")
    assert await refusal(sign_in(client, email)) == (400, "invalid_credentials")
    assert (await sign_in(client, email, "battery staple")).user


async def test_address_of_another_cannot_be_taken(server: str, connect: Connect) -> None:
    client, mine, other = connect(server), new_email(), new_email()
    await signed_up(connect(server), other)
    await signed_up(client, mine)
    taken = client.auth.update_user({"email": other.upper()})
    assert await refusal(taken) == (422, "email_exists")
    fresh = new_email()
    assert (await client.auth.update_user({"email": fresh})).user.email == fresh
    assert (await sign_in(client, fresh)).user
    assert await refusal(sign_in(client, mine)) == (400, "invalid_credentials")

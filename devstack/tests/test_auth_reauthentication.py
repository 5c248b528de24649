"""A new password from an older session: only with a code that was sent to the account's address."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from supabase import AsyncClient
from supabase_auth.errors import AuthWeakPasswordError

from devstack.tests.auth_client import (
    PASSWORD,
    Connect,
    last_mail,
    new_email,
    refusal,
    serving,
    sign_in,
    signed_up,
    variables_for,
)

NEW_PASSWORD = "battery staple"


@pytest.fixture(scope="module")
def secure(auth_database_url: str, auth_log: Path) -> Iterator[str]:
    variables = variables_for(
        auth_database_url,
        AUTH_SECURE_PASSWORD_CHANGE="true",
        AUTH_MAIL_INTERVAL="0",
        AUTH_PASSWORD_MINIMUM="6",
    )
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


async def with_older_session(
    url: str, connect: Connect, database: psycopg.Connection[Any]
) -> tuple[AsyncClient, str]:
    client, email = connect(url), new_email()
    session = await signed_up(client, email)
    database.execute(
        "update auth.sessions set created_at = created_at - interval '25 hours' where user_id = %s",
        [session.user.id],
    )
    return client, email


async def code_for(url: str, client: AsyncClient, email: str) -> str:
    await client.auth.reauthenticate()
    mail = await last_mail(url, email)
    assert (mail["type"], mail["link"], mail["token_hash"]) == ("reauthentication", "", "")
    assert mail["code"] in mail["body"]
    return mail["code"]


async def test_older_session_needs_the_code_once(
    secure: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = await with_older_session(secure, connect, auth_database)
    without = client.auth.update_user({"password": NEW_PASSWORD})
    assert await refusal(without) == (400, "reauthentication_needed")
    code = await code_for(secure, client, email)
    wrong = "111111" if code == "000000" else "000000"
    guessed = client.auth.update_user({"password": NEW_PASSWORD, "nonce": wrong})
    assert await refusal(guessed) == (422, "reauthentication_not_valid")
    await client.auth.update_user({"password": NEW_PASSWORD, "nonce": code})
    assert (await sign_in(connect(secure), email, NEW_PASSWORD)).user
    again = client.auth.update_user({"password": PASSWORD, "nonce": code})
    assert await refusal(again) == (422, "reauthentication_not_valid")


async def test_code_is_used_up_by_wrong_guesses(
    secure: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = await with_older_session(secure, connect, auth_database)
    code = await code_for(secure, client, email)
    wrong = "111111" if code == "000000" else "000000"
    for nonce in (*[wrong] * 5, code):
        guessed = client.auth.update_user({"password": NEW_PASSWORD, "nonce": nonce})
        assert await refusal(guessed) == (422, "reauthentication_not_valid")


async def test_code_opens_no_session_and_tells_no_password(
    secure: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = await with_older_session(secure, connect, auth_database)
    guess = client.auth.update_user({"password": PASSWORD, "nonce": "000000"})
    assert await refusal(guess) == (422, "reauthentication_not_valid")
    code = await code_for(secure, client, email)
    for kind in ("email", "recovery", "signup"):
        verified = connect(secure).auth.verify_otp({"email": email, "token": code, "type": kind})  # type: ignore[typeddict-item, misc, arg-type]
        assert await refusal(verified) == (403, "otp_expired")
    same = client.auth.update_user({"password": PASSWORD, "nonce": code})
    assert await refusal(same) == (422, "same_password")


async def test_recent_session_needs_no_code(secure: str, connect: Connect) -> None:
    client, email = connect(secure), new_email()
    await signed_up(client, email)
    await client.auth.update_user({"password": "123e5a"})
    assert (await sign_in(client, email, "123e5a")).user
    with pytest.raises(AuthWeakPasswordError):
        await client.auth.update_user({"password": "123e5"})


async def test_codes_are_rationed(server: str, connect: Connect) -> None:
    client = connect(server)
    await signed_up(client)
    await client.auth.reauthenticate()
    assert await refusal(client.auth.reauthenticate()) == (429, "over_email_send_rate_limit")

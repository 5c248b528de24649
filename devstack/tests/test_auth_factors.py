"""A second factor: what an authenticator app shows lifts a session, and guards what matters."""

import time
from typing import Any
from xml.etree import ElementTree

import psycopg
from pyotp.totp import TOTP
from supabase import AsyncClient
from supabase_auth.types import AuthMFAEnrollResponse

from devstack.tests.auth_client import (
    PASSWORD,
    SECRET,
    Connect,
    claims_of,
    new_email,
    refusal,
    session_of,
    sign_in,
    signed_up,
)


def code_of(enrolled: AuthMFAEnrollResponse) -> str:
    assert enrolled.totp
    return TOTP(enrolled.totp.secret).now()


def wrong_code_of(enrolled: AuthMFAEnrollResponse) -> str:
    assert enrolled.totp
    app, now = TOTP(enrolled.totp.secret), int(time.time())
    right = {app.at(now, counter_offset=step) for step in range(-2, 4)}
    return next(code for code in map("{:06d}".format, range(10)) if code not in right)


async def enroll(client: AsyncClient, name: str = "phone") -> AuthMFAEnrollResponse:
    return await client.auth.mfa.enroll(
        {"factor_type": "totp", "friendly_name": name, "issuer": "Ada & Co"}
    )


async def with_factor(url: str, connect: Connect) -> tuple[AsyncClient, str, AuthMFAEnrollResponse]:
    client, email = connect(url), new_email()
    await signed_up(client, email)
    enrolled = await enroll(client)
    await client.auth.mfa.challenge_and_verify(
        {"factor_id": enrolled.id, "code": code_of(enrolled)}
    )
    return client, email, enrolled


async def levels(client: AsyncClient) -> tuple[str | None, str | None]:
    level = await client.auth.mfa.get_authenticator_assurance_level()
    return level.current_level, level.next_level


async def test_right_code_lifts_this_session_and_ends_the_others(
    server: str, connect: Connect
) -> None:
    client, other, email = connect(server), connect(server), new_email()
    before = await signed_up(client, email)
    await sign_in(other, email)
    enrolled = await enroll(client)
    assert enrolled.totp
    assert "Ada%20%26%20Co:" in enrolled.totp.uri
    # Shown as a data URL by the client: a whole picture, in which nothing ends the URL.
    image = enrolled.totp.qr_code.partition(",")[2]
    assert not set('#"') & set(image)
    assert ElementTree.fromstring(image).tag.endswith("svg")
    assert await levels(client) == ("aal1", "aal1")
    listed = await client.auth.mfa.list_factors()
    assert [(factor.id, factor.status) for factor in listed.all] == [(enrolled.id, "unverified")]

    lifted = await client.auth.mfa.challenge_and_verify(
        {"factor_id": enrolled.id, "code": code_of(enrolled)}
    )
    claims = claims_of(lifted.access_token)
    assert (claims["aal"], [entry["method"] for entry in claims["amr"]]) == (
        "aal2",
        ["totp", "password"],
    )
    assert claims["session_id"] == claims_of(before.access_token)["session_id"]
    assert [factor.status for factor in lifted.user.factors or []] == ["verified"]
    assert await levels(client) == ("aal2", "aal2")
    renewed = session_of(await client.auth.refresh_session())
    assert claims_of(renewed.access_token)["aal"] == "aal2"
    assert await refusal(other.auth.refresh_session()) == (400, "refresh_token_not_found")
    old = connect(server).auth.refresh_session(before.refresh_token)
    assert await refusal(old) == (400, "refresh_token_already_used")


async def test_without_the_code_only_harmless_changes_are_allowed(
    server: str, connect: Connect
) -> None:
    _, email, enrolled = await with_factor(server, connect)
    client = connect(server)
    await sign_in(client, email)
    assert await levels(client) == ("aal1", "aal2")
    await client.auth.update_user({"data": {"color": "red"}})
    for change in ({"password": "battery staple"}, {"email": new_email()}):
        assert await refusal(client.auth.update_user(change)) == (401, "insufficient_aal")  # type: ignore[arg-type]
    assert await refusal(enroll(client, "tablet")) == (403, "insufficient_aal")
    removal = client.auth.mfa.unenroll({"factor_id": enrolled.id})
    assert await refusal(removal) == (422, "insufficient_aal")

    await client.auth.mfa.challenge_and_verify(
        {"factor_id": enrolled.id, "code": code_of(enrolled)}
    )
    await client.auth.update_user({"password": "battery staple"})
    assert (await client.auth.mfa.unenroll({"factor_id": enrolled.id})).id == enrolled.id
    renewed = session_of(await client.auth.refresh_session())
    claims = claims_of(renewed.access_token)
    assert (claims["aal"], [entry["method"] for entry in claims["amr"]]) == ("aal1", ["password"])
    assert (await client.auth.mfa.list_factors()).all == []


async def test_only_the_right_code_for_a_fresh_challenge_counts(
    server: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    await signed_up(client)
    enrolled = await enroll(client)
    challenge = await client.auth.mfa.challenge({"factor_id": enrolled.id})
    assert 0 < challenge.expires_at - time.time() <= 301

    async def answer(code: str, factor: str = enrolled.id) -> tuple[int, str | None]:
        return await refusal(
            client.auth.mfa.verify(
                {"factor_id": factor, "challenge_id": challenge.id, "code": code}
            )
        )

    assert await answer(wrong_code_of(enrolled)) == (422, "mfa_verification_failed")
    assert await answer("") == (400, "validation_failed")
    assert await answer(code_of(enrolled), "x") == (404, "validation_failed")
    another = await enroll(client, "tablet")
    assert await answer(code_of(another), another.id) == (422, "mfa_factor_not_found")
    auth_database.execute(
        "update auth.mfa_challenges set created_at = created_at - interval '5 minutes'"
        " where id = %s",
        [challenge.id],
    )
    assert await answer(code_of(enrolled)) == (422, "mfa_challenge_expired")
    assert await levels(client) == ("aal1", "aal1")


async def test_factor_of_another_person_is_not_found(server: str, connect: Connect) -> None:
    _, _, enrolled = await with_factor(server, connect)
    stranger = connect(server)
    await signed_up(stranger)
    for pending in (
        stranger.auth.mfa.challenge({"factor_id": enrolled.id}),
        stranger.auth.mfa.unenroll({"factor_id": enrolled.id}),
    ):
        assert await refusal(pending) == (404, "mfa_factor_not_found")


async def test_names_kinds_and_number_of_factors_are_checked(
    server: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    user = (await signed_up(client)).user
    first = await enroll(client)
    assert await refusal(enroll(client)) == (422, "mfa_factor_name_conflict")
    phone = client.auth.mfa.enroll({"factor_type": "phone", "phone": "+15555550100"})
    assert await refusal(phone) == (422, "mfa_phone_enroll_not_enabled")
    long = client.auth.mfa.enroll({"factor_type": "totp", "issuer": "x" * 4000})
    assert await refusal(long) == (400, "validation_failed")
    for number in range(9):
        await enroll(client, f"app {number}")
    assert await refusal(enroll(client, "eleventh")) == (422, "too_many_enrolled_mfa_factors")
    # A factor that was never confirmed makes room.
    auth_database.execute(
        "update auth.mfa_factors set created_at = created_at - interval '6 minutes'"
        " where user_id = %s",
        [user.id],
    )
    again = await enroll(client)
    assert again.id != first.id
    assert [factor.id for factor in (await client.auth.mfa.list_factors()).all] == [again.id]


async def test_admin_removes_the_factor_of_a_lost_app(server: str, connect: Connect) -> None:
    client, email, enrolled = await with_factor(server, connect)
    admin = connect(server, SECRET).auth.admin
    user_id = session_of(await client.auth.refresh_session()).user.id
    (factor,) = await admin.mfa.list_factors({"user_id": user_id})
    assert (factor.id, factor.friendly_name, factor.factor_type, factor.status) == (
        *(enrolled.id, "phone", "totp", "verified"),
    )
    assert (await admin.mfa.delete_factor({"id": factor.id, "user_id": user_id})).id == factor.id
    assert await admin.mfa.list_factors({"user_id": user_id}) == []
    renewed = session_of(await client.auth.refresh_session())
    assert claims_of(renewed.access_token)["aal"] == "aal1"
    gone = admin.mfa.delete_factor({"id": factor.id, "user_id": user_id})
    assert await refusal(gone) == (404, "mfa_factor_not_found")
    assert (await sign_in(connect(server), email, PASSWORD)).user

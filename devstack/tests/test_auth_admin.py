"""What the secret key may do on the embedded auth server."""

from uuid import uuid4

import httpx
import pytest

from devstack.tests.auth_client import (
    PASSWORD,
    PUBLISHABLE,
    SECRET,
    VERSION,
    Connect,
    claims_of,
    new_email,
    refusal,
    session_of,
    sign_in,
    signed_up,
)


async def test_only_the_secret_key_administers(
    http: httpx.AsyncClient, server: str, connect: Connect
) -> None:
    session = await signed_up(connect(server))
    for bearer, status, code in (
        (None, 401, "no_authorization"),
        (PUBLISHABLE, 403, "not_admin"),
        (session.access_token, 403, "not_admin"),
        ("x.y.z", 403, "bad_jwt"),
    ):
        headers = VERSION | ({"authorization": f"Bearer {bearer}"} if bearer else {})
        for method, path in (
            ("GET", "/admin/users"),
            ("POST", "/admin/users"),
            ("GET", f"/admin/users/{session.user.id}"),
            ("PUT", f"/admin/users/{session.user.id}"),
            ("DELETE", f"/admin/users/{session.user.id}"),
            ("POST", "/admin/generate_link"),
            ("POST", "/invite"),
        ):
            response = await http.request(method, path, headers=headers)
            assert (response.status_code, response.json()["code"]) == (status, code)


async def test_admin_creates_finds_and_lists_users(server: str, connect: Connect) -> None:
    admin, email = connect(server, SECRET).auth.admin, new_email()
    created = await admin.create_user(
        {
            "email": email,
            "password": PASSWORD,
            "email_confirm": True,
            "app_metadata": {"role": "admin"},
            "user_metadata": {"full_name": "Ada"},
        }
    )
    assert created.user.app_metadata["role"] == "admin"
    assert (await admin.get_user_by_id(created.user.id)).user == created.user
    listed = await admin.list_users(page=1, per_page=2)
    assert listed[0].id == created.user.id
    assert len(listed) == 2
    assert created.user.id not in {user.id for user in await admin.list_users(2, 2)}
    assert (await sign_in(connect(server), email)).user
    taken = admin.create_user({"email": email, "password": PASSWORD})
    assert await refusal(taken) == (422, "email_exists")
    assert await refusal(admin.get_user_by_id(str(uuid4()))) == (404, "user_not_found")


async def test_metadata_of_a_created_user_is_what_was_given_until_confirmed(
    server: str, connect: Connect
) -> None:
    admin, given = (
        connect(server, SECRET).auth.admin,
        {"profile_image": "https://example.com/a.png"},
    )
    created = await admin.create_user(
        {"email": new_email(), "password": PASSWORD, "user_metadata": given}
    )
    assert created.user.user_metadata == given
    color = {"favorite_color": "yellow"}
    changed = await admin.update_user_by_id(created.user.id, {"user_metadata": color})
    assert changed.user.user_metadata == given | color
    confirmed = await admin.update_user_by_id(created.user.id, {"email_confirm": True})
    assert confirmed.user.user_metadata == given | color | {"email_verified": True}
    at_once = await admin.create_user(
        {"email": new_email(), "password": PASSWORD, "email_confirm": True}
    )
    assert at_once.user.user_metadata == {"email_verified": True}


async def test_unconfirmed_user_cannot_sign_in_until_confirmed(
    server: str, connect: Connect
) -> None:
    admin, email = connect(server, SECRET).auth.admin, new_email()
    user = (await admin.create_user({"email": email, "password": PASSWORD})).user
    assert await refusal(sign_in(connect(server), email)) == (400, "email_not_confirmed")
    wrong = sign_in(connect(server), email, "wrong password")
    assert await refusal(wrong) == (400, "invalid_credentials")
    await admin.update_user_by_id(user.id, {"email_confirm": True})
    assert (await sign_in(connect(server), email)).user


async def test_ban_shuts_every_door_and_lifting_it_opens_them(
    server: str, connect: Connect
) -> None:
    client, email = connect(server), new_email()
    admin = connect(server, SECRET).auth.admin
    session = await signed_up(client, email)
    banned = await admin.update_user_by_id(session.user.id, {"ban_duration": "24h"})
    assert banned.user.banned_until
    assert await refusal(sign_in(client, email)) == (400, "user_banned")
    assert await refusal(client.auth.get_user(session.access_token)) == (403, "user_banned")
    renewal = client.auth.refresh_session(session.refresh_token)
    assert await refusal(renewal) == (400, "user_banned")
    await admin.update_user_by_id(session.user.id, {"ban_duration": "none"})
    assert await client.auth.get_user(session.access_token)
    assert session_of(await client.auth.refresh_session(session.refresh_token))


@pytest.mark.parametrize("duration", ["1 day", "-1h", "24", "h", "9" * 400 + "h", "99999999999h"])
async def test_senseless_ban_is_refused(server: str, connect: Connect, duration: str) -> None:
    user = (await signed_up(connect(server))).user
    pending = connect(server, SECRET).auth.admin.update_user_by_id(
        user.id, {"ban_duration": duration}
    )
    assert await refusal(pending) == (400, "validation_failed")


async def test_admin_changes_reach_the_next_token(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    session = await signed_up(client, email)
    await connect(server, SECRET).auth.admin.update_user_by_id(
        session.user.id, {"app_metadata": {"plan": "pro"}}
    )
    renewed = session_of(await client.auth.refresh_session())
    assert claims_of(renewed.access_token)["app_metadata"] == {
        "plan": "pro",
        "provider": "email",
        "providers": ["email"],
    }


async def test_admins_new_password_signs_the_user_out(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    session = await signed_up(client, email)
    await connect(server, SECRET).auth.admin.update_user_by_id(
        session.user.id, {"password": "battery staple"}
    )
    ended = client.auth.get_user(session.access_token)
    assert await refusal(ended) == (403, "session_not_found")
    assert (await sign_in(client, email, "battery staple")).user


@pytest.mark.parametrize("softly", [False, True])
async def test_deleted_user_is_gone_and_the_address_free(
    server: str, connect: Connect, softly: bool
) -> None:
    client, email = connect(server), new_email()
    admin = connect(server, SECRET).auth.admin
    session = await signed_up(client, email)
    await admin.delete_user(session.user.id, should_soft_delete=softly)
    gone = client.auth.get_user(session.access_token)
    assert await refusal(gone) == (403, "user_not_found")
    assert await refusal(sign_in(client, email)) == (400, "invalid_credentials")
    again = await signed_up(client, email)
    assert again.user.id != session.user.id

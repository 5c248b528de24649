"""What the embedded auth server does by mail: links, codes, changes of address, the mailbox."""

import asyncio
import re
import time
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from supabase import AsyncClient
from supabase_auth.errors import AuthApiError
from supabase_auth.types import User

from devstack.tests.auth_client import (
    PASSWORD,
    PUBLISHABLE,
    SECRET,
    SITE,
    Connect,
    claims_of,
    last_mail,
    new_email,
    refusal,
    serving,
    session_of,
    sign_in,
    signed_up,
    variables_for,
)


async def test_confirmation_by_link_signs_in_once(careful: str, connect: Connect) -> None:
    client, email = connect(careful, flow_type="implicit"), new_email()
    response = await client.auth.sign_up({"email": email, "password": PASSWORD})
    assert response.session is None
    assert response.user
    assert response.user.email_confirmed_at is None
    assert await refusal(sign_in(client, email)) == (400, "email_not_confirmed")
    mail = await last_mail(careful, email)
    assert mail["type"] == "signup"
    async with httpx.AsyncClient() as browser:
        followed = await browser.get(mail["link"])
        again = await browser.get(mail["link"])
    assert followed.status_code == again.status_code == 303
    fragment = parse_qs(urlsplit(followed.headers["location"]).fragment)
    assert followed.headers["location"].startswith(SITE)
    user = await client.auth.get_user(fragment["access_token"][0])
    assert user
    assert user.user.email_confirmed_at
    assert "error_code=otp_expired" in again.headers["location"]
    assert "access_token" not in again.headers["location"]
    assert (await sign_in(client, email)).session


async def test_confirmation_link_of_a_pkce_sign_up_needs_the_verifier(
    careful: str, connect: Connect
) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_up({"email": email, "password": PASSWORD})
    mail = await last_mail(careful, email)
    async with httpx.AsyncClient() as browser:
        followed = await browser.get(mail["link"])
    location = urlsplit(followed.headers["location"])
    assert "access_token" not in followed.headers["location"]
    code = parse_qs(location.query)["code"][0]
    stranger = connect(careful)
    stolen = stranger.auth.exchange_code_for_session({"auth_code": code, "code_verifier": "x" * 43})
    assert await refusal(stolen) == (400, "bad_code_verifier")
    session = session_of(await client.auth.exchange_code_for_session({"auth_code": code}))
    assert session.user.email == email
    twice = client.auth.exchange_code_for_session({"auth_code": code, "code_verifier": "x" * 43})
    assert await refusal(twice) == (404, "flow_state_not_found")


async def test_signing_up_with_a_confirmed_address_tells_nothing(
    careful: str, connect: Connect
) -> None:
    client, email = connect(careful), new_email()
    fresh = await client.auth.sign_up({"email": email, "password": PASSWORD})
    mail = await last_mail(careful, email)
    await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "email"})
    again = await connect(careful).auth.sign_up({"email": email, "password": "battery staple"})
    assert fresh.user
    assert again.user
    assert again.session is None
    assert again.user.identities == []
    assert again.user.id != fresh.user.id
    differing = {"identities", "id", "created_at", "updated_at", "confirmation_sent_at"}

    def rest(user: User) -> set[str]:
        return {name for name, value in user if value is not None and name not in differing}

    assert rest(fresh.user) == rest(again.user)
    assert (await last_mail(careful, email))["id"] == mail["id"]
    assert await refusal(sign_in(client, email, "battery staple")) == (400, "invalid_credentials")


async def test_recovery_leads_to_a_new_password(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    await connect(careful, SECRET).auth.admin.create_user(
        {"email": email, "password": PASSWORD, "email_confirm": True}
    )
    await client.auth.reset_password_for_email(email)
    mail = await last_mail(careful, email)
    response = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "recovery"})
    assert claims_of(session_of(response).access_token)["amr"][0]["method"] == "otp"
    await client.auth.update_user({"password": "battery staple"})
    assert (await sign_in(client, email, "battery staple")).user
    again = client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "recovery"})
    assert await refusal(again) == (403, "otp_expired")


async def test_recovery_of_an_unknown_address_answers_the_same(careful: str) -> None:
    async with httpx.AsyncClient(headers={"apikey": PUBLISHABLE}) as plain:
        response = await plain.post(f"{careful}/auth/v1/recover", json={"email": new_email()})
    assert (response.status_code, response.json()) == (200, {})


async def test_code_signs_in_and_makes_the_account(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_in_with_otp({"email": email})
    mail = await last_mail(careful, email)
    assert re.fullmatch(r"\d{6}", mail["code"])
    response = await client.auth.verify_otp(
        {"email": email, "token": mail["code"], "type": "email"}
    )
    assert session_of(response).user.email == email
    missing = client.auth.sign_in_with_otp(
        {"email": new_email(), "options": {"should_create_user": False}}
    )
    assert await refusal(missing) == (422, "otp_disabled")


async def test_guessing_a_code_uses_it_up(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_in_with_otp({"email": email})
    code = (await last_mail(careful, email))["code"]
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for _ in range(5):
        guess = client.auth.verify_otp({"email": email, "token": wrong, "type": "email"})
        assert await refusal(guess) == (403, "otp_expired")
    right = client.auth.verify_otp({"email": email, "token": code, "type": "email"})
    assert await refusal(right) == (403, "otp_expired")


async def test_mail_older_than_an_hour_is_worthless(
    careful: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_in_with_otp({"email": email})
    mail = await last_mail(careful, email)
    auth_database.execute(
        "update auth.one_time_tokens set created_at = created_at - interval '61 minutes'"
        " where relates_to = %s",
        [email],
    )
    assert mail["type"] == "signup"
    by_link = client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "signup"})
    assert await refusal(by_link) == (403, "otp_expired")
    by_code = client.auth.verify_otp({"email": email, "token": mail["code"], "type": "email"})
    assert await refusal(by_code) == (403, "otp_expired")


async def changing(url: str, connect: Connect) -> tuple[AsyncClient, str, str]:
    """Someone signed in who asked for another address; the old one, and the new one."""
    client, old, new = connect(url), new_email(), new_email()
    await connect(url, SECRET).auth.admin.create_user(
        {"email": old, "password": PASSWORD, "email_confirm": True}
    )
    await sign_in(client, old)
    pending = await client.auth.update_user({"email": new})
    assert (pending.user.email, pending.user.new_email) == (old, new)
    return client, old, new


@pytest.mark.parametrize("first", ["old", "new"])
async def test_new_address_counts_once_both_mailboxes_confirmed(
    careful: str, connect: Connect, first: str
) -> None:
    client, old, new = await changing(careful, connect)
    one, other = (old, new) if first == "old" else (new, old)
    mail = await last_mail(careful, one)
    link: Any = {"token_hash": mail["token_hash"], "type": "email_change"}
    half = await client.auth.verify_otp(link)
    assert (half.user, half.session) == (None, None)
    assert await refusal(client.auth.verify_otp(link)) == (403, "otp_expired")
    assert (await sign_in(connect(careful), old)).user
    code = (await last_mail(careful, other))["code"]
    done = await client.auth.verify_otp({"email": other, "token": code, "type": "email_change"})
    user = session_of(done).user
    assert (user.email, user.new_email) == (new, None)
    assert [identity.identity_data["email"] for identity in user.identities or []] == [new]
    assert await refusal(sign_in(client, old)) == (400, "invalid_credentials")
    assert (await sign_in(client, new)).user


async def test_first_link_of_an_address_change_says_that_the_other_is_missing(
    careful: str, connect: Connect
) -> None:
    client, old, new = await changing(careful, connect)
    message = "Confirmation link accepted. Please proceed to confirm link sent to the other email"
    async with httpx.AsyncClient() as browser:
        first = await browser.get((await last_mail(careful, old))["link"])
        second = await browser.get((await last_mail(careful, new))["link"])
    landed = urlsplit(first.headers["location"])
    assert parse_qs(landed.query) == parse_qs(landed.fragment) == {"message": [message]}
    code = parse_qs(urlsplit(second.headers["location"]).query)["code"][0]
    session = session_of(await client.auth.exchange_code_for_session({"auth_code": code}))
    assert session.user.email == new


async def test_mail_for_another_new_address_counts_no_more(careful: str, connect: Connect) -> None:
    client, old, first = await changing(careful, connect)
    outdated = [(await last_mail(careful, address))["token_hash"] for address in (old, first)]
    second = new_email()
    await client.auth.update_user({"email": second})
    for token_hash in outdated:
        stale = client.auth.verify_otp({"token_hash": token_hash, "type": "email_change"})
        assert await refusal(stale) == (403, "otp_expired")
    await client.auth.resend({"type": "email_change", "email": old})
    for address in (second, old):
        token_hash = (await last_mail(careful, address))["token_hash"]
        done = await client.auth.verify_otp({"token_hash": token_hash, "type": "email_change"})
    assert session_of(done).user.email == second


async def test_address_taken_meanwhile_is_not_changed_to(careful: str, connect: Connect) -> None:
    client, old, new = await changing(careful, connect)
    half = (await last_mail(careful, old))["token_hash"]
    await client.auth.verify_otp({"token_hash": half, "type": "email_change"})
    await connect(careful, SECRET).auth.admin.create_user({"email": new, "email_confirm": True})
    rest = (await last_mail(careful, new))["token_hash"]
    late = client.auth.verify_otp({"token_hash": rest, "type": "email_change"})
    assert await refusal(late) == (422, "email_exists")
    assert (await sign_in(client, old)).user


async def test_one_confirmation_is_enough_where_changes_are_not_secure(
    auth_database_url: str, connect: Connect, tmp_path: Path
) -> None:
    variables = variables_for(
        auth_database_url,
        AUTH_AUTOCONFIRM="false",
        AUTH_MAIL_INTERVAL="0",
        AUTH_SECURE_EMAIL_CHANGE="false",
    )
    url = variables["AUTH_PUBLIC_URL"]
    with serving(variables, tmp_path / "log"):
        client, old, new = await changing(url, connect)
        with pytest.raises(AssertionError, match="no mail"):
            await last_mail(url, old)
        mail = await last_mail(url, new)
        done = await client.auth.verify_otp(
            {"token_hash": mail["token_hash"], "type": "email_change"}
        )
        assert session_of(done).user.email == new
        current = connect(url, SECRET).auth.admin.generate_link(
            {"type": "email_change_current", "email": new, "new_email": new_email()}
        )
        assert await refusal(current) == (400, "validation_failed")


async def test_mails_are_rationed(server: str, connect: Connect) -> None:
    client, email = connect(server), new_email()
    await signed_up(client, email)
    await client.auth.reset_password_for_email(email)
    again = client.auth.reset_password_for_email(email)
    assert await refusal(again) == (429, "over_email_send_rate_limit")


async def test_resend_replaces_the_confirmation(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_up({"email": email, "password": PASSWORD})
    first = await last_mail(careful, email)
    await client.auth.resend({"type": "signup", "email": email})
    second = await last_mail(careful, email)
    assert second["id"] != first["id"]
    old = client.auth.verify_otp({"token_hash": first["token_hash"], "type": "signup"})
    assert await refusal(old) == (403, "otp_expired")
    assert (
        await client.auth.verify_otp({"token_hash": second["token_hash"], "type": "signup"})
    ).session


@pytest.mark.parametrize(
    ("wanted", "lands"),
    [
        (f"{SITE}/reset?x=1", f"{SITE}/reset?x=1"),
        ("http://127.0.0.1:4000/there", "http://127.0.0.1:4000/there"),
        ("https://evil.example/", SITE),
        ("//evil.example/", SITE),
        ("http://127.0.0.1:3000;form-action/", SITE),
        ("http://127.0.0.1/\r\nlocation:x", SITE),
        ("http://127.0.0.1@evil.example/", SITE),
        ("http://evil.example\\@127.0.0.1/", SITE),
        ("javascript:alert(1)", SITE),
        ("http://[", SITE),
    ],
)
async def test_link_leads_only_to_the_own_site(
    careful: str, connect: Connect, wanted: str, lands: str
) -> None:
    client, email = connect(careful, flow_type="implicit"), new_email()
    await client.auth.sign_in_with_otp({"email": email, "options": {"email_redirect_to": wanted}})
    mail = await last_mail(careful, email)
    async with httpx.AsyncClient() as browser:
        followed = await browser.get(mail["link"])
        # An edited link leads nowhere.
        edited = await browser.get(f"{careful}/auth/v1/verify", params={"redirect_to": wanted})
    assert followed.headers["location"].startswith(lands + "#access_token=")
    assert edited.headers["location"].startswith(lands)


@pytest.mark.parametrize("kind", ["signup", "invite", "magiclink", "recovery"])
async def test_admins_link_signs_in_without_a_mail(
    careful: str, connect: Connect, kind: Any
) -> None:
    admin, email = connect(careful, SECRET).auth.admin, new_email()
    if kind == "recovery":
        unknown = admin.generate_link({"type": "recovery", "email": email})
        assert await refusal(unknown) == (404, "user_not_found")
        await admin.create_user({"email": email, "email_confirm": True})
    wanted: Any = {"type": kind, "email": email, "password": PASSWORD}
    made = await admin.generate_link(wanted)
    assert made.user.email == email
    assert made.properties.verification_type == kind
    async with httpx.AsyncClient() as browser:
        messages = (await browser.get(f"{careful}/mailbox.json", params={"to": email})).json()
        assert messages == {"messages": []}
        followed = await browser.get(made.properties.action_link)
    fragment = parse_qs(urlsplit(followed.headers["location"]).fragment)
    user = await connect(careful).auth.get_user(fragment["access_token"][0])
    assert user
    assert (user.user.email, bool(user.user.email_confirmed_at)) == (email, True)
    used = connect(careful).auth.verify_otp(
        {"token_hash": made.properties.hashed_token, "type": kind}
    )
    assert await refusal(used) == (403, "otp_expired")
    if kind in ("signup", "invite"):
        assert await refusal(admin.generate_link(wanted)) == (422, "email_exists")


async def test_admins_links_change_an_address_when_both_are_used(
    careful: str, connect: Connect
) -> None:
    admin, old, new = connect(careful, SECRET).auth.admin, new_email(), new_email()
    await admin.create_user({"email": old, "password": PASSWORD, "email_confirm": True})
    current, fresh = [
        await admin.generate_link({"type": end, "email": old, "new_email": new})
        for end in ("email_change_current", "email_change_new")
    ]
    client = connect(careful)
    half = await client.auth.verify_otp(
        {"email": old, "token": current.properties.email_otp, "type": "email_change"}
    )
    assert half.session is None
    done = await client.auth.verify_otp(
        {"email": new, "token": fresh.properties.email_otp, "type": "email_change"}
    )
    assert session_of(done).user.email == new
    taken = admin.generate_link({"type": "email_change_new", "email": new, "new_email": new})
    assert await refusal(taken) == (422, "email_exists")


async def test_invitation_is_accepted_once(careful: str, connect: Connect) -> None:
    admin, email = connect(careful, SECRET).auth.admin, new_email()
    invited = await admin.invite_user_by_email(email, {"data": {"team": "a"}})
    assert invited.user.invited_at
    mail = await last_mail(careful, email)
    client = connect(careful)
    accepted = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "invite"})
    assert session_of(accepted).user.user_metadata["team"] == "a"
    assert await refusal(admin.invite_user_by_email(email)) == (422, "email_exists")


async def test_simultaneous_requests_for_a_newcomer_make_one_account(
    careful: str, connect: Connect
) -> None:
    email = new_email()
    await asyncio.gather(
        *(connect(careful).auth.sign_in_with_otp({"email": email}) for _ in range(5))
    )
    code = (await last_mail(careful, email))["code"]
    response = await connect(careful).auth.verify_otp(
        {"email": email, "token": code, "type": "email"}
    )
    assert session_of(response).user.email == email
    invited = new_email()
    admin = connect(careful, SECRET).auth.admin
    outcomes = await asyncio.gather(
        *(admin.invite_user_by_email(invited) for _ in range(5)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, AuthApiError)]
    assert {error.code for error in refused} <= {"email_exists"}
    assert len(refused) < 5
    unknown = new_email()
    await asyncio.gather(
        *(connect(careful).auth.reset_password_for_email(unknown) for _ in range(5))
    )


async def test_magic_link_signs_a_known_person_in(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    await connect(careful, SECRET).auth.admin.create_user({"email": email, "email_confirm": True})
    await client.auth.sign_in_with_otp({"email": email})
    mail = await last_mail(careful, email)
    assert mail["type"] == "magiclink"
    response = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "magiclink"})
    assert session_of(response).user.email == email


async def test_newcomer_gets_a_magic_link_where_nothing_is_to_be_confirmed(
    server: str, connect: Connect
) -> None:
    client, email = connect(server), new_email()
    await client.auth.sign_in_with_otp({"email": email})
    mail = await last_mail(server, email)
    assert mail["type"] == "magiclink"
    response = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "magiclink"})
    assert session_of(response).user.email_confirmed_at


async def test_banned_person_gets_nowhere_by_mail(careful: str, connect: Connect) -> None:
    client, email = connect(careful), new_email()
    admin = connect(careful, SECRET).auth.admin
    user = (await admin.create_user({"email": email, "email_confirm": True})).user
    await client.auth.reset_password_for_email(email)
    await admin.update_user_by_id(user.id, {"ban_duration": "1h"})
    mail = await last_mail(careful, email)
    by_hash = client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "recovery"})
    assert await refusal(by_hash) == (403, "user_banned")
    async with httpx.AsyncClient() as browser:
        followed = await browser.get(mail["link"])
    assert "error_code=user_banned" in followed.headers["location"]


async def test_recovery_takes_as_long_for_nobody_as_for_someone(
    careful: str, connect: Connect
) -> None:
    known = new_email()
    await connect(careful, SECRET).auth.admin.create_user({"email": known, "email_confirm": True})

    async def quickest(*addresses: str) -> float:
        times: list[float] = []
        for address in addresses:
            started = time.perf_counter()
            await connect(careful).auth.reset_password_for_email(address)
            times.append(time.perf_counter() - started)
        return min(times)

    someone = await quickest(*[known] * 7)
    unknown = [new_email() for _ in range(7)]
    assert await quickest(*unknown) > someone * 0.5
    for address in unknown:
        with pytest.raises(AssertionError, match="no mail"):
            await last_mail(careful, address)


OWN_PAGE = (
    "{site_url}/confirm?token_hash={token_hash}&type={type}&redirectTo={redirect_path}&n={token}"
)


async def test_mails_lead_where_the_template_says(
    auth_database_url: str, connect: Connect, tmp_path: Path
) -> None:
    variables = variables_for(
        auth_database_url,
        AUTH_AUTOCONFIRM="false",
        AUTH_MAIL_INTERVAL="0",
        AUTH_MAIL_LINK=OWN_PAGE,
        AUTH_REDIRECT_URLS="https://app.example/**",
    )
    url = variables["AUTH_PUBLIC_URL"]
    with serving(variables, tmp_path / "log"):
        client, email = connect(url), new_email()
        await client.auth.sign_up({"email": email, "password": PASSWORD})
        for wanted, path in (
            (None, None),
            ("https://evil.example/x", None),
            (f"{SITE}/chat/5?a=b&c=d", "/chat/5?a=b&c=d"),
            ("https://app.example/deep/er", "/deep/er"),
        ):
            options: Any = {"email_redirect_to": wanted} if wanted else {}
            await client.auth.resend({"type": "signup", "email": email, "options": options})
            mail = await last_mail(url, email)
            link = urlsplit(mail["link"])
            assert link._replace(query="").geturl() == f"{SITE}/confirm"
            expected = {"token_hash": mail["token_hash"], "type": "signup", "n": mail["code"]}
            given = {name: values[0] for name, values in parse_qs(link.query).items()}
            assert given == expected | ({"redirectTo": path} if path else {})
            assert mail["link"] in mail["body"]
        response = await client.auth.verify_otp(
            {"token_hash": mail["token_hash"], "type": "signup"}
        )
        assert response.session


async def test_mailbox_page_shows_mail_as_text(
    careful: str, auth_database: psycopg.Connection[Any]
) -> None:
    evil = "<script>alert(1)</script>"
    row = auth_database.execute(
        "insert into auth.mailbox (recipient, kind, subject, body, code, token_hash, link)"
        " values (%(x)s, 'signup', %(x)s, %(x)s, %(x)s, 'h', %(x)s) returning id",
        {"x": evil + "\"'"},
    ).fetchone()
    assert row
    async with httpx.AsyncClient(base_url=careful) as plain:
        for path in ("/mailbox", f"/mailbox/{row[0]}"):
            page = await plain.get(path)
            assert page.status_code == 200
            assert "<script" not in page.text
            assert "&lt;script&gt;" in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert (await plain.get("/mailbox/999999")).status_code == 404
    auth_database.execute("delete from auth.mailbox where id = %s", [row[0]])


async def test_mailbox_is_newest_first_by_address_with_links_to_follow(
    careful: str, connect: Connect
) -> None:
    first, second = new_email(), new_email()
    for email in (first, second):
        await connect(careful).auth.sign_in_with_otp({"email": email})
    async with httpx.AsyncClient(base_url=careful) as plain:
        everything = (await plain.get("/mailbox")).text
        assert everything.index(second) < everything.index(first)
        narrowed = (await plain.get("/mailbox", params={"to": first.upper()})).text
        assert second not in narrowed
        mail = await last_mail(careful, first)
        assert f'href="{escape(mail["link"])}"' in narrowed
        assert mail["code"] in narrowed
        one = await plain.get(f"/mailbox/{mail['id']}")
        assert f'href="{escape(mail["link"])}"' in one.text
        assert "unsafe" not in one.headers["content-security-policy"]

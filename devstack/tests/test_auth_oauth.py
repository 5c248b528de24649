"""Signing in with a third party: from the site to the fake provider and back, with PKCE."""

import asyncio
import re
import threading
from collections.abc import Iterator
from html import unescape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from playwright.async_api import async_playwright
from supabase import AsyncClient

from devstack.chromium import chromium_path
from devstack.tests.auth_client import (
    PASSWORD,
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
    variables_for,
)

CALLBACK = f"{SITE}/auth/callback"
VERIFIER = "v" * 43


@pytest.fixture(scope="module")
def social(auth_database_url: str, auth_log: Path) -> Iterator[str]:
    """Two providers; addresses have to be confirmed."""
    variables = variables_for(
        auth_database_url,
        AUTH_AUTOCONFIRM="false",
        AUTH_MAIL_INTERVAL="0",
        AUTH_PROVIDERS="google, github",
    )
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


@pytest.fixture(scope="module")
def closed(auth_database_url: str, auth_log: Path) -> Iterator[str]:
    """One provider; nobody may make an account by themselves."""
    variables = variables_for(
        auth_database_url,
        AUTH_AUTOCONFIRM="false",
        AUTH_MAIL_INTERVAL="0",
        AUTH_PROVIDERS="google",
        AUTH_DISABLE_SIGNUP="true",
    )
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


@pytest.fixture
def site() -> Iterator[str]:
    """Some page on this machine that a browser can be led back to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(HTTPStatus.NO_CONTENT if "icon" in self.path else HTTPStatus.OK)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Not to the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def opened(
    browser: httpx.AsyncClient, client: AsyncClient, provider: Any = "google", to: str = CALLBACK
) -> tuple[str, dict[str, str]]:
    """The provider's page, reached as a browser does: where its form leads, and what it sends."""
    asked = await client.auth.sign_in_with_oauth(
        {"provider": provider, "options": {"redirect_to": to}}
    )
    led = await browser.get(asked.url)
    assert led.status_code == 303
    page = await browser.get(led.headers["location"])
    assert page.status_code == 200
    action = re.search(r'action="([^"]+)"', page.text)
    state = re.search(r'name="state" value="([^"]+)"', page.text)
    assert action
    assert state
    return str(page.url.join(action[1])), {"state": unescape(state[1])}


async def consented(
    client: AsyncClient,
    email: str,
    provider: Any = "google",
    *,
    to: str = CALLBACK,
    **more: str | None,
) -> dict[str, str]:
    """The query that the site receives after consent, or after what `more` says."""
    filled: dict[str, str | None] = {
        "email": email,
        "full_name": "Ada",
        "email_verified": "true",
        "decision": "allow",
        **more,
    }
    async with httpx.AsyncClient() as browser:
        address, form = await opened(browser, client, provider, to)
        form |= {name: value for name, value in filled.items() if value is not None}
        back = await browser.post(address, data=form)
    assert back.status_code == 303, back.text
    location = urlsplit(back.headers["location"])
    assert location._replace(query="", fragment="").geturl() == to.split("?", maxsplit=1)[0]
    return {name: values[0] for name, values in parse_qs(location.query).items()}


async def signed_in_with(client: AsyncClient, email: str, provider: Any = "google") -> Any:
    code = (await consented(client, email, provider))["code"]
    return session_of(await client.auth.exchange_code_for_session({"auth_code": code}))


async def test_consent_makes_an_account_of_that_provider(social: str, connect: Connect) -> None:
    client, email = connect(social), new_email()
    answered = await consented(client, email.upper(), to=f"{CALLBACK}?redirectTo=/chat")
    assert set(answered) == {"redirectTo", "code"}
    code = {"auth_code": answered["code"]}
    session = session_of(await client.auth.exchange_code_for_session(code))  # type: ignore[arg-type]
    user = session.user
    assert user.email == email
    assert user.email_confirmed_at
    assert user.app_metadata == {"provider": "google", "providers": ["google"]}
    assert user.user_metadata["full_name"] == "Ada"
    [identity] = user.identities or []
    assert identity.provider == "google"
    assert identity.id == identity.identity_data["sub"] != user.id
    assert identity.identity_data["email_verified"] is True
    claims = claims_of(session.access_token)
    assert claims["amr"][0]["method"] == "oauth"
    assert claims["app_metadata"]["provider"] == "google"
    again = await signed_in_with(connect(social), email)
    assert (again.user.id, len(again.user.identities)) == (user.id, 1)
    # There is no password to guess.
    assert await refusal(sign_in(client, email)) == (400, "invalid_credentials")


async def test_code_works_once_for_its_verifier_and_for_minutes(
    social: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = connect(social), new_email()
    code = (await consented(client, email))["code"]

    def exchanged(by: AsyncClient, **more: str) -> Any:
        return by.auth.exchange_code_for_session({"auth_code": code, **more})  # type: ignore[typeddict-item]

    stolen = exchanged(connect(social), code_verifier=VERIFIER)
    assert await refusal(stolen) == (400, "bad_code_verifier")
    assert session_of(await exchanged(client)).user.email == email
    assert await refusal(exchanged(client, code_verifier=VERIFIER)) == (404, "flow_state_not_found")
    code = (await consented(client, email))["code"]
    auth_database.execute(
        "update auth.flow_state set created_at = created_at - interval '6 minutes'"
        " where user_id = (select id from auth.users where email = %s)",
        [email],
    )
    assert await refusal(exchanged(client)) == (422, "flow_state_expired")


async def test_implicit_flow_brings_the_session_in_the_fragment(
    social: str, connect: Connect
) -> None:
    client, email = connect(social, flow_type="implicit"), new_email()
    async with httpx.AsyncClient() as browser:
        address, form = await opened(browser, client)
        form |= {"email": email, "email_verified": "true", "decision": "allow"}
        back = await browser.post(address, data=form)
    location = urlsplit(back.headers["location"])
    assert location.query == ""
    user = await client.auth.get_user(parse_qs(location.fragment)["access_token"][0])
    assert user
    assert user.user.email == email


async def test_cancelling_leads_back_with_the_refusal(social: str, connect: Connect) -> None:
    answered = await consented(connect(social), "", decision="deny", email_verified=None)
    assert answered == {
        "error": "access_denied",
        "error_description": "The user denied the request",
    }


async def test_verified_address_links_to_the_account_that_has_it(
    social: str, connect: Connect
) -> None:
    admin, email = connect(social, SECRET).auth.admin, new_email()
    made = await admin.create_user(
        {
            "email": email,
            "password": PASSWORD,
            "email_confirm": True,
            "app_metadata": {"plan": "pro"},
        }
    )
    user = (await signed_in_with(connect(social), email)).user
    assert user.id == made.user.id
    assert user.app_metadata == {
        "plan": "pro",
        "provider": "email",
        "providers": ["email", "google"],
    }
    assert {identity.provider for identity in user.identities} == {"email", "google"}
    user = (await signed_in_with(connect(social), email, "github")).user
    assert user.id == made.user.id
    assert user.app_metadata["providers"] == ["email", "google", "github"]
    # The password was confirmed by mail, so it stays.
    assert (await sign_in(connect(social), email)).user


async def test_password_set_before_the_address_was_confirmed_opens_no_door(
    social: str, connect: Connect
) -> None:
    squatter, email = connect(social), new_email()
    squatted = await squatter.auth.sign_up(
        {"email": email, "password": PASSWORD, "options": {"data": {"note": "mine"}}}
    )
    mail = await last_mail(social, email)
    user = (await signed_in_with(connect(social), email)).user
    assert squatted.user
    assert user.id == squatted.user.id
    assert [identity.provider for identity in user.identities] == ["google"]
    assert user.app_metadata == {"provider": "google", "providers": ["google"]}
    assert "note" not in user.user_metadata
    assert await refusal(sign_in(squatter, email)) == (400, "invalid_credentials")
    late = squatter.auth.verify_otp({"token_hash": mail["token_hash"], "type": "signup"})
    assert await refusal(late) == (403, "otp_expired")


async def test_address_the_provider_has_not_verified_links_to_nothing(
    social: str, connect: Connect
) -> None:
    email = new_email()
    await connect(social, SECRET).auth.admin.create_user(
        {"email": email, "password": PASSWORD, "email_confirm": True}
    )
    answered = await consented(connect(social), email, email_verified=None)
    assert answered["error"] == "access_denied"
    assert answered["error_code"] == "provider_email_needs_verification"
    user = session_of(await sign_in(connect(social), email)).user
    assert user.app_metadata["providers"] == ["email"]


async def test_unverified_newcomer_confirms_by_mail_first(social: str, connect: Connect) -> None:
    client, email = connect(social), new_email()
    answered = await consented(client, email, email_verified=None)
    assert answered["error_code"] == "provider_email_needs_verification"
    assert "confirmation email has been sent" in answered["error_description"]
    mail = await last_mail(social, email)
    confirmed = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "signup"})
    assert session_of(confirmed).user.app_metadata["provider"] == "google"
    again = await signed_in_with(client, email)
    assert again.user.id == session_of(confirmed).user.id


async def test_simultaneous_consents_make_one_account(social: str, connect: Connect) -> None:
    email = new_email()
    providers = ("google", "github", "google", "github", "google")
    sessions = await asyncio.gather(
        *(signed_in_with(connect(social), email, provider) for provider in providers)
    )
    assert len({session.user.id for session in sessions}) == 1
    last = await signed_in_with(connect(social), email)
    assert sorted(last.user.app_metadata["providers"]) == ["github", "google"]


async def test_banned_person_is_led_back_without_a_code(social: str, connect: Connect) -> None:
    client, email = connect(social), new_email()
    session = await signed_in_with(client, email)
    pending = (await consented(client, email))["code"]
    admin = connect(social, SECRET).auth.admin
    await admin.update_user_by_id(session.user.id, {"ban_duration": "1h"})
    answered = await consented(connect(social), email)
    assert (answered["error"], answered["error_code"]) == ("access_denied", "user_banned")
    late = client.auth.exchange_code_for_session({"auth_code": pending})  # type: ignore[typeddict-item]
    assert await refusal(late) == (403, "user_banned")


async def test_closed_sign_up_lets_only_known_people_in(closed: str, connect: Connect) -> None:
    answered = await consented(connect(closed), new_email())
    assert answered == {
        "error": "access_denied",
        "error_code": "signup_disabled",
        "error_description": "Signups not allowed for this instance",
    }
    admin, email = connect(closed, SECRET).auth.admin, new_email()
    invited = await admin.invite_user_by_email(email)
    session = await signed_in_with(connect(closed), email)
    assert session.user.id == invited.user.id
    assert session.user.app_metadata["providers"] == ["google"]


@pytest.mark.parametrize("provider", ["github", "nobody", "", "email"])
async def test_provider_that_is_not_enabled_is_refused(closed: str, provider: str) -> None:
    async with httpx.AsyncClient(base_url=closed) as browser:
        refused = await browser.get("/auth/v1/authorize", params={"provider": provider})
    body = refused.json()
    assert (refused.status_code, body["error_code"]) == (400, "validation_failed")
    assert body["msg"].startswith("Unsupported provider:")


async def test_half_a_challenge_is_refused(social: str) -> None:
    async with httpx.AsyncClient(base_url=social) as browser:
        for half in ({"code_challenge": "x" * 43}, {"code_challenge_method": "s256"}):
            query = {"provider": "google", **half}
            refused = await browser.get("/auth/v1/authorize", params=query)
            assert (refused.status_code, refused.json()["error_code"]) == (400, "validation_failed")


async def test_settings_tell_which_providers_there_are(
    social: str, closed: str, connect: Connect
) -> None:
    seen: dict[str, dict[str, Any]] = {}
    async with httpx.AsyncClient(headers={"apikey": SECRET}) as http:
        for url in (social, closed):
            seen[url] = (await http.get(f"{url}/auth/v1/settings")).json()
    enabled = {url: {k for k, v in s["external"].items() if v} for url, s in seen.items()}
    assert enabled == {social: {"email", "google", "github"}, closed: {"email", "google"}}
    assert [seen[url]["disable_signup"] for url in (social, closed)] == [False, True]


async def test_consent_leads_only_to_the_own_site(social: str, connect: Connect) -> None:
    client = connect(social)
    asked = await client.auth.sign_in_with_oauth(
        {"provider": "google", "options": {"redirect_to": "https://evil.example/"}}
    )
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(asked.url)
        state = re.search(r'name="state" value="([^"]+)"', page.text)
        assert state
        form = {"state": state[1], "decision": "deny"}
        back = await browser.post(page.url, data=form, follow_redirects=False)
    assert back.headers["location"].startswith(f"{SITE}?error=access_denied")


async def test_state_of_another_making_leads_home_without_an_account(
    social: str, connect: Connect
) -> None:
    client, email = connect(social), new_email()
    async with httpx.AsyncClient() as browser:
        address, form = await opened(browser, client)
        token = (await signed_in_with(connect(social), new_email())).access_token
        for state in ("", "x.y.z", token, form["state"][:-6] + "AAAAAA"):
            answer = {"state": state, "email": email, "email_verified": "1", "decision": "allow"}
            for pending in (
                browser.post(address, data=answer),
                browser.get(address, params={"state": state}),
            ):
                back = await pending
                assert back.headers["location"].startswith(f"{SITE}?error=invalid_request")
                assert "bad_oauth_state" in back.headers["location"]
        elsewhere = address.replace("google", "github")
        answer = {**form, "email": email, "email_verified": "1", "decision": "allow"}
        assert "bad_oauth_state" in (await browser.post(elsewhere, data=answer)).headers["location"]
    users = await connect(social, SECRET).auth.admin.list_users(per_page=1000)
    assert email not in {user.email for user in users}


async def test_malformed_address_is_asked_for_again_and_shown_as_text(
    social: str, connect: Connect
) -> None:
    async with httpx.AsyncClient() as browser:
        address, form = await opened(browser, connect(social))
        evil = '"><script>alert(1)</script>'
        form |= {"email": evil, "full_name": evil, "decision": "allow"}
        again = await browser.post(address, data=form)
    assert again.status_code == 422
    assert "<script" not in again.text
    assert "invalid format" in again.text
    policy = again.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert f"form-action 'self' {SITE};" in f"{policy};"


async def test_browser_without_script_signs_in_at_the_fake_provider(
    social: str, site: str, connect: Connect
) -> None:
    client, email = connect(social), new_email()
    asked = await client.auth.sign_in_with_oauth(
        {"provider": "google", "options": {"redirect_to": f"{site}/auth/callback"}}
    )
    executable, arguments = await asyncio.to_thread(chromium_path)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            context = await browser.new_context(java_script_enabled=False)
            page = await context.new_page()
            trouble: list[str] = []
            page.on("console", lambda message: trouble.append(message.text))
            await page.goto(asked.url)
            assert await page.get_by_role("heading").inner_text() == "Stand-in for Google"
            await page.get_by_label("Email").fill(email)
            await page.get_by_label("Name").fill("Ada")
            await page.get_by_role("button", name="Sign in").click()
            await page.wait_for_url(re.compile(re.escape(f"{site}/auth/callback?code=")))
            code = parse_qs(urlsplit(page.url).query)["code"][0]
            assert trouble == []
        finally:
            await browser.close()
    exchanged = await client.auth.exchange_code_for_session({"auth_code": code})  # type: ignore[typeddict-item]
    assert session_of(exchanged).user.email == email

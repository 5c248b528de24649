"""Signing in at a provider: out with a secret, back with a code, and only in the same browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio

from aisaas.api.providers import CALLBACK
from aisaas.wiring import services
from devstack.stack import Stack
from tests.accounts.browsing import another, asked, signed_up, user_of
from tests.accounts.conftest import Install, new_email
from tests.parts import Mailbox, outage, pkce_code

VISIT = "/api/session/oauth/github"


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(install: Install) -> AsyncGenerator[httpx.AsyncClient]:
    async with install(OAUTH_PROVIDERS="github") as browser:
        yield browser


@dataclass
class Back:
    """Makes the codes that a provider's visitor comes back with."""

    stack: Stack
    mailbox: Mailbox

    async def code(self, browser: httpx.AsyncClient, email: str) -> str:
        return await pkce_code(self.stack, self.mailbox, email, _verifier(browser))


@pytest.fixture
def back(spare_stack: Stack, mailbox: Mailbox) -> Back:
    return Back(spare_stack, mailbox)


def _verifier(browser: httpx.AsyncClient) -> str:
    import json

    sealed = browser.cookies[f"{services().cookie}_visit"]
    opened = services().visits.open(sealed.encode())
    assert opened is not None
    return json.loads(opened)["verifier"]


async def test_visit_leads_to_the_auth_server_and_seals_its_secret(
    visitor: httpx.AsyncClient, spare_stack: Stack
) -> None:
    response = await visitor.get(VISIT, params={"redirectTo": "/chat/5b1c"})
    assert response.status_code == 303
    where = urlsplit(response.headers["location"])
    assert response.headers["location"].startswith(
        f"{spare_stack.env['SUPABASE_URL']}/auth/v1/authorize?"
    )
    query = parse_qs(where.query)
    assert query["redirect_to"] == [f"http://127.0.0.1:3000{CALLBACK}"]
    assert query["code_challenge_method"] == ["s256"]
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path={CALLBACK}" in cookie
    assert 0 < int(cookie.split("Max-Age=")[1].split(";")[0]) <= 600
    assert _verifier(visitor) not in cookie + response.headers["location"]


async def test_over_https_the_secret_is_bound_to_the_host_too(install: Install) -> None:
    async with install(OAUTH_PROVIDERS="github", APP_URL="https://chat.example.com") as browser:
        response = await browser.get(VISIT)
        query = parse_qs(urlsplit(response.headers["location"]).query)
        assert query["redirect_to"] == [f"https://chat.example.com{CALLBACK}"]
        name, _, rest = response.headers["set-cookie"].partition("=")
        assert name == "__Host-aisaas_development_session_visit"
        assert "Secure" in rest
        assert "Path=/;" in rest
        back = await browser.get(CALLBACK, params={"error": "access_denied"})
        assert asked(back)["error"] == "access_denied"
        assert not browser.cookies


async def test_visitor_comes_back_signed_in_to_where_they_were_going(
    visitor: httpx.AsyncClient, back: Back
) -> None:
    async with another(visitor) as other:
        email = await signed_up(other)
        ada = await user_of(other)
    await visitor.get(VISIT, params={"redirectTo": "/chat/5b1c"})
    code = await back.code(visitor, email)
    response = await visitor.get(CALLBACK, params={"code": code})
    assert asked(response) == {"": "/chat/5b1c"}
    assert await user_of(visitor) == ada
    # The visit is over, and its secret gone.
    assert list(visitor.cookies) == [services().cookie]
    listed = await services().accounts.sessions(
        await services().accounts.principal(
            f"{services().cookie}={visitor.cookies[services().cookie]}"
        )
    )
    assert {each.opened_by for each in listed} == {"sign_up", "provider"}


async def test_code_works_once(visitor: httpx.AsyncClient, back: Back) -> None:
    await visitor.get(VISIT)
    kept = dict(visitor.cookies)
    code = await back.code(visitor, new_email())
    await visitor.get(CALLBACK, params={"code": code})
    async with another(visitor) as thief:
        thief.cookies.update(kept)
        response = await thief.get(CALLBACK, params={"code": code})
        assert asked(response)["error"] == "flow_state_not_found"
        assert services().cookie not in thief.cookies


async def test_nobody_is_signed_in_by_a_link_with_someone_elses_code(
    visitor: httpx.AsyncClient, back: Back
) -> None:
    await visitor.get(VISIT)
    code = await back.code(visitor, new_email())
    async with another(visitor) as victim:
        # Without a visit of their own …
        response = await victim.get(CALLBACK, params={"code": code})
        assert asked(response) == {"": "/login", "error": "visit_lost"}
        assert not victim.cookies
        # … and with one.
        await victim.get(VISIT)
        response = await victim.get(CALLBACK, params={"code": code})
        assert asked(response)["error"] == "bad_code_verifier"
        assert not victim.cookies


@pytest.mark.parametrize("sealed", ["", "rubbish", "gAAAAABrubbish", "é", "%00"])
async def test_cookie_that_is_not_ours_is_no_visit(
    visitor: httpx.AsyncClient, back: Back, sealed: str
) -> None:
    await visitor.get(VISIT)
    code = await back.code(visitor, new_email())
    headers = [(b"cookie", f"{services().cookie}_visit={sealed}".encode())]
    async with another(visitor) as other:
        response = await other.get(CALLBACK, params={"code": code}, headers=headers)
        assert asked(response) == {"": "/login", "error": "visit_lost"}


async def test_cookie_of_another_secret_or_another_purpose_is_no_visit(
    install: Install, spare_stack: Stack
) -> None:
    async with install(
        OAUTH_PROVIDERS="github", SESSION_SECRET="another secret that is long enough, too"
    ) as browser:
        await browser.get(VISIT)
        foreign = dict(browser.cookies)
    async with install(OAUTH_PROVIDERS="github") as browser:
        browser.cookies.update(foreign)
        response = await browser.get(CALLBACK, params={"code": "x"})
        assert asked(response)["error"] == "visit_lost"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"error": "access_denied", "error_description": "<b>no</b>"}, "access_denied"),
        ({"error": "server_error"}, "provider_failed"),
        ({}, "provider_failed"),
        ({"code": ""}, "provider_failed"),
        ({"code": "x" * 600}, "provider_failed"),
        ({"code": "made up"}, "flow_state_not_found"),
    ],
)
async def test_visit_that_came_to_nothing_says_why(
    visitor: httpx.AsyncClient, query: dict[str, str], error: str
) -> None:
    await visitor.get(VISIT, params={"redirectTo": "/dashboard"})
    response = await visitor.get(CALLBACK, params=query)
    assert asked(response) == {"": "/login", "error": error, "redirectTo": "/dashboard"}
    assert not visitor.cookies


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_visit_never_ends_off_the_site(
    visitor: httpx.AsyncClient, back: Back, target: str
) -> None:
    await visitor.get(VISIT, params={"redirectTo": target})
    code = await back.code(visitor, new_email())
    assert asked(await visitor.get(CALLBACK, params={"code": code})) == {"": "/chat"}


async def test_provider_that_is_not_set_up_is_not_visited(visitor: httpx.AsyncClient) -> None:
    for name in ("google", "nonsense"):
        response = await visitor.get(f"/api/session/oauth/{name}")
        assert asked(response)["error"] == "provider_disabled"
        assert not visitor.cookies


async def test_callback_while_the_auth_server_is_away(
    visitor: httpx.AsyncClient, spare_stack: Stack
) -> None:
    await visitor.get(VISIT)
    with outage(spare_stack, "auth", "stopped"):
        response = await visitor.get(CALLBACK, params={"code": "x"})
    assert asked(response)["error"] == "unavailable"


async def test_banned_user_is_not_let_in(
    visitor: httpx.AsyncClient, back: Back, spare_stack: Stack
) -> None:
    from tests.parts import AuthAdmin

    async with another(visitor) as other:
        email = await signed_up(other)
        ada = await user_of(other)
    await visitor.get(VISIT)
    code = await back.code(visitor, email)
    admin = AuthAdmin(spare_stack)
    admin.ban(ada)
    admin.close()
    response = await visitor.get(CALLBACK, params={"code": code})
    assert asked(response)["error"] == "user_banned"
    assert not visitor.cookies


async def test_address_in_the_browser_decides_where_the_visit_comes_back_to(
    visitor: httpx.AsyncClient,
) -> None:
    for host, expected in (
        ("localhost:3000", "http://localhost:3000"),
        ("evil.example", "http://127.0.0.1:3000"),
    ):
        response = await visitor.get(VISIT, headers={"host": host})
        query = parse_qs(urlsplit(response.headers["location"]).query)
        assert query["redirect_to"] == [f"{expected}{CALLBACK}"]

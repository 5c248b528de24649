"""Sign-up, sign-in and sign-out as a browser meets them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from http.cookies import Morsel, SimpleCookie
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisaas import overload
from aisaas.api.paths import CHAT as HOME
from aisaas.api.paths import own_path
from aisaas.errors import Unauthenticated
from aisaas.observe.outages import Outages
from aisaas.wiring import services
from devstack.stack import Stack
from tests.accounts.conftest import PASSWORD, Install, new_email
from tests.parts import outage

OWN_ORIGIN = "http://127.0.0.1:3000"
JSON = {"accept": "application/json"}
FORM = "application/x-www-form-urlencoded"
HANGS_SECONDS = 60


async def _sign_up(
    browser: httpx.AsyncClient, *, email: str | None = None, **fields: str
) -> httpx.Response:
    form = {"email": email or new_email(), "password": PASSWORD, "full_name": "Ada"} | fields
    return await browser.post("/api/session/sign-up", data=form, headers=JSON)


def _cookie(response: httpx.Response) -> Morsel[str]:
    (morsel,) = SimpleCookie(response.headers["set-cookie"]).values()
    return morsel


# Signing up and in


async def test_sign_up_sets_the_session_cookie_and_tells_where_to_go(
    browser: httpx.AsyncClient,
) -> None:
    response = await _sign_up(browser, redirectTo="/chat/1?x=y")
    assert response.status_code == 200
    assert response.json()["redirect"] == "/chat/1?x=y"
    cookie = _cookie(response)
    assert cookie.key == "aisaas_development_session"
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/")
    assert cookie["domain"] == ""
    assert cookie["secure"] == ""
    assert 0 < int(cookie["max-age"]) <= 30 * 24 * 3600
    principal = await services().accounts.principal(f"{cookie.key}={cookie.value}")
    assert principal.full_name == "Ada"
    # Nothing but the opaque id goes to the browser.
    assert set(response.json()) == {"redirect", "admin"}
    assert "eyJ" not in response.text + response.headers["set-cookie"]


async def test_over_https_the_cookie_is_bound_to_the_host_and_secure(install: Install) -> None:
    async with install(APP_URL="https://chat.example.com") as browser:
        cookie = _cookie(await _sign_up(browser))
        assert cookie.key == "__Host-aisaas_development_session"
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")


async def test_each_sign_in_gets_a_new_cookie(browser: httpx.AsyncClient) -> None:
    email = new_email()
    tokens = {_cookie(await _sign_up(browser, email=email)).value}
    for _ in range(2):
        # The browser sends the cookie that it has; it never gets the same one back.
        response = await browser.post(
            "/api/session/sign-in", data={"email": email, "password": PASSWORD}, headers=JSON
        )
        assert response.status_code == 200
        tokens.add(_cookie(response).value)
    assert len(tokens) == 3


async def test_plain_form_works_by_redirects(browser: httpx.AsyncClient) -> None:
    email = new_email()
    form = {"email": email, "password": PASSWORD, "redirectTo": "/billing"}
    response = await browser.post("/api/session/sign-up", data=form)
    assert (response.status_code, response.headers["location"]) == (303, "/billing")
    assert _cookie(response).value
    refused = await browser.post("/api/session/sign-in", data=form | {"password": "wrong"})
    assert refused.status_code == 303
    page = urlsplit(refused.headers["location"])
    assert page.path == "/login"
    assert parse_qs(page.query) == {
        "error": ["invalid_credentials"],
        "redirectTo": ["/billing"],
    }
    assert "set-cookie" not in refused.headers
    # What was typed is in no address: those end up in logs and histories.
    assert email not in page.query


async def test_sign_out_ends_the_session_and_removes_the_cookie(
    browser: httpx.AsyncClient,
) -> None:
    cookie = _cookie(await _sign_up(browser))
    response = await browser.post("/api/session/sign-out")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    removed = _cookie(response)
    assert (removed.key, removed.value, removed["max-age"]) == (cookie.key, "", "0")
    with pytest.raises(Unauthenticated):
        await services().accounts.principal(f"{cookie.key}={cookie.value}")


# Refusals, as JSON


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"email": ""}, "email"),
        ({"email": "ada"}, "email"),
        ({"email": f"{'x' * 250}@example.com"}, "email"),
        ({"password": ""}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"full_name": "x" * 121}, "name"),
    ],
)
async def test_field_that_can_not_be_used_is_named(
    browser: httpx.AsyncClient, fields: dict[str, str], word: str
) -> None:
    form = {"email": new_email(), "password": PASSWORD, "full_name": ""} | fields
    response = await browser.post("/api/session/sign-up", data=form, headers=JSON)
    assert response.status_code == 422
    assert response.json()["code"] == "validation_failed"
    assert word in response.json()["message"]
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("path", ["sign-in", "sign-up"])
async def test_empty_form_is_refused(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.post(f"/api/session/{path}", data={"a": "b"}, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (422, "validation_failed")


async def test_wrong_password_taken_address_and_weak_password_are_reported(
    browser: httpx.AsyncClient,
) -> None:
    email = new_email()
    await _sign_up(browser, email=email)
    taken = await _sign_up(browser, email=email)
    assert (taken.status_code, taken.json()["code"]) == (409, "user_already_exists")
    weak = await _sign_up(browser, password="short")
    assert (weak.status_code, weak.json()["code"]) == (400, "weak_password")
    wrong = await browser.post(
        "/api/session/sign-in", data={"email": email, "password": "wrong"}, headers=JSON
    )
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_credentials")
    assert "wrong" not in wrong.text


@pytest.mark.parametrize("path", ["sign-in", "sign-up", "sign-out"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{OWN_ORIGIN}.evil.example"},
        {"origin": OWN_ORIGIN.replace("http", "https")},
        {"origin": "http://127.0.0.1:3001"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_form_of_another_site_is_refused(
    browser: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    cookie = _cookie(await _sign_up(browser))
    response = await browser.post(
        f"/api/session/{path}",
        data={"email": new_email(), "password": PASSWORD},
        headers=headers | JSON,
    )
    assert response.status_code == 403
    assert response.json()["code"] == "form_refused"
    assert "set-cookie" not in response.headers
    # Nobody was signed out by it either.
    assert await services().accounts.principal(f"{cookie.key}={cookie.value}")


@pytest.mark.parametrize("origin", [OWN_ORIGIN, "http://localhost:3000"])
async def test_form_of_our_own_is_taken(browser: httpx.AsyncClient, origin: str) -> None:
    response = await browser.post(
        "/api/session/sign-up",
        data={"email": new_email(), "password": PASSWORD},
        headers=JSON | {"origin": origin, "sec-fetch-site": "same-origin"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize("length", [None, "", "-1", "1e3", "²", "99999999999999999999"])
async def test_form_of_unknown_or_too_large_size_is_not_read(
    browser: httpx.AsyncClient, length: str | None
) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    request = browser.build_request(
        "POST", "/api/session/sign-in", content=endless(), headers=JSON | {"content-type": FORM}
    )
    if length is not None:
        request.headers = httpx.Headers(
            [*request.headers.raw, (b"content-length", length.encode("latin-1"))]
        )
    del request.headers["transfer-encoding"]
    response = await browser.send(request)
    assert response.status_code == 413
    assert response.json()["code"] == "form_refused"


async def test_form_with_a_large_field_is_refused(browser: httpx.AsyncClient) -> None:
    response = await _sign_up(browser, full_name="x" * 20_000)
    assert (response.status_code, response.json()["code"]) == (413, "form_refused")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"--x\r\ncontent-disposition: rubbish", "multipart/form-data; boundary=x"),
        (b"--x", "multipart/form-data"),
        (b'{"email": "ada@example.com"}', "application/json"),
        (b"\xff\xfe=%ff%00", FORM),
        (b"&".join(b"a%d=1" % number for number in range(500)), FORM),
    ],
)
async def test_rubbish_is_refused_and_not_an_error_of_ours(
    browser: httpx.AsyncClient, content: bytes, content_type: str
) -> None:
    response = await browser.post(
        "/api/session/sign-in", content=content, headers=JSON | {"content-type": content_type}
    )
    assert response.status_code in {400, 422}
    assert set(response.json()) - {"fields"} == {"code", "message"}


async def test_uploaded_file_is_no_password(browser: httpx.AsyncClient) -> None:
    response = await browser.post(
        "/api/session/sign-in",
        data={"email": new_email()},
        files={"password": ("password.txt", b"secret")},
        headers=JSON,
    )
    assert response.status_code in {400, 422}


@pytest.mark.parametrize("path", ["sign-in", "sign-up", "sign-out"])
async def test_pages_can_not_be_fetched_where_forms_are_sent(
    browser: httpx.AsyncClient, path: str
) -> None:
    assert (await browser.get(f"/api/session/{path}")).status_code == 405


async def test_auth_server_that_is_away_is_reported_as_unavailable(
    browser: httpx.AsyncClient, spare_stack: Stack
) -> None:
    with outage(spare_stack, "auth", "stopped"):
        response = await _sign_up(browser)
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        plain = await browser.post(
            "/api/session/sign-in", data={"email": new_email(), "password": PASSWORD}
        )
        assert plain.status_code == 303
        assert parse_qs(urlsplit(plain.headers["location"]).query)["error"] == ["unavailable"]
    assert (await _sign_up(browser)).status_code == 200


async def test_sign_out_while_the_database_is_away_still_removes_the_cookie(
    browser: httpx.AsyncClient, spare_stack: Stack
) -> None:
    await _sign_up(browser)
    with outage(spare_stack, "postgres", "stopped"):
        response = await browser.post("/api/session/sign-out")
    assert response.status_code == 503
    assert _cookie(response).value == ""


# Where to go on

SITE = "https://chat.example.com"
tricky = st.text(alphabet="/\\.:@?#%&;=\t\n\r 	evil.com-ü\u2028\u202e\x00", max_size=30)


def _where_a_browser_goes(path: str) -> str:
    """Browsers drop tabs and line breaks, trim, and read a backslash as a slash."""
    seen = "".join(char for char in path if char not in "\t\n\r").strip(" \x00")
    return urlsplit(urljoin(SITE, seen.replace("\\", "/"))).netloc


@given(st.one_of(tricky, tricky.map(lambda text: "/" + text), st.text()))
def test_redirect_never_leaves_this_site(text: str) -> None:
    path = own_path(text)
    assert path.startswith("/")
    assert _where_a_browser_goes(path) == "chat.example.com"
    assert path.isprintable()


@pytest.mark.parametrize(
    "path", ["/", "/chat", "/chat/8e2c?tab=1#end", "/settings", "/billing?plan=pro%20yearly"]
)
def test_own_paths_are_kept(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        7,
        "chat",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/api/session/sign-out",
        "/" + "x" * 3000,
    ],
)
def test_anything_else_is_the_front_door(path: object) -> None:
    assert own_path(path) == HOME


# More at once than this process does


async def test_forms_beyond_what_is_done_at_once_are_refused_as_busy(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    email, forms = new_email(), services().bulkheads.forms
    await _sign_up(browser, email=email)
    form = {"email": email, "password": PASSWORD}
    # An outage of another test may not be over yet.
    monkeypatch.setattr(overload, "OUTAGES", Outages())
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.05)
    async with AsyncExitStack() as held:
        for _ in range(16):
            await held.enter_async_context(forms.place())
        refused = await browser.post("/api/session/sign-in", data=form, headers=JSON)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "busy"
        assert "set-cookie" not in refused.headers
        # Without scripts the page says so.
        page = await browser.post("/api/session/sign-in", data=form)
        assert parse_qs(urlsplit(page.headers["location"]).query)["error"] == ["busy"]
    answer = await browser.post("/api/session/sign-in", data=form, headers=JSON)
    assert answer.status_code == 200

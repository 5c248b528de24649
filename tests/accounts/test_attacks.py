"""What someone with bad intentions would try with sessions."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from aisaas.accounts.sessions import TokenCipher, hash_token
from aisaas.errors import AuthError, Unauthenticated
from aisaas.wiring import Services, services
from devstack.stack import Stack
from tests.accounts.browsing import JSON, another, cookies, send, signed_up, user_of
from tests.accounts.conftest import PASSWORD, Install, Member, Sql, ask, new_email, sign_up
from tests.parts import AuthAdmin

Age = Callable[..., None]


async def _is_out(made: Services, cookie: str) -> None:
    with pytest.raises(Unauthenticated):
        await made.accounts.principal(cookie)


# Fixation


async def test_cookie_that_was_planted_before_the_sign_in_is_worth_nothing(
    browser: httpx.AsyncClient,
) -> None:
    async with another(browser) as attacker:
        email = await signed_up(attacker)
        await send(attacker, "session/sign-out")
    name, planted = services().cookie, "A" * 43
    browser.cookies.set(name, planted, domain="127.0.0.1", path="/")
    answer = await send(browser, "session/sign-in", email=email, password=PASSWORD)
    assert answer.status_code == 200
    assert f"{name}={planted}" not in answer.headers["set-cookie"]
    await _is_out(services(), f"{name}={planted}")


async def test_attackers_own_session_does_not_become_the_victims(
    browser: httpx.AsyncClient,
) -> None:
    async with another(browser) as attacker:
        await signed_up(attacker)
        eve, theirs = await user_of(attacker), cookies(attacker)
    # Planted in the victim's browser, it comes along with their sign-up.
    answer = await browser.post(
        "/api/session/sign-up",
        data={"email": new_email(), "password": PASSWORD},
        headers=JSON | {"cookie": theirs},
    )
    assert answer.status_code == 200
    assert (await services().accounts.principal(theirs)).user_id == eve
    assert await user_of(browser) != eve


# Tokens


def _put(sql: Sql, member: Member, stack: Stack, *, access: str, refresh: str = "x") -> None:
    cipher = TokenCipher(stack.env["SESSION_SECRET"])
    sql(
        "update private.sessions set access_token = %s, refresh_token = %s where user_id = %s",
        cipher.seal(access),
        cipher.seal(refresh),
        member.user_id,
    )


def _tokens(sql: Sql, member: Member, stack: Stack) -> tuple[str, str]:
    cipher = TokenCipher(stack.env["SESSION_SECRET"])
    ((access, refresh),) = sql(
        "select access_token, refresh_token from private.sessions where user_id = %s",
        member.user_id,
    )
    assert isinstance(access, bytes)
    assert isinstance(refresh, bytes)
    opened = cipher.open(access), cipher.open(refresh)
    assert opened[0] is not None
    assert opened[1] is not None
    return opened[0], opened[1]


def _claims(token: str) -> dict[str, object]:
    return jwt.decode(token, options={"verify_signature": False})


def _signed_by_somebody(claims: dict[str, object]) -> str:
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


def _unsigned(claims: dict[str, object]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    ]
    return ".".join((*encoded, ""))


FORGERIES: list[Callable[[dict[str, object]], str]] = [
    _signed_by_somebody,
    _unsigned,
    lambda claims: jwt.encode(claims, "s" * 32, algorithm="HS256"),
    lambda _: "rubbish",
]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_forged_access_token_in_our_store_ends_the_session(
    services: Services,
    ada: Member,
    sql: Sql,
    age: Age,
    spare_stack: Stack,
    forge: Callable[[dict[str, object]], str],
) -> None:
    access, refresh = _tokens(sql, ada, spare_stack)
    _put(sql, ada, spare_stack, access=forge(_claims(access)), refresh=refresh)
    age(ada.user_id, verified=31)
    await _is_out(services, ada.cookie)


async def test_someone_elses_token_in_our_store_ends_the_session(
    services: Services, ada: Member, sql: Sql, age: Age, spare_stack: Stack
) -> None:
    eve = await sign_up(services)
    access, refresh = _tokens(sql, eve, spare_stack)
    _put(sql, ada, spare_stack, access=access, refresh=refresh)
    for expires_in in (3600, 5):
        age(ada.user_id, verified=31, expires_in=expires_in)
        await _is_out(services, ada.cookie)
        sql("update private.sessions set revoked_at = null where user_id = %s", ada.user_id)


async def test_expired_access_token_that_claims_to_be_fresh_ends_the_session(
    services: Services, ada: Member, sql: Sql, age: Age, spare_stack: Stack
) -> None:
    access, refresh = _tokens(sql, ada, spare_stack)
    stale = _claims(access) | {"exp": int(time.time()) - 60}
    _put(sql, ada, spare_stack, access=_signed_by_somebody(stale), refresh=refresh)
    age(ada.user_id, verified=31, expires_in=3600)
    await _is_out(services, ada.cookie)


async def test_refresh_token_that_is_used_once_more_ends_the_session(
    services: Services, ada: Member, sql: Sql, age: Age, spare_stack: Stack
) -> None:
    _, stolen = _tokens(sql, ada, spare_stack)
    age(ada.user_id, verified=31, expires_in=5)
    await ask(services, ada)
    # Longer ago than an answer that got lost would explain.
    postgres = spare_stack._postgres  # pyright: ignore[reportPrivateUsage]
    assert postgres is not None
    with psycopg.connect(postgres.url("supabase_auth_admin")) as theirs:
        theirs.execute("update auth.refresh_tokens set revoked_at = revoked_at - interval '11 s'")
    with pytest.raises(AuthError) as caught:
        await services.accounts._identity.refresh(stolen)  # pyright: ignore[reportPrivateUsage]
    assert caught.value.code == "refresh_token_already_used"
    age(ada.user_id, verified=31)
    await _is_out(services, ada.cookie)


# Cookies


async def test_cookie_of_another_environment_is_nobodys(
    install: Install, browser: httpx.AsyncClient
) -> None:
    await signed_up(browser)
    token = browser.cookies[services().cookie]
    for name in ("aisaas_preview_session", "__Host-aisaas_development_session", "session"):
        await _is_out(services(), f"{name}={token}")


async def test_session_of_another_session_secret_ends_at_the_next_look(
    install: Install, sql: Sql
) -> None:
    async with install(SESSION_SECRET="another secret that is long enough, too") as browser:
        await signed_up(browser)
        kept = cookies(browser)
    async with install() as browser:
        sql(
            "update private.sessions set verified_at = now() - interval '31 s' where token_hash = %s",
            hash_token(kept.split("=", 1)[1]),
        )
        await _is_out(services(), kept)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "=",
        '"',
        "a" * 20_000,
        "\x00",
        "é",
        "' or 1=1 --",
        "../../etc/passwd",
        "%00",
        "a b",
        "A" * 43,
    ],
)
async def test_malformed_cookie_is_no_session_and_no_error(
    browser: httpx.AsyncClient, value: str
) -> None:
    header = f"{services().cookie}={value}".encode()
    for path in ("session/end", "account/password", "account/picture/remove"):
        answer = await browser.post(
            f"/api/{path}",
            data={"session": "0" * 32, "new_password": "quite another password"},
            headers=[(b"accept", b"application/json"), (b"cookie", header)],
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


# Foreign pages


EVERY_FORM = [
    "session/sign-in",
    "session/sign-up",
    "session/magic-link",
    "session/reset",
    "session/resend",
    "session/confirm",
    "session/sign-out",
    "session/end",
    "account/password",
    "account/address",
    "account/picture",
    "account/picture/remove",
]


@pytest.mark.parametrize("path", EVERY_FORM)
async def test_no_form_of_another_site_is_taken(browser: httpx.AsyncClient, path: str) -> None:
    await signed_up(browser)
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ):
        answer = await browser.post(f"/api/{path}", data={"a": "b"}, headers=JSON | headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "form_refused")
        assert "set-cookie" not in answer.headers
    assert await user_of(browser)


@pytest.mark.parametrize("path", EVERY_FORM)
async def test_no_form_of_unknown_size_is_read(browser: httpx.AsyncClient, path: str) -> None:
    await signed_up(browser)
    request = browser.build_request("POST", f"/api/{path}", headers=JSON)
    del request.headers["content-length"]
    answer = await browser.send(request)
    assert (answer.status_code, answer.json()["code"]) == (413, "form_refused")


# Out within a minute, everywhere


ROUTES = [
    ("POST", "session/end"),
    ("POST", "account/password"),
    ("POST", "account/address"),
    ("POST", "account/picture/remove"),
    ("GET", "account/picture/00000000-0000-0000-0000-000000000000"),
]


@pytest.mark.parametrize("how", ["banned", "deleted", "signed out there", "signed out here"])
async def test_who_is_out_is_refused_everywhere_within_a_minute(
    browser: httpx.AsyncClient, auth_admin: AuthAdmin, sql: Sql, age: Age, how: str
) -> None:
    await signed_up(browser)
    user_id, kept = await user_of(browser), cookies(browser)
    match how:
        case "banned":
            auth_admin.ban(user_id)
        case "deleted":
            auth_admin.delete(user_id)
        case "signed out there":
            sql("delete from auth.sessions where user_id = %s", user_id)
        case _:
            sql("update private.sessions set revoked_at = now() where user_id = %s", user_id)
    form = {
        "session": "00000000-0000-0000-0000-000000000000",
        "current_password": PASSWORD,
        "new_password": "quite another password",
        "email": "someone@example.com",
    }
    for method, path in ROUTES:
        # Each route is the first to be asked after that time.
        sql(
            "update private.sessions set revoked_at = null where user_id = %s and %s",
            user_id,
            how in {"banned", "signed out there"},
        )
        age(user_id, verified=31)
        data = form if method == "POST" else None
        answer = await browser.request(method, f"/api/{path}", data=data, headers=JSON)
        assert answer.status_code == 401, (path, answer.text)
    await _is_out(services(), kept)


async def test_suspended_user_is_known_as_suspended_at_once(
    services: Services, ada: Member, sql: Sql
) -> None:
    sql("update profiles set suspended_at = now() where id = %s", ada.user_id)
    assert (await ask(services, ada)).suspended

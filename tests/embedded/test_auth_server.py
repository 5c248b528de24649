"""The embedded auth server as its clients meet it: a real process on a real Postgres.

Driven by supabase-py's own client; by plain HTTP where the shape of an answer is what counts.
"""

import asyncio
import base64
import hmac
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from supabase import AsyncClient, AsyncClientOptions
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError
from supabase_auth.types import AuthResponse, Session, User

from aisaas.embedded.auth import schema_path
from tests.embedded.servers import clean_environment, free_port, running

PUBLISHABLE, SECRET = "sb_publishable_test", "sb_secret_test"
SITE = "http://127.0.0.1:3000"
PASSWORD = "correct horse"
VERSION = {"x-supabase-api-version": "2024-01-01"}
MODULE = "aisaas.embedded.auth"

_numbers = count()
Connect = Callable[..., AsyncClient]


def new_email() -> str:
    return f"person{next(_numbers)}-{uuid4().hex[:6]}@example.com"


def variables_for(database_url: str, **more: str) -> dict[str, str]:
    port = more.pop("port", None) or str(free_port())
    return {
        "AUTH_DATABASE_URL": database_url,
        "AUTH_PORT": port,
        "AUTH_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "AUTH_PUBLISHABLE_KEY": PUBLISHABLE,
        "AUTH_SECRET_KEY": SECRET,
        "AUTH_SITE_URL": SITE,
        **more,
    }


def serving(variables: dict[str, str], log: Path) -> Any:
    health = f"{variables['AUTH_PUBLIC_URL']}/auth/v1/health"
    return running(MODULE, variables, health=health, log=log)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auth") / "log"


@pytest.fixture(scope="module")
def server(auth_database_url: str, log: Path) -> Iterator[str]:
    """Accounts are confirmed at once; mails at most once a minute."""
    variables = variables_for(auth_database_url)
    with serving(variables, log):
        yield variables["AUTH_PUBLIC_URL"]


@pytest.fixture(scope="module")
def careful(auth_database_url: str, log: Path) -> Iterator[str]:
    """Accounts have to be confirmed by mail; mails as often as one likes."""
    variables = variables_for(auth_database_url, AUTH_AUTOCONFIRM="false", AUTH_MAIL_INTERVAL="0")
    with serving(variables, log):
        yield variables["AUTH_PUBLIC_URL"]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with httpx.AsyncClient(timeout=15) as http:

        def client(url: str, key: str = PUBLISHABLE, **options: Any) -> AsyncClient:
            settings = AsyncClientOptions(auto_refresh_token=False, httpx_client=http, **options)
            return AsyncClient(url, key, settings)

        yield client


@pytest.fixture
async def http(server: str) -> AsyncIterator[httpx.AsyncClient]:
    base, headers = f"{server}/auth/v1", {"apikey": PUBLISHABLE}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=15) as client:
        yield client


@pytest.fixture
def database(auth_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(auth_database_url, autocommit=True) as connection:
        yield connection


async def refusal(pending: Awaitable[object]) -> tuple[int, str | None]:
    with pytest.raises(AuthApiError) as caught:
        await pending
    return caught.value.status, caught.value.code


def session_of(response: AuthResponse) -> Session:
    assert response.session
    return response.session


async def signed_up(client: AsyncClient, email: str | None = None) -> Session:
    return session_of(
        await client.auth.sign_up({"email": email or new_email(), "password": PASSWORD})
    )


def sign_in(client: AsyncClient, email: str, password: str = PASSWORD) -> Awaitable[AuthResponse]:
    return client.auth.sign_in_with_password({"email": email, "password": password})


async def last_mail(url: str, to: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as plain:
        listed = (await plain.get(f"{url}/mailbox.json", params={"to": to})).json()["messages"]
    assert listed, f"no mail for {to}"
    return listed[0]


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def segment(part: bytes | dict[str, Any]) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with(public_key: bytes, header: dict[str, Any], payload: str) -> str:
    """A token whose HMAC secret is the public key: what a confused verifier accepts."""
    signed = f"{segment(header)}.{payload}"
    return f"{signed}.{segment(hmac.digest(public_key, signed.encode(), 'sha256'))}"


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
    assert abs(session.expires_at - time.time() - 3600) < 5
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
    server: str, connect: Connect, database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    first = await signed_up(client)
    second = session_of(await client.auth.refresh_session(first.refresh_token))
    database.execute(
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
    variables = variables_for(auth_database_url, AUTH_JWT_TTL="2")
    url = variables["AUTH_PUBLIC_URL"]
    with serving(variables, tmp_path / "log"):
        session = await signed_up(connect(url))
        assert session.expires_in == 2
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


# Who is let in


async def test_without_a_token_there_is_no_user(http: httpx.AsyncClient) -> None:
    for path, method in (("/user", "GET"), ("/user", "PUT"), ("/logout", "POST")):
        response = await http.request(method, path, headers=VERSION)
        assert (response.status_code, response.json()["code"]) == (401, "no_authorization")


async def test_forged_tokens_are_refused(
    http: httpx.AsyncClient, server: str, connect: Connect
) -> None:
    token = (await signed_up(connect(server))).access_token
    header, payload, signature = token.split(".")
    claims = claims_of(token)
    kid = jwt.get_unverified_header(token)["kid"]
    jwks = (await http.get("/.well-known/jwks.json")).json()
    public = next(key for key in jwt.PyJWKSet.from_dict(jwks).keys if key.key_id == kid).key
    public = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = [
        "x",
        PUBLISHABLE,
        f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
        f"{header}.{payload}.",
        f"{segment({'alg': 'none', 'kid': kid})}.{payload}.",
        signed_with(public, {"alg": "HS256", "kid": kid}, payload),
        jwt.encode(claims, "k" * 64, algorithm="HS256"),
        jwt.encode(claims, "k" * 64, algorithm="HS256", headers={"kid": "other"}),
        "é" * 10,
    ]
    for bad in forged:
        headers = {**VERSION, "authorization": f"Bearer {bad}".encode()}
        response = await http.get("/user", headers=headers)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["code"]) == (403, "bad_jwt"), bad


async def test_project_key_is_needed_except_where_browsers_come(server: str) -> None:
    async with httpx.AsyncClient(base_url=server) as plain:
        for headers in ({}, {"apikey": "wrong"}):
            response = await plain.post("/auth/v1/signup", json={}, headers=headers)
            assert response.status_code == 401
            assert "API key" in response.json()["message"]
        for path in ("health", ".well-known/jwks.json"):
            assert (await plain.get(f"/auth/v1/{path}")).status_code == 200
        keys = (await plain.get("/auth/v1/.well-known/jwks.json")).json()["keys"]
        assert {(key["kty"], key["crv"], key["alg"]) for key in keys} == {("EC", "P-256", "ES256")}
        assert not any("d" in key for key in keys)


async def test_another_host_name_is_refused(server: str) -> None:
    async with httpx.AsyncClient(base_url=server) as plain:
        for path in ("/mailbox.json", "/mailbox", "/auth/v1/health"):
            response = await plain.get(path, headers={"host": "evil.example:80"})
            assert response.status_code == 421


# The shape of refusals


async def test_refusals_come_in_the_shape_of_the_asked_version(http: httpx.AsyncClient) -> None:
    body = {"email": new_email(), "password": "wrong password"}
    new = await http.post("/token?grant_type=password", json=body, headers=VERSION)
    assert new.status_code == 400
    assert new.json() == {"code": "invalid_credentials", "message": "Invalid login credentials"}
    assert new.headers["x-supabase-api-version"] == "2024-01-01"
    assert new.headers["x-sb-error-code"] == "invalid_credentials"
    for headers in ({}, {"x-supabase-api-version": "2023-01-01"}, {"x-supabase-api-version": "?"}):
        old = await http.post("/token?grant_type=password", json=body, headers=headers)
        assert old.json() == {
            "code": 400,
            "error_code": "invalid_credentials",
            "msg": "Invalid login credentials",
        }
        assert "x-supabase-api-version" not in old.headers


async def test_weak_password_names_its_reasons_in_both_shapes(http: httpx.AsyncClient) -> None:
    body = {"email": new_email(), "password": "short"}
    new = (await http.post("/signup", json=body, headers=VERSION)).json()
    old = (await http.post("/signup", json=body)).json()
    assert new["code"] == old["error_code"] == "weak_password"
    assert old["code"] == 422
    assert new["weak_password"] == old["weak_password"] == {"reasons": ["length"]}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_json"),
        (b"null", 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (b"[" * 50_000, 400, "bad_json"),
        (b'{"email": 5, "password": "correct horse"}', 400, "bad_json"),
        (b'{"email": "a@b.co", "password": ["x"]}', 400, "bad_json"),
        (b'{"email": "a@b.co", "password": "correct horse", "data": "x"}', 400, "bad_json"),
        (
            b'{"email": "a@b.co", "password": "correct horse", "data": {"a": "\\u0000"}}',
            400,
            "bad_json",
        ),
        (
            b'{"email": "a@b.co", "password": "correct horse", "data": {"\\ud800": 1}}',
            400,
            "bad_json",
        ),
        (b'{"email": "a@b.co", "password": "correct horse", "data": {"a": NaN}}', 400, "bad_json"),
        (
            b'{"email": "a@b.co", "password": "correct horse", "data": {"a": 1e999}}',
            400,
            "bad_json",
        ),
        (b'{"email": "a@b.co"}', 400, "validation_failed"),
        (b'{"a": "' + b"x" * 70_000 + b'"}', 413, "request_too_large"),
    ],
)
async def test_malformed_body_is_refused_and_never_a_crash(
    http: httpx.AsyncClient, content: bytes, status: int, code: str
) -> None:
    response = await http.post("/signup", content=content, headers=VERSION)
    assert (response.status_code, response.json()["code"]) == (status, code)
    for path in ("/token?grant_type=password", "/recover", "/otp", "/verify", "/resend"):
        elsewhere = await http.post(path, content=content, headers=VERSION)
        assert elsewhere.is_success or elsewhere.json()["code"]
        assert elsewhere.status_code < 500


async def test_unknown_addresses_and_grants_are_refused_in_shape(http: httpx.AsyncClient) -> None:
    missing = await http.get("/nothing", headers=VERSION)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await http.delete("/signup", headers=VERSION)
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    grant = await http.post("/token?grant_type=magic", json={}, headers=VERSION)
    assert grant.status_code == 400
    scope = await http.post("/logout?scope=planet", headers=VERSION)
    assert (scope.status_code, scope.json()["code"]) == (400, "validation_failed")
    assert (await http.get("/settings")).json()["mailer_autoconfirm"] is True


# Administration


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


# By mail


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
    careful: str, connect: Connect, database: psycopg.Connection[Any]
) -> None:
    client, email = connect(careful), new_email()
    await client.auth.sign_in_with_otp({"email": email})
    mail = await last_mail(careful, email)
    database.execute(
        "update auth.one_time_tokens set created_at = created_at - interval '61 minutes'"
        " where relates_to = %s",
        [email],
    )
    by_link = client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "magiclink"})
    assert await refusal(by_link) == (403, "otp_expired")
    by_code = client.auth.verify_otp({"email": email, "token": mail["code"], "type": "email"})
    assert await refusal(by_code) == (403, "otp_expired")


async def test_new_address_counts_only_once_confirmed(careful: str, connect: Connect) -> None:
    client, old, new = connect(careful), new_email(), new_email()
    await connect(careful, SECRET).auth.admin.create_user(
        {"email": old, "password": PASSWORD, "email_confirm": True}
    )
    await sign_in(client, old)
    pending = await client.auth.update_user({"email": new})
    assert (pending.user.email, pending.user.new_email) == (old, new)
    mail = await last_mail(careful, new)
    changed = await client.auth.verify_otp(
        {"token_hash": mail["token_hash"], "type": "email_change"}
    )
    assert session_of(changed).user.email == new
    assert await refusal(sign_in(client, old)) == (400, "invalid_credentials")


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
        # Whoever edits the link gets no further.
        edited = await browser.get(f"{careful}/auth/v1/verify", params={"redirect_to": wanted})
    assert followed.headers["location"].startswith(lands + "#access_token=")
    assert edited.headers["location"].startswith(lands)


async def test_admin_link_works_without_a_mail(careful: str, connect: Connect) -> None:
    admin, email = connect(careful, SECRET).auth.admin, new_email()
    made = await admin.generate_link({"type": "signup", "email": email, "password": PASSWORD})
    assert made.user.email == email
    assert made.properties.verification_type == "signup"
    client = connect(careful)
    response = await client.auth.verify_otp(
        {"token_hash": made.properties.hashed_token, "type": "signup"}
    )
    assert response.session
    assert (await sign_in(client, email)).user
    unknown = admin.generate_link({"type": "recovery", "email": new_email()})
    assert await refusal(unknown) == (404, "user_not_found")


async def test_invitation_is_accepted_once(careful: str, connect: Connect) -> None:
    admin, email = connect(careful, SECRET).auth.admin, new_email()
    invited = await admin.invite_user_by_email(email, {"data": {"team": "a"}})
    assert invited.user.invited_at
    mail = await last_mail(careful, email)
    client = connect(careful)
    accepted = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "invite"})
    assert session_of(accepted).user.user_metadata["team"] == "a"
    assert await refusal(admin.invite_user_by_email(email)) == (422, "email_exists")


async def test_mailbox_page_shows_mail_as_text(
    careful: str, database: psycopg.Connection[Any]
) -> None:
    evil = "<script>alert(1)</script>"
    row = database.execute(
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
    database.execute("delete from auth.mailbox where id = %s", [row[0]])


# What is kept, and what is told


async def test_nothing_secret_is_stored_or_logged(
    server: str, connect: Connect, log: Path, database: psycopg.Connection[Any]
) -> None:
    client, email = connect(server), new_email()
    password = f"very secret {uuid4().hex}"
    response = await client.auth.sign_up({"email": email, "password": password})
    session = session_of(response)
    await client.auth.refresh_session()
    row = database.execute(
        "select encrypted_password, array(select encode(token_hash, 'escape')"
        " from auth.refresh_tokens) from auth.users where email = %s",
        [email],
    ).fetchone()
    assert row
    assert row[0].startswith("$argon2id$")
    assert session.refresh_token not in str(row[1])
    logged = await asyncio.to_thread(log.read_text)
    for secret in (password, email, session.access_token, session.refresh_token, SECRET):
        assert secret not in logged
    lines = [json.loads(line) for line in logged.splitlines()]
    assert any(line.get("path") == "/auth/v1/signup" for line in lines)


async def test_hashing_does_not_hold_up_other_requests(
    server: str, connect: Connect, http: httpx.AsyncClient
) -> None:
    logins = [
        asyncio.create_task(refusal(sign_in(connect(server), new_email()))) for _ in range(20)
    ]
    await asyncio.sleep(0.05)
    answered = 0
    while not all(login.done() for login in logins):
        assert (await http.get("/.well-known/jwks.json")).status_code == 200
        answered += 1
    assert answered > 10
    assert {await login for login in logins} == {(400, "invalid_credentials")}


async def test_lost_database_connections_are_replaced(
    http: httpx.AsyncClient, server: str, connect: Connect, database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    await signed_up(client)
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
        ["embedded-auth"],
    )
    codes = [(await http.get("/health")).status_code for _ in range(12)]
    assert set(codes) <= {200, 503}
    assert codes[-1] == 200
    assert await client.auth.get_user()


def test_migrating_twice_is_harmless_and_needs_only_the_database(auth_database_url: str) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", MODULE, "--migrate"],
            env=clean_environment({"AUTH_DATABASE_URL": auth_database_url}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "create table if not exists auth.users" in schema_path().read_text()


def test_private_tables_are_closed_to_migrations(auth_database_url: str) -> None:
    parts = urlsplit(auth_database_url)
    as_postgres = auth_database_url.replace(parts.username or "", "postgres", 1)
    if parts.password:
        pytest.skip("the other role's password is not known here")
    with psycopg.connect(as_postgres, autocommit=True) as connection:
        connection.execute("select id, email from auth.users limit 1")
        for table in ("embedded_signing_keys", "refresh_tokens", "one_time_tokens", "mailbox"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from auth.{table}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "status", "messages"),
    [
        (
            dict.fromkeys(("AUTH_DATABASE_URL", "AUTH_SECRET_KEY", "AUTH_PORT"), ""),
            2,
            ["AUTH_DATABASE_URL is missing", "AUTH_SECRET_KEY is missing", "AUTH_PORT is missing"],
        ),
        ({"AUTH_PORT": "99999"}, 2, ["AUTH_PORT is not a port number"]),
        (
            {"AUTH_AUTOCONFIRM": "maybe", "AUTH_JWT_TTL": "1h"},
            2,
            ["AUTH_AUTOCONFIRM is neither", "AUTH_JWT_TTL is not"],
        ),
        ({"AUTH_PUBLIC_URL": "http://10.0.0.1:9"}, 2, ["not a loopback address"]),
        ({"APP_ENV": "production"}, 1, ["development only"]),
        ({"APP_ENV": "preview"}, 1, ["development only"]),
        ({}, 1, ["The database can't be reached"]),
    ],
)
def test_bad_environment_is_one_line_and_no_start(
    changes: dict[str, str], status: int, messages: list[str]
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    ended = subprocess.run(
        [sys.executable, "-m", MODULE],
        env=clean_environment(variables_for(nowhere) | changes),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.count("\n") == 1
    for message in messages:
        assert message in ended.stderr

"""Who the embedded auth server lets in, how it refuses, and what it keeps and tells."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from childprocess.ports import free_port
from devstack.auth import schema_path
from devstack.tests.auth_client import (
    MODULE,
    PUBLISHABLE,
    SECRET,
    VERSION,
    Connect,
    claims_of,
    new_email,
    refusal,
    segment,
    session_of,
    sign_in,
    signed_up,
    signed_with,
    variables_for,
)
from devstack.tests.servers import clean_environment

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


# What is stored, and what is returned


async def test_nothing_secret_is_stored_or_logged(
    server: str, connect: Connect, auth_log: Path, auth_database: psycopg.Connection[Any]
) -> None:
    client, email = connect(server), new_email()
    password = f"very secret {uuid4().hex}"
    response = await client.auth.sign_up({"email": email, "password": password})
    session = session_of(response)
    await client.auth.refresh_session()
    row = auth_database.execute(
        "select encrypted_password, array(select encode(token_hash, 'escape')"
        " from auth.refresh_tokens) from auth.users where email = %s",
        [email],
    ).fetchone()
    assert row
    assert row[0].startswith("$argon2id$")
    assert session.refresh_token not in str(row[1])
    logged = await asyncio.to_thread(auth_log.read_text)
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
    http: httpx.AsyncClient, server: str, connect: Connect, auth_database: psycopg.Connection[Any]
) -> None:
    client = connect(server)
    await signed_up(client)
    auth_database.execute(
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
            timeout=60,
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
        for table in (
            *("embedded_signing_keys", "refresh_tokens", "one_time_tokens", "mailbox"),
            *("mfa_factors", "mfa_challenges"),
        ):
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
        (
            {"AUTH_PROVIDERS": "google,nobody", "AUTH_DISABLE_SIGNUP": "perhaps"},
            2,
            ["AUTH_PROVIDERS doesn't know nobody", "AUTH_DISABLE_SIGNUP is neither"],
        ),
        (
            {"AUTH_CAPTCHA_PROVIDER": "riddle", "AUTH_CAPTCHA_VERIFY_URL": "ftp://x"},
            2,
            [
                "AUTH_CAPTCHA_PROVIDER is none of",
                "AUTH_CAPTCHA_SECRET is missing",
                "AUTH_CAPTCHA_VERIFY_URL is not an http address",
            ],
        ),
        (
            {"AUTH_MAIL_LINK": "javascript:{hash}"},
            2,
            ["AUTH_MAIL_LINK doesn't know {hash}", "doesn't begin with an address"],
        ),
        ({"AUTH_PASSWORD_KIB": "7"}, 2, ["AUTH_PASSWORD_KIB is not a whole number from 8"]),
        ({"AUTH_PASSWORD_MINIMUM": "5"}, 2, ["AUTH_PASSWORD_MINIMUM is not a whole number from 6"]),
        ({"AUTH_PASSWORD_KIB": "8"}, 1, ["The database can't be reached"]),
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
        timeout=60,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.count("\n") == 1
    for message in messages:
        assert message in ended.stderr

"""What tests of the embedded auth server share: its clients, its mails, its refusals."""

import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from supabase import AsyncClient
from supabase_auth.errors import AuthApiError
from supabase_auth.types import AuthResponse, Session

from childprocess.ports import free_port
from devstack.tests.servers import running

PUBLISHABLE, SECRET = "sb_publishable_test", "sb_secret_test"
SITE = "http://127.0.0.1:3000"
PASSWORD = "correct horse"
VERSION = {"x-supabase-api-version": "2024-01-01"}
MODULE = "devstack.auth"

_numbers = count()
Connect = Callable[..., AsyncClient]


def new_email() -> str:
    return f"person{next(_numbers)}-{uuid4().hex[:6]}@example.com"


def variables_for(database_url: str, **more: str) -> dict[str, str]:
    port = more.pop("port", None) or str(free_port())
    return {
        "AUTH_DATABASE_URL": database_url,
        "AUTH_PORT": port,
        "AUTH_SMTP_PORT": str(free_port()),
        "AUTH_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "AUTH_PUBLISHABLE_KEY": PUBLISHABLE,
        "AUTH_SECRET_KEY": SECRET,
        "AUTH_SITE_URL": SITE,
        **more,
    }


def serving(variables: dict[str, str], log: Path) -> Any:
    health = f"{variables['AUTH_PUBLIC_URL']}/auth/v1/health"
    return running(MODULE, variables, health=health, log=log)


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

"""What tests do to the embedded parts besides using them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal, TypeVar
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from aisaas import overload
from aisaas.adapters import redis_client
from aisaas.db import engine
from aisaas.errors import DependencyError
from devstack.stack import Stack

Answer = TypeVar("Answer")
Outage = Literal["stopped", "paused"]
# How long production waits for each part before it takes it for away.
LIMITS = {
    (module, name): getattr(module, name)
    for module, name in (
        (redis_client, "COMMAND_SECONDS"),
        (engine, "ASK_SECONDS"),
        (engine, "ASKED_STATEMENT_SECONDS"),
        (engine, "CONNECT_SECONDS"),
        (engine, "POOL_WAIT_SECONDS"),
        (engine, "TRANSACTION_SECONDS"),
        (overload, "WAIT_SECONDS"),
    )
}
PATIENT_SECONDS = 30
# Pools keep it for good, so `outage` can't change it, and tests with a hanging server wait this long.
PATIENT: dict[tuple[ModuleType, str], int] = {(engine, "CONNECT_SECONDS"): 8}
# Mails are sent in the background, after the answer.
MAIL_SECONDS = 30.0


@contextmanager
def production_limits() -> Generator[None]:
    """Answers are waited for as long as users wait."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), seconds in LIMITS.items():
            patch.setattr(module, name, seconds)
        yield


@contextmanager
def outage(stack: Stack, part: str, kind: Outage) -> Generator[None]:
    """A part that is gone (connections are refused), or one that hangs (nobody answers).

    While it lasts, answers are waited for as long as in production.
    """
    if kind == "stopped":
        stack.stop(part)
    else:
        stack.pause(part)
    try:
        with production_limits():
            yield
    finally:
        if kind == "stopped":
            stack.start(part)
        else:
            stack.resume(part)


async def answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is an answer, for calls that are safe to repeat."""
    while True:
        try:
            return await call()
        except DependencyError:
            await asyncio.sleep(0.05)


class AuthAdmin:
    """The auth server's own administration, as an operator uses it."""

    def __init__(self, stack: Stack) -> None:
        key = stack.env["SUPABASE_SECRET_KEY"]
        self._client = httpx.Client(
            base_url=f"{stack.env['SUPABASE_URL']}/auth/v1",
            headers={"apikey": key, "authorization": f"Bearer {key}"},
        )

    def close(self) -> None:
        self._client.close()

    def ban(self, user_id: UUID) -> None:
        self._client.put(f"/admin/users/{user_id}", json={"ban_duration": "24h"}).raise_for_status()

    def delete(self, user_id: UUID) -> None:
        self._client.delete(f"/admin/users/{user_id}").raise_for_status()


class Mailbox:
    """What the embedded auth server mailed."""

    def __init__(self, stack: Stack) -> None:
        self._client = httpx.Client(base_url=stack.env["SUPABASE_URL"])

    def close(self) -> None:
        self._client.close()

    def to(self, email: str) -> list[dict[str, str]]:
        """Newest first."""
        answer = self._client.get("/mailbox.json", params={"to": email.lower()})
        return answer.raise_for_status().json()["messages"]

    async def token(self, email: str, kind: str) -> str:
        """The token of the newest link of a kind; waits for the first, which may be sent late."""
        deadline = time.monotonic() + MAIL_SECONDS
        while not (found := self.tokens(email, kind)):
            assert time.monotonic() < deadline, f"no {kind} mail to {email}"
            await asyncio.sleep(0.05)
        return found[0]

    def tokens(self, email: str, kind: str) -> list[str]:
        """The tokens of all links of a kind so far, the newest first."""
        return [mail["token_hash"] for mail in self.to(email) if mail["type"] == kind]


async def pkce_code(stack: Stack, mailbox: Mailbox, email: str, verifier: str) -> str:
    """A code such as a visit to a provider ends with, for a challenge of ours."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    url, key = stack.env["SUPABASE_URL"], stack.env["SUPABASE_PUBLISHABLE_KEY"]
    body = {
        "email": email,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "s256",
    }
    async with httpx.AsyncClient(base_url=f"{url}/auth/v1") as client:
        requested = await client.post("/otp", headers={"apikey": key}, json=body)
        requested.raise_for_status()
        link = {"token": await mailbox.token(email, "magiclink"), "type": "magiclink"}
        query = link | {"redirect_to": "http://127.0.0.1:3000"}
        back = await client.get("/verify", params=query)
    return parse_qs(urlsplit(back.headers["location"]).query)["code"][0]

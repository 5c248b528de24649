"""What tests do to the embedded parts besides using them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Literal, TypeVar
from uuid import UUID

import httpx

from aisaas.embedded.stack import Stack
from aisaas.errors import DependencyError

Answer = TypeVar("Answer")
Outage = Literal["stopped", "paused"]


@contextmanager
def outage(stack: Stack, part: str, kind: Outage) -> Generator[None]:
    """A part that is gone (connections are refused), or one that hangs (nobody answers)."""
    if kind == "stopped":
        stack.stop(part)
    else:
        stack.pause(part)
    try:
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

"""What tests do to the embedded parts besides using them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal
from uuid import UUID

import httpx

from aisaas.embedded.stack import Stack

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

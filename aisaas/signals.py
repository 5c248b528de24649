"""What several domains need to tell other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Signals(Protocol):
    """Small facts between processes: stop this reply, this user's sessions changed."""

    async def send(self, topic: str, subject: str) -> None: ...

    def receive(self, topic: str) -> AsyncIterator[str]: ...

"""A process of its own that runs one reply and prints what it shows, to be killed by a test.

It stops and waits at the point that TEST_POINT names, and says "here" when it is there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import Services, build

POINTS = ("reply", "before settling", "in the transaction", "after settling")
# Waits at none of them: a test kills it while it makes the title.
TITLE = "title"


def say(value: object) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201


async def here() -> None:
    say({"here": True})
    await asyncio.Event().wait()


class PausedSettler:
    async def settle(self, *_: object, **__: object) -> bool:
        await here()
        return False


class PausedDatabase:
    """Everything is written, nothing is committed."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.armed = False

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        async with self._real.transaction() as session:
            yield session
            await session.flush()
            # Recovery settles too, what others have left.
            if self.armed:
                await here()


class PausedLog:
    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def close(self, _: object) -> None:
        await here()


def pause_at(point: str, services: Services) -> None:
    """Put what waits at `point` in the place of the real part."""
    replies: Any = services.running
    parts = replies._parts
    if point == "before settling":
        replies._parts = dataclasses.replace(parts, settler=PausedSettler())
    elif point == "in the transaction":
        parts.settler._database = PausedDatabase(parts.settler._database)
    elif point == "after settling":
        replies._parts = dataclasses.replace(parts, log=PausedLog(parts.log))


async def main() -> None:
    overrides: dict[str, object] = json.loads(os.environ["TEST_SETTINGS"])
    point = os.environ.get("TEST_POINT", "reply")
    text = "long 2000 speed 200" if point == "reply" else "long 40"
    services = build(load(**overrides))
    async with running(services):
        # On a busy machine that takes longer than a first word may.
        await services.model.warm()
        pause_at(point, services)
        ada = await services.callers.resolve(os.environ["TEST_COOKIE"])
        started = await services.chat.send(ada, text, conversation_id=None, model="demo")
        if point == "in the transaction":
            replies: Any = services.running
            replies._parts.settler._database.armed = True
        say(str(started.reply.id))
        async for segment in services.chat.follow(ada, started.reply.id):
            say(segment.text)


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)

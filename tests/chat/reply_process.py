"""A process of its own that runs one reply and prints what it shows, to be killed by a test."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import build


async def main() -> None:
    overrides: dict[str, object] = json.loads(os.environ["TEST_SETTINGS"])
    services = build(load(**overrides))
    async with running(services):
        ada = await services.accounts.principal(os.environ["TEST_COOKIE"])
        started = await services.chat.send(
            ada, "long 2000 speed 200", conversation_id=None, model="demo"
        )
        print(json.dumps(str(started.reply.id)), flush=True)  # noqa: T201
        async for segment in services.chat.follow(ada, started.reply.id):
            print(json.dumps(segment.text), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)

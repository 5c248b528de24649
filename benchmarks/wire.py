"""Bytes on the wire for each byte of a streamed reply, from send to done, on the running instance."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from uuid import uuid4

from aisaas.cli.instance import Running
from benchmarks.tab import CHAT, open_tab, sign_up

MARGIN_SECONDS = 60


def measure(instance: Running, tokens: int, speed: int) -> dict[str, float]:
    """One reply of the demo model to one tab of a new account.

    Args:
        instance: whose demo model answers; the account's allowance must be larger than the reply.
        tokens: of the reply, about 4 characters each.
        speed: tokens a second; 0 as fast as it goes.
    """
    return asyncio.run(_measure(instance.url, tokens, speed))


async def _measure(url: str, tokens: int, speed: int) -> dict[str, float]:
    cookie = await sign_up(url, f"wire-{uuid4().hex[:12]}@example.com")
    allowed = MARGIN_SECONDS + (tokens / speed if speed else 0)
    async with open_tab(url, cookie) as tab:
        await tab.until(lambda: tab.var(CHAT, "models"))
        before = tab.received
        await tab.send(f"long {tokens} speed {speed}")
        await tab.until(lambda: tab.status() not in {"", "streaming"}, seconds=allowed)
        wire = tab.received - before
    times = [at for at, _, _ in tab.windows]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    size = len(tab.text.encode())
    return {
        "tokens": tokens,
        "reply_bytes": size,
        "wire_bytes": wire,
        "ratio": round(wire / size, 2) if size else 0.0,
        "windows": len(times),
        "longest_gap_ms": round(max(gaps, default=0.0) * 1000),
    }

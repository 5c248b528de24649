"""How long a token takes from the provider to a tab, and what its reply costs on the wire."""

from __future__ import annotations

import asyncio
import re
import statistics
from uuid import uuid4

from aisaas.bench.tab import CHAT, Tab, open_tab, sign_up

MARGIN_SECONDS = 60
# A stamp of the demo model's `ticks`: milliseconds on the machine's monotonic clock.
_STAMP = re.compile(r" (\d+)(?= )")


async def measure(url: str, *, tokens: int, speed: int, replies: int = 1) -> dict[str, float]:
    """Replies of the demo model at once, each to a tab of an account of its own.

    Args:
        url: an instance on this machine, whose demo model answers.
        tokens: of each reply.
        speed: tokens a second of each reply.
        replies: at the same time.
    """
    lags = [
        lag
        for found in await asyncio.gather(*(_one(url, tokens, speed) for _ in range(replies)))
        for lag in found
    ]
    lags.sort()
    return {
        "tokens": len(lags),
        "p50_ms": round(statistics.median(lags), 1),
        "p95_ms": round(lags[int(len(lags) * 0.95)], 1),
        "max_ms": round(lags[-1], 1),
    }


async def _one(url: str, tokens: int, speed: int) -> list[float]:
    cookie = await sign_up(url, f"lag-{uuid4().hex[:12]}@example.com")
    async with open_tab(url, cookie) as tab:
        await tab.until(lambda: tab.var(CHAT, "models"))
        await tab.send(f"ticks {tokens} speed {speed}")
        await tab.until(
            lambda: tab.status() not in {"", "streaming"}, seconds=MARGIN_SECONDS + tokens / speed
        )
        return lags_of(tab)


def lags_of(tab: Tab) -> list[float]:
    """Milliseconds of each stamp in the tab's text, by the window that brought it."""
    ends = [(at, offset + len(text)) for at, offset, text in tab.windows]
    lags: list[float] = []
    for stamp in _STAMP.finditer(tab.text):
        arrived = next(at for at, end in ends if end >= stamp.end())
        lags.append(arrived * 1000 - int(stamp[1]))
    return lags

"""How many replies of 50 tokens a second stream at once, each to a tab of its own, without lagging.

The whole path: the demo model over HTTP, LiteLLM, the reply log and the tabs' states in Redis, the
socket. Each token is the provider's clock when it was sent, so a tab knows by how much it is late.
The number of replies is doubled while 95 % of the tokens arrive within the limit, and then narrowed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from aisaas.bench.instance import Instance, instance
from aisaas.bench.tab import CHAT, Tab, open_tab, sign_up

SPEED = 50
LIMIT_MS = 200.0
SETTLING_SECONDS = 1.0
MARGIN_SECONDS = 60
FIRST_GUESS = 8
# Narrowed to within this part of the number found.
PRECISION = 0.07


@dataclass(frozen=True, slots=True)
class Level:
    """What was seen with so many replies."""

    replies: int
    complete: bool
    p95_lag_ms: float
    cpu_us_per_token: float
    bytes_per_reply_byte: float

    @property
    def holds(self) -> bool:
        return self.complete and self.p95_lag_ms < LIMIT_MS


def measure(seconds: int, workers: int) -> dict[str, float]:
    """The highest level that holds, or the lowest one if none does.

    Args:
        seconds: how long each reply is.
        workers: processes of the app; tabs are dealt to them in turn.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(Path(folder), workers=workers, MAX_REPLY_TOKENS="8192") as running,
    ):
        level = asyncio.run(_highest(running, seconds))
    return {
        "replies": level.replies,
        "p95_lag_ms": round(level.p95_lag_ms, 1),
        "cpu_us_per_token": round(level.cpu_us_per_token, 1),
        "bytes_per_reply_byte": round(level.bytes_per_reply_byte, 2),
    }


async def _highest(running: Instance, seconds: int) -> Level:
    cookies: list[str] = []

    async def at(replies: int) -> Level:
        while len(cookies) < replies:
            cookies.append(await sign_up(running.url, f"stream-{uuid4().hex[:12]}@example.com"))
        return await _level(running, cookies[:replies], seconds)

    await at(1)
    best = found = await at(FIRST_GUESS)
    replies = FIRST_GUESS
    while found.holds:
        best, replies = found, replies * 2
        found = await at(replies)
    if not best.holds:
        return best
    low, high = best.replies, replies
    while high - low > max(1, low * PRECISION):
        middle = (low + high) // 2
        found = await at(middle)
        if found.holds:
            best, low = found, middle
        else:
            high = middle
    return best


async def _level(running: Instance, cookies: Sequence[str], seconds: int) -> Level:
    tokens = SPEED * seconds
    async with AsyncExitStack() as tabs:
        opened = [
            await tabs.enter_async_context(
                open_tab(running.addresses[number % len(running.addresses)], cookie)
            )
            for number, cookie in enumerate(cookies)
        ]
        for tab in opened:
            await tab.until(lambda tab=tab: tab.var(CHAT, "models"))
        received, cpu = sum(tab.received for tab in opened), _cpu_seconds(running)
        await asyncio.gather(
            *(_reply(tab, tokens, delay=number / len(opened)) for number, tab in enumerate(opened))
        )
        cpu = _cpu_seconds(running) - cpu
        received = sum(tab.received for tab in opened) - received
    lags = sorted(lag for tab in opened for lag in _lags(tab))
    written = sum(len(tab.text.encode()) for tab in opened)
    complete = all(len(tab.text.split()) >= tokens for tab in opened)
    return Level(
        replies=len(opened),
        complete=complete,
        p95_lag_ms=lags[int(len(lags) * 0.95)] if lags else float("inf"),
        cpu_us_per_token=cpu * 1e6 / (tokens * len(opened)),
        bytes_per_reply_byte=received / max(written, 1),
    )


async def _reply(tab: Tab, tokens: int, *, delay: float) -> None:
    # Not all at the same moment, as people do.
    await asyncio.sleep(delay)
    await tab.send(f"ticks {tokens} speed {SPEED}")
    allowed = MARGIN_SECONDS + tokens / SPEED
    await tab.until(lambda: tab.status() not in {"", "streaming"}, seconds=allowed)


def _lags(tab: Tab) -> list[float]:
    """Milliseconds from the provider to the tab, of each token after the first second."""
    found: list[float] = []
    have, first = "", None
    for arrived, offset, text in tab.windows:
        end = offset + len(text)
        if end <= len(have) or offset > len(have):
            continue
        before = have.rfind(" ") + 1
        have += text[len(have) - offset :]
        # The last word may still grow.
        *whole, _ = have[before:].split(" ")
        stamps = [float(word) for word in whole if word]
        if first is None and stamps:
            first = stamps[0]
        found += [
            arrived * 1000 - stamp
            for stamp in stamps
            if first is not None and stamp - first > SETTLING_SECONDS * 1000
        ]
    return found


def _cpu_seconds(running: Instance) -> float:
    """Processor time of the app's processes so far, user and system."""
    roots = {pid for pid in running.pids if pid is not None}
    ticks = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended since.
            continue
        if int(folder.name) in roots or int(fields[1]) in roots:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")

"""How many replies of 50 tokens a second stream at once without lagging, each to its own tab.

The whole path: the demo model over HTTP, LiteLLM, the reply log in Redis, the tabs' states (also in
Redis by default), the socket. Each token is the provider's clock when it was sent, so a tab knows
how late it is. Each tab sends again when its reply has ended, so replies keep starting and
settling. The number of replies is doubled while 95 % of the tokens arrive within the limit, and
then narrowed.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks.instance import Instance, instance
from benchmarks.tab import CHAT, Tab, open_tab, sign_up

SPEED = 50
LIMIT_MS = 200.0
REPLIES_EACH = 2
MARGIN_SECONDS = 15
FIRST_GUESS = 8
# Narrowed to within this part of the number found.
PRECISION = 0.07


# A token of the demo model's `ticks`: milliseconds on the machine's monotonic clock.
_STAMP = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Token:
    """When it arrived (seconds, monotonic), how late it was, and its bytes with the space."""

    arrived: float
    lag_ms: float
    size: int


@dataclass(frozen=True, slots=True)
class Level:
    """The measurements with so many replies."""

    replies: int
    complete: bool
    p95_lag_ms: float
    cpu_us_per_token: float
    bytes_per_reply_byte: float

    @property
    def holds(self) -> bool:
        return self.complete and self.p95_lag_ms < LIMIT_MS


def measure(seconds: int, workers: int, tab_states: str) -> dict[str, float]:
    """The highest level that holds, or the lowest one if none does.

    Args:
        seconds: how long each reply is.
        workers: processes of the app; tabs are dealt to them in turn.
        tab_states: where the tabs' states live, `redis` or `memory`.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(
            Path(folder), workers=workers, MAX_REPLY_TOKENS="8192", TAB_STATES=tab_states
        ) as running,
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
    """Each tab asks for two replies, one after the other; the tabs begin evenly spread over the
    length of a reply. While the second ones begin, all of them stream: that phase is measured."""
    async with AsyncExitStack() as tabs:
        opened = [
            await tabs.enter_async_context(
                open_tab(running.addresses[number % len(running.addresses)], cookie)
            )
            for number, cookie in enumerate(cookies)
        ]
        await asyncio.gather(*(_greet(tab) for tab in opened))
        talks = [
            asyncio.create_task(_talk(tab, seconds, delay=seconds * number / len(opened)))
            for number, tab in enumerate(opened)
        ]
        await asyncio.sleep(seconds)
        since, received, cpu = time.monotonic(), _received(opened), _cpu_seconds(running)
        await asyncio.sleep(seconds)
        until, received, cpu = (
            time.monotonic(),
            _received(opened) - received,
            _cpu_seconds(running) - cpu,
        )
        heard = [token for talk in talks for token in await talk]
    lags = sorted(each.lag_ms for each in heard if since <= each.arrived < until)
    size = sum(each.size for each in heard if since <= each.arrived < until)
    expected = SPEED * seconds * REPLIES_EACH
    return Level(
        replies=len(opened),
        complete=len(heard) == expected * len(opened),
        p95_lag_ms=lags[int(len(lags) * 0.95)] if lags else float("inf"),
        cpu_us_per_token=cpu * 1e6 / max(len(lags), 1),
        bytes_per_reply_byte=received / max(size, 1),
    )


def _received(tabs: Sequence[Tab]) -> int:
    return sum(tab.received for tab in tabs)


async def _greet(tab: Tab) -> None:
    """Begin the conversation, so that measured messages make no title: most messages don't."""
    await tab.until(lambda: tab.var(CHAT, "models"))
    await tab.send("long 5 speed 0")
    await tab.until(lambda: tab.status() not in {"", "streaming"})


async def _talk(tab: Tab, seconds: int, *, delay: float) -> list[Token]:
    await asyncio.sleep(delay)
    heard: list[Token] = []
    for _ in range(REPLIES_EACH):
        tab.begin_anew()
        await tab.send(f"ticks {SPEED * seconds} speed {SPEED}", tab.var(CHAT, "current"))
        try:
            await tab.until(
                lambda: tab.status() not in {"", "streaming"}, seconds=MARGIN_SECONDS + seconds
            )
        except TimeoutError:
            # Far beyond what this machine holds: the level counts as incomplete.
            return heard
        heard += _tokens(tab)
    return heard


def _tokens(tab: Tab) -> list[Token]:
    """Each token of a reply: it arrived with the window that brought its last character."""
    ends = [(at, offset + len(text)) for at, offset, text in tab.windows]
    found: list[Token] = []
    window = 0
    for stamp in _STAMP.finditer(tab.text):
        while ends[window][1] < stamp.end():
            window += 1
        arrived = ends[window][0]
        found.append(Token(arrived, arrived * 1000 - int(stamp[0]), len(stamp[0]) + 1))
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

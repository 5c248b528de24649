"""How many replies stream at once without lagging, each to its own tab; and how many peers hold.

The whole path: the demo model over HTTP, LiteLLM, the reply log in Redis, the tabs' states (also in
Redis by default), the socket. Peers get the same replies of the same provider on the same machine in the
same run (`levels.py` says how they are measured).
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.instance import Instance, instance
from benchmarks.levels import STAMP, Candidate, Level, Listener, Token, highest, prompt
from benchmarks.peers.chainlit_peer import chainlit
from benchmarks.peers.sse import bare_sse
from benchmarks.tab import CHAT, Tab, open_tab, sign_up

MARGIN_SECONDS = 15
GREETED_AT_ONCE = 8
# Tabs without a reply, for what one costs.
IDLE_TABS = 100
PEERS = {"sse": bare_sse, "chainlit": chainlit}


class OurTab(Listener):
    def __init__(self, tab: Tab) -> None:
        self._tab = tab

    @property
    def received(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._tab.received

    async def greet(self) -> None:
        """Begin the conversation, so that measured messages make no title: most messages don't."""
        await self._tab.until(lambda: self._tab.var(CHAT, "models"))
        await self._tab.send("long 5 speed 0")
        await self._tab.until(lambda: self._tab.status() not in {"", "streaming"})

    async def listen(self, seconds: int) -> list[Token]:
        tab = self._tab
        tab.begin_anew()
        await tab.send(prompt(seconds), tab.var(CHAT, "current"))
        await tab.until(
            lambda: tab.status() not in {"", "streaming"}, seconds=MARGIN_SECONDS + seconds
        )
        return _tokens(tab)


class Ours(Candidate):
    def __init__(self, running: Instance) -> None:
        self._running = running
        self._cookies: list[str] = []

    @property
    def pids(self) -> Iterable[int]:
        return [pid for pid in self._running.pids if pid is not None]

    async def listeners(self, count: int) -> AsyncGenerator[Sequence[Listener]]:
        async with self.tabs(count) as tabs:
            found = [OurTab(tab) for tab in tabs]
            # A burst isn't measured here.
            for begin in range(0, count, GREETED_AT_ONCE):
                few = found[begin : begin + GREETED_AT_ONCE]
                await asyncio.gather(*(each.greet() for each in few))
            yield found

    @asynccontextmanager
    async def tabs(self, count: int) -> AsyncGenerator[Sequence[Tab]]:
        """Open tabs, dealt to the workers in turn, each of an account of its own."""
        addresses = self._running.addresses
        while len(self._cookies) < count:
            email = f"stream-{uuid4().hex[:12]}@example.com"
            self._cookies.append(await sign_up(self._running.url, email))
        async with AsyncExitStack() as tabs:
            yield [
                await tabs.enter_async_context(
                    open_tab(addresses[number % len(addresses)], self._cookies[number])
                )
                for number in range(count)
            ]


def measure(
    seconds: int,
    workers: int,
    tab_states: str,
    peers: Sequence[str],
    progress: Callable[[str], None],
) -> dict[str, object]:
    """The highest level that holds, or the lowest one if none does.

    Args:
        seconds: how long each reply is.
        workers: processes of the app; tabs are dealt to them in turn.
        tab_states: where the tabs' states live, `redis` or `memory`.
        peers: names in PEERS.
        progress: is called with a line for each step, since the whole takes minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with instance(
            folder, workers=workers, MAX_REPLY_TOKENS="8192", TAB_STATES=tab_states
        ) as running:
            ours = Ours(running)
            progress(f"Open {IDLE_TABS} tabs")
            kb_per_tab = asyncio.run(_memory_of_tabs(ours))
            progress("Our replies")
            level, reported = asyncio.run(highest(ours, seconds, progress))
            stack = running.stack
            found: dict[str, dict[str, object]] = {}
            for peer in peers:
                progress(f"Replies of {peer}")
                with PEERS[peer](folder, stack) as candidate:
                    theirs, on_the_way = asyncio.run(highest(candidate, seconds, progress))
                found[peer] = _figures(theirs) | {"lags": _lags(on_the_way)}
    return {
        **_figures(level),
        "bytes_per_reply_byte": _rounded(level.bytes_per_reply_byte),
        "lags": _lags(reported),
        "kb_per_tab": round(kb_per_tab),
        "peers": found,
    }


def _figures(level: Level) -> dict[str, object]:
    return {
        "replies": level.replies,
        "p50_lag_ms": _rounded(level.p50_lag_ms),
        "p95_lag_ms": _rounded(level.p95_lag_ms),
        "cpu_us_per_token": _rounded(level.cpu_us_per_token),
    }


def _rounded(figure: float) -> float | None:
    """None where nothing arrived: JSON has no infinity."""
    return round(figure, 1) if math.isfinite(figure) else None


def _lags(levels: dict[int, Level]) -> dict[str, Any]:
    return {str(replies): _figures(found) for replies, found in levels.items()}


async def _memory_of_tabs(ours: Ours) -> float:
    """KB of the app's processes for each open tab on the chat page."""
    # A first reply, so that all is loaded that is only loaded once.
    async with asynccontextmanager(ours.listeners)(1):
        before = _resident_kb(ours.pids)
    async with ours.tabs(IDLE_TABS) as tabs:
        await asyncio.gather(*(tab.until(lambda tab=tab: tab.var(CHAT, "models")) for tab in tabs))
        return max(_resident_kb(ours.pids) - before, 0) / IDLE_TABS


def _resident_kb(pids: Iterable[int]) -> int:
    """Of processes and their children."""
    roots, total = set(pids), 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if int(folder.name) in roots or parent in roots:
                lines = (folder / "status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        except OSError:
            # It has ended since.
            continue
    return total


def _tokens(tab: Tab) -> list[Token]:
    """Each token of a reply: it arrived with the window that brought its last character."""
    ends = [(at, offset + len(text)) for at, offset, text in tab.windows]
    found: list[Token] = []
    window = 0
    for stamp in STAMP.finditer(tab.text):
        while ends[window][1] < stamp.end():
            window += 1
        found.append(Token.of(stamp[0], ends[window][0]))
    return found

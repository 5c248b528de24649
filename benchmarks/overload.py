"""What a process does when twice as much is asked of it as it can do.

Four kinds of work, alone and together: messages sent from open tabs, tabs that open, webhooks, and
sign-ins. First as many clients as keep the process busy ask again as soon as they have an answer: that is
the most it does. Then requests start at twice that rate, whatever comes back. Each ends as done, busy
(refused with the time to come back), unavailable (the error for an outage), or failed. Two
seconds after the load is gone, each kind is asked once more.

One process of the app, and the clients in another, on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import psycopg
from stripe import WebhookSignature
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.instance import Instance, instance
from benchmarks.tab import CHAT, ROOT, Tab, open_tab, sign_up

DONE, BUSY, UNAVAILABLE, FAILED = "done", "busy", "unavailable", "failed"
NOTICES = f"{ROOT}.aisaas___ui___notices____notices"
PASSWORD = "a password for a test"  # noqa: S105  # of accounts of this measurement
WEBHOOKS = "/api/webhooks/stripe"
SECRET = "whsec_of_a_measurement"  # noqa: S105  # of this measurement
# Tabs that send messages, and accounts that the others sign in to.
TABS, ACCOUNTS = 60, 20
CLIENTS: Mapping[str, int] = {"calls": 24, "tabs": 12, "webhooks": 16, "sign_ins": 16}
TIMES = 2.0
UNAVAILABLE_STATUS = 503
# More requests under way than this are the client's limit, not the process's.
MOST_UNDER_WAY = 400
PATIENCE_SECONDS = 30.0
REST_SECONDS = 2.0

Work = Callable[[], Awaitable[str]]
Figures = dict[str, float]


def measure(seconds: float) -> dict[str, Figures]:
    """For each kind, and for all of them `together`: the most that is done a second, what is done at
    twice the load and its share of the most, how much was asked (less than twice the most where the
    clients could not keep up), and how many were busy, unavailable, failed, or lost (answered as
    done, but not in the database). `after` has the seconds each kind takes afterwards.

    Args:
        seconds: for each of the measurements.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(
            Path(folder),
            workers=1,
            TAB_STATES="memory",
            SIGN_IN_TRIES_PER_ACCOUNT="1000000",
            SIGN_IN_TRIES_PER_ADDRESS="1000000",
            FREE_PARALLEL_REPLIES="1000",
            STRIPE_WEBHOOK_SECRET=SECRET,
            SOCKETS_PER_USER="1000",
        ) as running,
    ):
        return asyncio.run(_measured(running, seconds))


async def _measured(running: Instance, seconds: float) -> dict[str, Figures]:
    async with _clients(running) as clients:
        kinds: Mapping[str, Work] = {
            "calls": clients.call,
            "tabs": clients.tab,
            "webhooks": clients.webhook,
            "sign_ins": clients.sign_in,
        }
        found = {
            kind: await _overloaded(clients, {kind: work}, seconds) for kind, work in kinds.items()
        }
        found["together"] = await _overloaded(clients, kinds, seconds)
        await asyncio.sleep(REST_SECONDS)
        found["after"] = {kind: await _once(work) for kind, work in kinds.items()}
    return found


async def _overloaded(clients: Clients, kinds: Mapping[str, Work], seconds: float) -> Figures:
    most = await _at_most(kinds, seconds)
    await asyncio.sleep(REST_SECONDS)
    before = await clients.stored()
    outcomes, done_each_second = await _offered(
        {kind: most[kind] * TIMES for kind in kinds}, kinds, seconds
    )
    await asyncio.sleep(REST_SECONDS)
    claimed = outcomes["webhooks", DONE] + outcomes["calls", DONE]
    count = Counter[str]()
    for (_, outcome), times in outcomes.items():
        count[outcome] += times
    return {
        "most_per_second": round(sum(most.values()), 1),
        "done_per_second": round(sum(done_each_second.values()), 1),
        "share": round(sum(done_each_second.values()) / max(sum(most.values()), 0.1), 2),
        "asked_per_second": round(count.total() / seconds, 1),
        "busy": count[BUSY],
        "unavailable": count[UNAVAILABLE],
        "failed": count[FAILED],
        "lost": max(0, claimed - (await clients.stored() - before)),
    }


async def _at_most(kinds: Mapping[str, Work], seconds: float) -> dict[str, float]:
    """What of each kind is done a second while its clients ask again at once."""
    ends, done = time.monotonic() + seconds, Counter[str]()

    async def client(kind: str, work: Work) -> None:
        while time.monotonic() < ends:
            if await work() == DONE and time.monotonic() < ends:
                done[kind] += 1

    await asyncio.gather(
        *(client(kind, work) for kind, work in kinds.items() for _ in range(CLIENTS[kind]))
    )
    return {kind: done[kind] / seconds for kind in kinds}


async def _offered(
    rates: Mapping[str, float], kinds: Mapping[str, Work], seconds: float
) -> tuple[Counter[tuple[str, str]], dict[str, float]]:
    """Start each kind at its rate; how its requests ended, and what was done a second meanwhile."""
    outcomes: Counter[tuple[str, str]] = Counter()
    in_time = Counter[str]()
    under_way: set[asyncio.Task[None]] = set()
    began = time.monotonic()

    async def one(kind: str) -> None:
        outcome = await kinds[kind]()
        outcomes[kind, outcome] += 1
        if outcome == DONE and time.monotonic() - began < seconds:
            in_time[kind] += 1

    async def starts(kind: str) -> None:
        for number in range(int(rates[kind] * seconds)):
            if (wait := began + number / rates[kind] - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if len(under_way) < MOST_UNDER_WAY:
                task = asyncio.create_task(one(kind))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    await asyncio.gather(*(starts(kind) for kind in kinds))
    await asyncio.gather(*under_way)
    return outcomes, {kind: in_time[kind] / seconds for kind in kinds}


async def _once(work: Work) -> float:
    """Seconds that one takes; infinity if it isn't done."""
    began = time.monotonic()
    return round(time.monotonic() - began, 3) if await work() == DONE else float("inf")


@dataclass
class Clients:
    """Everything that asks the process. Each method is one request, and returns how it ended."""

    running: Instance
    http: aiohttp.ClientSession
    cookies: Sequence[str]
    emails: Sequence[str]
    # Tabs in which no message is being sent.
    idle: list[Tab] = field(default_factory=list[Tab])
    asked: int = 0

    async def call(self) -> str:
        """A message, until its reply has ended."""
        if not self.idle:
            # Every tab waits for its reply, so none can send another message.
            await asyncio.sleep(0.01)
            return BUSY
        tab = self.idle.pop()
        try:
            return await _sent(tab)
        finally:
            self.idle.append(tab)

    async def tab(self) -> str:
        """A tab, until its page is there."""
        self.asked += 1
        cookie = self.cookies[self.asked % len(self.cookies)]
        try:
            async with open_tab(self.running.url, cookie) as tab:
                ended = asyncio.create_task(tab.closed())
                shown = asyncio.create_task(
                    tab.until(lambda: tab.var(CHAT, "models") or _refusal(tab), PATIENCE_SECONDS)
                )
                await asyncio.wait({ended, shown}, return_when=asyncio.FIRST_COMPLETED)
                for task in (ended, shown):
                    task.cancel()
                await asyncio.gather(ended, shown, return_exceptions=True)
                if tab.var(CHAT, "models"):
                    return DONE
                return _refusal(tab) or BUSY
        except InvalidStatus as refused:
            return BUSY if refused.response.status_code == UNAVAILABLE_STATUS else FAILED
        except ConnectionClosed:
            return BUSY
        except (OSError, TimeoutError):
            return FAILED

    async def webhook(self) -> str:
        event = {
            "id": f"evt_bench_{uuid4().hex}",
            "object": "event",
            "type": "product.created",
            "livemode": False,
            "created": int(time.time()),
            "data": {"object": {"object": "product", "id": "prod_bench"}},
        }
        body = json.dumps(event)
        header = WebhookSignature.generate_signature_header(body, SECRET)
        return await self._post(WEBHOOKS, body.encode(), {"stripe-signature": header})

    async def sign_in(self) -> str:
        self.asked += 1
        form = {"email": self.emails[self.asked % len(self.emails)], "password": PASSWORD}
        headers = {"Origin": self.running.url, "Accept": "application/json"}
        return await self._post("/api/session/sign-in", form, headers)

    async def _post(
        self, path: str, body: bytes | Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        try:
            async with self.http.post(path, data=body, headers=headers) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return FAILED
        if answer.ok:
            return DONE
        if "retry-after" in answer.headers:
            return BUSY
        return UNAVAILABLE if answer.status == UNAVAILABLE_STATUS else FAILED

    async def stored(self) -> int:
        """Webhooks and replies that are in the database."""
        url = self.running.stack.env["MIGRATION_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url) as connection:
            row = await (
                await connection.execute(
                    "select (select count(*) from processed_webhook_events)"
                    " + (select count(*) from messages where role = 'assistant' and status = 'done')"
                )
            ).fetchone()
        assert row is not None
        return int(row[0])


@asynccontextmanager
async def _clients(running: Instance) -> AsyncGenerator[Clients]:
    emails = [f"overload-{uuid4().hex[:12]}@example.com" for _ in range(TABS)]
    cookies = [await sign_up(running.url, email) for email in emails]
    async with (
        AsyncExitStack() as undo,
        # Cheaper for the clients than httpx, and they share the machine with what they measure.
        aiohttp.ClientSession(
            running.url,
            timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS),
            connector=aiohttp.TCPConnector(limit=MOST_UNDER_WAY),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as http,
    ):
        clients = Clients(running, http, cookies[:ACCOUNTS], emails[:ACCOUNTS])
        for cookie in cookies:
            tab = await undo.enter_async_context(open_tab(running.url, cookie))
            await tab.until(lambda tab=tab: tab.var(CHAT, "models"))
            # The conversation begins here, so that what is measured makes no title.
            assert await _sent(tab) == DONE
            clients.idle.append(tab)
        yield clients


async def _sent(tab: Tab) -> str:
    tab.vars.pop(NOTICES, None)
    tab.begin_anew()
    await tab.send("long 5 speed 0", tab.var(CHAT, "current") or "")
    try:
        await tab.until(
            lambda: tab.status() not in {"", "streaming"} or _refusal(tab), PATIENCE_SECONDS
        )
    except (TimeoutError, ConnectionClosed):
        return FAILED
    return _refusal(tab) or DONE


def _refusal(tab: Tab) -> str:
    """How a page was refused; empty if it wasn't."""
    code = (tab.var(NOTICES, "refusal") or {}).get("code", "")
    return {"": "", "busy": BUSY, "unavailable": UNAVAILABLE}.get(code, FAILED)

"""Two workers behind one port: what one does applies to the other, and one that ends is replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import httpx
import pytest

from aisaas.settings import PROJECT_ROOT
from benchmarks.tab import CHAT, ROOT, Tab, open_tab, sign_up
from childprocess.tree import process_tree
from devstack.stack import Stack
from tests.serve.conftest import STOP_SECONDS, Served, command, served
from tests.services import Database

NOTICES = f"{ROOT}.aisaas___ui___notices____notices"
A_MINUTE = 5
LONG = "long 4000 speed 40"

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("front_end")]


@pytest.fixture(scope="module")
def two(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    limits = {"FREE_PARALLEL_REPLIES": "2", "FREE_REQUESTS_PER_MINUTE": str(A_MINUTE)}
    limits |= {"SHUTDOWN_GRACE_SECONDS": "4"}
    with served(tmp_path_factory.mktemp("two"), stack, "--workers", "2", **limits) as running:
        yield running


@asynccontextmanager
async def on_each(two: Served) -> AsyncGenerator[list[Tab]]:
    """Someone's tabs, one on each worker."""
    cookie = await sign_up(two.url, f"each-{uuid4().hex[:10]}@example.com")
    async with AsyncExitStack() as tabs:
        found: dict[int, Tab] = {}
        while len(found) < 2:
            tab = await tabs.enter_async_context(open_tab(two.url, cookie))
            await tab.until(lambda tab=tab: tab.var(CHAT, "models"))
            found.setdefault(two.worker_of(tab.client_port), tab)
        yield list(found.values())


async def begin(tab: Tab, text: str) -> str:
    """Send it; the reply's id once there is some of it."""
    while True:
        await nothing_refused(tab)
        await tab.send(text)
        await tab.until(lambda: tab.text or code_of(tab))
        # A machine that is busy for a moment looks like a part that is away.
        if code_of(tab) != "unavailable":
            break
    assert code_of(tab) == ""
    return str(tab.var(CHAT, "reply")["id"])


async def refused(tab: Tab) -> str:
    await nothing_refused(tab)
    await tab.send("one more")
    await tab.until(lambda: code_of(tab))
    return code_of(tab)


async def nothing_refused(tab: Tab) -> None:
    await tab.emit(f"{NOTICES}.dismiss")
    await tab.until(lambda: not code_of(tab))


def code_of(tab: Tab) -> str:
    """Of the refusal in view, or nothing."""
    return (tab.var(NOTICES, "refusal") or {}).get("code", "")


def end_leases(database: Database, message: str) -> None:
    database("update reservations set lease_expires_at = now() where message_id = %s", message)


@asynccontextmanager
async def kill_switch(two: Served) -> AsyncGenerator[None]:
    async def switch(*words: str) -> None:
        # Beside the tabs, whose connections want an answer now and then.
        process = await asyncio.create_subprocess_exec(
            *command("switch", *words, "--reason", "a test"), env=two.env, cwd=PROJECT_ROOT
        )
        assert await process.wait() == 0

    await switch("engage")
    try:
        yield
    finally:
        await switch("lift")


async def test_limits_stops_and_the_kill_switch_hold_over_all_workers(two: Served) -> None:
    async with on_each(two) as (one, other):
        running = await begin(one, LONG)
        await begin(other, LONG)
        assert await refused(one) == await refused(other) == "busy"
        await other.emit(f"{CHAT}.stop", message_id=running)
        await one.until(lambda: one.status() == "stopped")
        async with kill_switch(two):
            assert await refused(one) == await refused(other) == "spending_paused"
        await other.emit(f"{CHAT}.stop", message_id=other.var(CHAT, "reply")["id"])
        await other.until(lambda: other.status() == "stopped")
        # Two of the minute are used; the others may be sent at either, and no more.
        for tab in [one, other, one, other, one][: A_MINUTE - 2]:
            tab.begin_anew()
            await begin(tab, "long 4 speed 0")
            await tab.until(lambda tab=tab: tab.status() == "done")
        assert await refused(one) == await refused(other) == "rate_limited_minute"


async def test_what_a_killed_worker_leaves_is_settled_once_and_it_is_started_again(
    two: Served, database: Database
) -> None:
    async with on_each(two) as (tab, _):
        message = await begin(tab, LONG)
        await tab.until(lambda: len(tab.text) > 200)
        killed = two.worker_of(tab.client_port)
        for member in process_tree(killed):
            os.kill(member, signal.SIGKILL)
        shown = tab.text
    end_leases(database, message)
    stored = "select status, content from messages where id = %s and status <> 'streaming'"
    async with asyncio.timeout(60):
        while not (found := database(stored, message)):
            await asyncio.sleep(0.1)
    ((status, content),) = found
    assert status == "interrupted"
    assert str(content).startswith(shown)
    await asyncio.to_thread(two.says, "is back.")
    assert len(two.workers) == 2
    assert killed not in two.workers
    lines = "select outcome, completion_tokens > 0 from usage_records where message_id = %s"
    assert database(lines, message) == [("interrupted", True)]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{two.url}/ready")).status_code == 200


async def test_whichever_worker_prometheus_meets_answers_for_both(two: Served) -> None:
    async def running() -> float:
        # A connection of its own each time, so the kernel chooses again.
        async with httpx.AsyncClient(base_url=two.url) as prometheus:
            text = (await prometheus.get("/metrics")).raise_for_status().text
        # Each has a series of its own, labeled with its pid.
        return sum(map(float, re.findall(r'(?m)^aisaas_replies_here\{pid="\d+"\} (\S+)', text)))

    async with on_each(two) as tabs:
        for tab in tabs:
            await begin(tab, LONG)
        async with asyncio.timeout(60):
            while await running() != len(tabs):
                await asyncio.sleep(0.2)
        assert [await running() for _ in range(8)] == [len(tabs)] * 8
        for tab in tabs:
            await tab.emit(f"{CHAT}.stop", message_id=str(tab.var(CHAT, "reply")["id"]))


def test_workers_log_for_machines(two: Served) -> None:
    lines = [json.loads(line) for line in two.log.read_text().splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message", "pid"} <= set(line)
    # The supervisor, the server and the app.
    assert {"aisaas.cli.serve", "_granian"} < {line["logger"] for line in lines}


# The last: it ends what the others use.
async def test_on_sigterm_replies_finish_or_are_cut_each_is_booked_once_and_it_ends_with_0(
    two: Served, database: Database
) -> None:
    async with on_each(two) as (one, other):
        short, long = await begin(one, "long 60 speed 40"), await begin(other, LONG)
        two.process.terminate()
        await one.until(lambda: one.status() == "done")
        await other.until(lambda: other.status() == "interrupted")
        assert await asyncio.to_thread(two.process.wait, STOP_SECONDS) == 0
    ends = "select status from messages where id = any(%s::uuid[]) order by status"
    assert database(ends, [short, long]) == [("done",), ("interrupted",)]
    lines = """
        select outcome, count(*) from usage_records where message_id = any(%s::uuid[])
        and purpose = 'reply' group by outcome order by outcome
    """
    assert database(lines, [short, long]) == [("done", 1), ("interrupted", 1)]
    open_now = (
        "select count(*) from reservations where message_id = any(%s::uuid[]) and state = 'open'"
    )
    assert database(open_now, [short, long]) == [(0,)]

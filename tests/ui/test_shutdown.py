"""The real server process, asked to end while replies run."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from benchmarks.instance import Instance
from benchmarks.tab import CHAT, ROOT, Tab, open_tab, sign_up
from devstack.stack import Stack
from tests.services import Database
from tests.ui.conftest import serving

NOTICES = f"{ROOT}.aisaas___ui___notices____notices"
GRACE = 10

pytestmark = [pytest.mark.timeout(200), pytest.mark.usefixtures("front_end")]


@pytest.fixture
def served(stack: Stack, tmp_path: Path) -> Generator[Instance]:
    with serving(tmp_path, stack, app_env="development", SHUTDOWN_GRACE_SECONDS=str(GRACE)) as (
        _,
        made,
    ):
        yield made


async def nobody_new(url: str) -> None:
    """A process on its way out takes no tab, says so, and keeps no connection for later."""
    with pytest.raises(InvalidStatus) as refused:
        async with open_tab(url, ""):
            pass
    assert refused.value.response.status_code == 503
    async with httpx.AsyncClient(base_url=url) as client:
        asked = {path: await client.get(path) for path in ("/ping", "/ready", "/login")}
    assert [answer.status_code for answer in asked.values()] == [503, 503, 200]
    assert {answer.headers["connection"] for answer in asked.values()} == {"close"}


async def begin(tab: Tab, text: str) -> str:
    await tab.until(lambda: tab.var(CHAT, "models"))
    await tab.send(text)
    await tab.until(lambda: tab.text)
    return str(tab.var(CHAT, "reply")["id"])


async def test_replies_finish_within_the_grace_and_longer_ones_keep_what_came(
    served: Instance, database: Database
) -> None:
    (url,), (worker,) = served.addresses, served.workers
    tabs = [
        open_tab(url, await sign_up(url, f"end-{uuid4().hex[:10]}@example.com")) for _ in range(3)
    ]
    async with tabs[0] as short, tabs[1] as long, tabs[2] as late:
        await late.until(lambda: late.var(CHAT, "models"))
        quick, slow = await asyncio.gather(
            begin(short, "long 80 speed 40"), begin(long, "long 4000 speed 40")
        )
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
        asked = time.monotonic()
        # Who waits for nothing is let go; what they send waits in their page for another process.
        assert await late.closed() == 1012
        await nobody_new(url)
        # Who watches goes on seeing it until its end, and can begin nothing else here.
        await long.send("too late")
        await long.until(lambda: (long.var(NOTICES, "refusal") or {}).get("code"))
        assert long.var(NOTICES, "refusal")["code"] == "restarting"
        await short.until(lambda: short.status() == "done")
        await long.until(lambda: long.status() == "interrupted")
        await asyncio.to_thread(worker.stop)
        assert time.monotonic() - asked < GRACE + 8
        seen = long.text
    found = "select status, error_code, content from messages where id = %s"
    ((status, error, _),) = database(found, quick)
    assert (status, error) == ("done", None)
    ((status, error, content),) = database(found, slow)
    assert (status, error) == ("interrupted", "shutdown")
    assert str(content).startswith(seen)
    assert len(seen) > 200
    open_now = (
        "select count(*) from reservations where message_id = any(%s::uuid[]) and state = 'open'"
    )
    assert database(open_now, [quick, slow]) == [(0,)]
    assert database("select count(*) from messages where content = 'too late'") == [(0,)]

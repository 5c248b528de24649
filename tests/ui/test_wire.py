"""A whole reply on the wire of the real product: every byte from send to done."""

from __future__ import annotations

from uuid import uuid4

import pytest

from benchmarks.tab import CHAT, open_tab, sign_up

BUDGET = 8


@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["long 2000 speed 0", "long 2000 speed 250"])
async def test_a_reply_costs_at_most_eight_times_its_size(url: str, command: str) -> None:
    cookie = await sign_up(url, f"wire-{uuid4().hex[:12]}@example.com")
    async with open_tab(url, cookie) as tab:
        await tab.until(lambda: tab.var(CHAT, "models"))
        before = tab.received
        await tab.send(command)
        await tab.until(lambda: tab.status() == "done")
        wire = tab.received - before
    assert len(tab.text) == tab.var(CHAT, "reply")["size"] > 4000
    assert wire <= BUDGET * len(tab.text.encode())

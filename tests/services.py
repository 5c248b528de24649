"""What tests do with the services: sign someone up, follow a reply; and models beyond the bundled."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from aisaas.accounts.models import Principal
from aisaas.callers import Caller
from aisaas.chat.catalogue import BUNDLED
from aisaas.chat.models import Message, Started
from aisaas.wiring import Services

EMBEDDED = "postgres,valkey,auth,demo_model"
# Payments and mails are off unless a test asks: a sender would take other tests' rows.
NO_SENDERS: dict[str, object] = {"stripe_secret_key": None, "smtp_url": None}
# The caps of a day, which tests share like the database.
HIGH_CAPS: dict[str, object] = {"free_tier_daily_usd": 1000, "total_daily_usd": 1000}
CATALOGUE = [
    {
        "id": "broken",
        "label": "Broken",
        "provider": "demo",
        "upstream": "openai/no-such-model",
        "context_window": 16000,
        "max_output": 4096,
        "weight": "3",
        "plans": ["free", "pro", "business"],
        "fallback": "demo",
        "price": {"input_usd": "100", "output_usd": "100"},
    },
    {
        "id": "small-window",
        "label": "Small window",
        "provider": "demo",
        "upstream": "openai/demo",
        "context_window": 1000,
        "max_output": 400,
        "weight": "1",
        "plans": ["free", "pro", "business"],
        "fallback": None,
        "price": {"input_usd": "1", "output_usd": "1"},
    },
]

# After rows were added that came before others: a conversation's messages follow each other in time.
IN_TIME = """
    update messages m set parent_id = p.parent_id, depth = p.depth
    from (
      select id, lag(id) over line as parent_id, row_number() over line - 1 as depth
      from messages where conversation_id = %s window line as (order by created_at, id)
    ) p
    where m.id = p.id
"""

Build = Callable[..., AbstractAsyncContextManager[Services]]
Account = Callable[..., Awaitable[Caller]]
Database = Callable[..., list[tuple[object, ...]]]


@dataclass(frozen=True)
class Member:
    """Someone who signed up; `cookie` is what their browser sends."""

    principal: Caller
    cookie: str


def write_catalogue(path: Path) -> Path:
    """The bundled models, one whose provider fails, and one that reads little."""
    path.write_text(json.dumps(json.loads(BUNDLED.read_text()) + CATALOGUE))
    return path


async def new_member(services: Services) -> Member:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a long enough password", "Ada", user_agent="tests"
    )
    assert signed_in is not None
    cookie = f"{services.cookie}={signed_in.token}"
    return Member(await services.callers.resolve(cookie), cookie)


async def new_principal(services: Services) -> Caller:
    return (await new_member(services)).principal


def limited(caller: Caller, **limits: int) -> Caller:
    """The same with limits of their own, by the names of `BillingAccount`."""
    return replace(caller, billing=replace(caller.billing, **limits))


async def whole(services: Services, principal: Principal, started: Started) -> tuple[str, Message]:
    """Follow a reply to its end: what was shown, and what is stored."""
    shown = ""
    async for segment in services.chat.follow(principal, started.reply.id):
        assert segment.offset == len(shown)
        shown += segment.text
    return shown, await services.chat.message(principal, started.reply.id)


async def recover(services: Services) -> None:
    """Settle all that was abandoned, also what other tests have left: a round takes some of it."""
    while await services.recovery.run_once():
        pass

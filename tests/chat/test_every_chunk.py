"""A reply that ends at any of its chunks: what is shown, saved and billed is the same."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from aisaas.callers import Caller
from aisaas.chat.models import Started
from aisaas.chat.ports import Admitted, Chunk, Finish, Text
from aisaas.errors import ProviderError
from aisaas.language_models import Model, Usage
from aisaas.wiring import Services
from tests.services import Build, Database, new_principal

PIECES = ("Every", " token", " is", " counted", " once", ", ", "naïve", " 日本", " 🙂", ".")
PROMPT, COMPLETION = 77, 31
AT = range(len(PIECES) + 1)


class Scripted:
    """A provider that sends PIECES, and runs the test's action before the one at `at`."""

    def __init__(self, real: Any, at: int, *, prompt_first: bool = True) -> None:
        self._real = real
        self._at = at
        self._prompt_first = prompt_first
        self.reached = asyncio.Event()
        self.failure: ProviderError | None = None
        self.goes_on = asyncio.Event()

    async def stream(self, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        if self._prompt_first:
            yield Usage(PROMPT, 1)
        for index, piece in enumerate((*PIECES, "")):
            if index == self._at:
                self.reached.set()
                if self.failure is not None:
                    raise self.failure
                await self.goes_on.wait()
            if piece:
                yield Text(piece)
        yield Usage(PROMPT, COMPLETION)
        yield Finish("stop")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def scripted(services: Services, at: int, *, prompt_first: bool = True) -> Scripted:
    replies: Any = services.running
    model = Scripted(replies._parts.model, at, prompt_first=prompt_first)
    replies._parts = dataclasses.replace(replies._parts, model=model)
    return model


async def begin(services: Services, model: Scripted) -> tuple[Caller, Started, list[str]]:
    """Start a reply with a follower; it has been shown everything before `at` when this returns."""
    ada = await new_principal(services)
    started = await services.chat.send(ada, "count me", conversation_id=None, model="demo")
    shown: list[str] = []

    async def follow() -> None:
        async for segment in services.chat.follow(ada, started.reply.id):
            shown.append(segment.text)

    services.running.spawn(follow())
    await model.reached.wait()
    return ada, started, shown


async def is_settled(
    services: Services, ada: Caller, started: Started, shown: list[str], database: Database
) -> tuple[str, int, int]:
    """Saved as shown, the reservation closed, the ledger and the quota in step; what was billed."""
    while (stored := await services.chat.message(ada, started.reply.id)).status == "streaming":
        await asyncio.sleep(0.01)
    # The follower may still be on its way to the end.
    async with asyncio.timeout(60):
        while stored.content != "".join(shown):
            await asyncio.sleep(0.01)
    assert "".join(PIECES).startswith(stored.content)
    lines = database(
        "select prompt_tokens, completion_tokens, quota_tokens from usage_records"
        " where message_id = %s",
        started.reply.id,
    )
    assert len(lines) <= 1
    prompt, completion, quota = lines[0] if lines else (0, 0, 0)
    assert (prompt, completion) == (stored.prompt_tokens, stored.completion_tokens)
    assert database(
        "select count(*) from reservations where message_id = %s and state = 'open'",
        started.reply.id,
    ) == [(0,)]
    # Its title is one more call.
    await services.chat.title_ready(ada, started.conversation_id)
    sums = "select coalesce(sum(quota_tokens), 0)::int from usage_records where user_id = %s"
    allowance = await services.quota.allowance(ada.billing)
    assert [(allowance.used,)] == database(sums, ada.user_id)
    assert (allowance.used >= quota, allowance.reserved) == (True, 0)  # pyright: ignore[reportOperatorIssue]
    return stored.status, int(prompt), int(completion)  # pyright: ignore[reportArgumentType]


async def stop(services: Services, ada: Caller, started: Started) -> None:
    await services.chat.stop(ada, started.reply.id)


async def shut_down(services: Services, _: Caller, __: Started) -> None:
    await services.running.shut_down(0)


Ending = Callable[[Services, Caller, Started], Awaitable[None]]


@pytest.mark.parametrize(
    ("end", "status"), [(stop, "stopped"), (shut_down, "interrupted")], ids=["stop", "shutdown"]
)
@pytest.mark.parametrize("prompt_first", [True, False], ids=["counted", "uncounted"])
async def test_reply_that_is_ended_at_any_chunk_bills_what_came(
    build_services: Build, database: Database, end: Ending, status: str, prompt_first: bool
) -> None:
    for at in AT:
        async with build_services() as services:
            model = scripted(services, at, prompt_first=prompt_first)
            ada, started, shown = await begin(services, model)
            await end(services, ada, started)
            found = await is_settled(services, ada, started, shown, database)
            text = "".join(PIECES[:at])
            assert "".join(shown) == text
            if not text and status == "interrupted":
                # Nobody got anything, and it was not the caller's wish.
                assert found == (status, 0, 0)
                continue
            assert found[0] == status
            assert found[2] == services.model.count_tokens(text)
            assert (found[1] == PROMPT) if prompt_first else (0 < found[1] < 1000)


async def test_follower_that_leaves_at_any_chunk_changes_nothing(
    build_services: Build, database: Database
) -> None:
    async with build_services() as services:
        for at in AT:
            model = scripted(services, at)
            ada = await new_principal(services)
            sending = asyncio.create_task(
                services.chat.send(ada, "count me", conversation_id=None, model="demo")
            )
            started = await sending

            async def follow(ada: Caller = ada, started: Started = started) -> None:
                async for _ in services.chat.follow(ada, started.reply.id):
                    pass

            following = asyncio.create_task(follow())
            await model.reached.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            model.goes_on.set()
            found = await is_settled(services, ada, started, [*PIECES], database)
            assert found == ("done", PROMPT, COMPLETION)


async def test_provider_that_fails_at_any_chunk_costs_what_came_and_nothing_without_it(
    build_services: Build, database: Database
) -> None:
    async with build_services() as services:
        for at in AT:
            model = scripted(services, at)
            model.failure = ProviderError("cut_in_a_test")
            ada, started, shown = await begin(services, model)
            found = await is_settled(services, ada, started, shown, database)
            if at == 0:
                assert found == ("failed", 0, 0)
            else:
                tokens = services.model.count_tokens("".join(PIECES[:at]))
                assert found == ("interrupted", PROMPT, tokens)

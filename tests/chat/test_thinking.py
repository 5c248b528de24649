"""Models that think: waited for, shown apart, counted; earlier thinking is never sent back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aisaas.callers import Caller
from aisaas.chat.guards import THINKING_TOKENS
from aisaas.chat.models import Started
from aisaas.chat.titles import TITLE_TOKENS
from aisaas.language_models import Effort
from aisaas.wiring import Services
from tests.scripted_provider import (
    ANTHROPIC_PING,
    HANG,
    PING,
    Answer,
    ScriptedProvider,
    anthropic_ends,
    anthropic_hides,
    anthropic_says,
    anthropic_starts,
    anthropic_thinks,
    chunk,
    ends,
    says,
    scripted_provider,
    thinks,
)
from tests.services import Build, Database, new_principal, recover, whole, write_catalogue

pytestmark = pytest.mark.usefixtures("patience")

THINKER = {
    "id": "thinker",
    "label": "Thinker",
    "provider": "demo",
    "upstream": "openai/thinker",
    "context_window": 64_000,
    "max_output": 32_000,
    "weight": "1",
    "plans": ["free", "pro", "business"],
    "fallback": "demo",
    "price": {"input_usd": "1", "output_usd": "2"},
    "reasoning": {"efforts": ["none", "low", "medium", "high"], "by_default": True},
}
# By protocol, the model that is asked.
MODELS = {"openai": "demo", "anthropic": "claude-haiku-5-5"}
PROTOCOLS = pytest.mark.parametrize("protocol", list(MODELS))
TITLE = {
    "openai": [*says("A title"), *ends()],
    "anthropic": [anthropic_starts(), *anthropic_says("A title"), *anthropic_ends()],
}


@asynccontextmanager
async def product(
    build_services: Build,
    folder: Path,
    answer: Answer | Callable[[dict[str, Any]], Answer],
    **settings: object,
) -> AsyncGenerator[tuple[Services, ScriptedProvider]]:
    """The product in front of a provider that says `answer`, and a title when asked for one."""
    path = write_catalogue(folder / "catalogue.json")
    path.write_text(json.dumps([*json.loads(path.read_text()), THINKER]))

    def answered(request: dict[str, Any]) -> Answer:
        protocol = "anthropic" if "claude" in request["model"] else "openai"
        if request["max_tokens"] <= TITLE_TOKENS:
            return TITLE[protocol]
        return answer(request) if callable(answer) else answer

    async with scripted_provider(answered) as provider:
        settings = {
            "demo_api_base": f"{provider.url}/v1",
            "anthropic_api_key": "sk-ant-test-key",
            "anthropic_api_base": provider.url,
            "model_catalogue": path,
            "run_jobs": False,
        } | settings
        async with build_services(**settings) as services:
            yield services, provider


async def thinking_of(services: Services, ada: Caller, started: Started) -> str:
    shown = ""
    async for segment in services.chat.follow_thinking(ada, started.reply.id):
        assert segment.offset == len(shown)
        shown += segment.text
    return shown


def ledger(database: Database, message_id: UUID) -> list[tuple[object, ...]]:
    return database(
        "select prompt_tokens, completion_tokens, counted_by from usage_records"
        " where message_id = %s order by created_at",
        message_id,
    )


THINKS: dict[str, Answer] = {
    "openai": [*thinks("Let me ", "see."), *says("Yes", "."), *ends(completion=9, thinking=6)],
    "anthropic": [
        anthropic_starts(),
        *anthropic_thinks("Let me ", "see."),
        *anthropic_says("Yes", "."),
        *anthropic_ends(completion=9),
    ],
}


@PROTOCOLS
async def test_thinking_is_shown_and_stored_apart_and_billed_as_reported(
    build_services: Build, tmp_path: Path, database: Database, protocol: str
) -> None:
    async with product(build_services, tmp_path, THINKS[protocol]) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=MODELS[protocol]
        )
        thought = asyncio.create_task(thinking_of(services, ada, started))
        text, message = await whole(services, ada, started)
        assert (await thought, text) == ("Let me see.", "Yes.")
        assert (message.thinking, message.content) == ("Let me see.", "Yes.")
        assert (message.status, message.ending) == ("done", "complete")
        assert message.thinking_seconds is not None
        assert ledger(database, started.reply.id) == [(40, 9, "provider")]
        # From a tab that comes later.
        assert await thinking_of(services, ada, started) == "Let me see."
        assert (await services.chat.thinking_from(ada, started.reply.id, 4)).text == "me see."


@PROTOCOLS
async def test_thinking_is_exported_and_never_sent_back(
    build_services: Build, tmp_path: Path, protocol: str
) -> None:
    async with product(build_services, tmp_path, THINKS[protocol]) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=MODELS[protocol]
        )
        await whole(services, ada, started)
        again = await services.chat.send(
            ada, "and now?", conversation_id=started.conversation_id, model=MODELS[protocol]
        )
        await whole(services, ada, again)
        (request,) = [each for each in provider.requests if "and now?" in json.dumps(each)]
        assert "Yes." in json.dumps(request["messages"])
        assert "Let me see." not in json.dumps(request)
        exported = "".join([line async for line in services.export.lines(ada)])
        replies = [
            line
            for line in map(json.loads, exported.splitlines())
            if line.get("role") == "assistant"
        ]
        assert {(line["thinking"], line["ending"]) for line in replies} == {
            ("Let me see.", "complete")
        }


@PROTOCOLS
async def test_stop_while_it_thinks_is_paid_by_our_count_of_the_thinking(
    build_services: Build, tmp_path: Path, database: Database, protocol: str
) -> None:
    pieces = {
        "openai": [*thinks("Let me ", "see."), HANG],
        "anthropic": [anthropic_starts(), *anthropic_thinks("Let me ", "see."), HANG],
    }
    async with product(build_services, tmp_path, pieces[protocol]) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=MODELS[protocol]
        )
        running = services.running.get(started.reply.id)
        assert running is not None
        while running.thought.visible_from(0).text != "Let me see.":
            await asyncio.sleep(0.01)
        await services.chat.stop(ada, started.reply.id)
        _, message = await whole(services, ada, started)
        assert (message.status, message.ending, message.content) == ("stopped", "stopped", "")
        assert message.thinking == "Let me see."
        tokens = services.model.count_tokens("Let me see.")
        ((prompt, completion, by),) = ledger(database, started.reply.id)
        assert (completion, by, message.thinking_tokens) == (tokens, "estimate", tokens)
        assert isinstance(prompt, int)
        assert prompt > 0
        await asyncio.wait_for(provider.aborted.wait(), 5)


@PROTOCOLS
async def test_cut_while_it_thinks_is_paid_and_asks_no_other_model(
    build_services: Build, tmp_path: Path, database: Database, protocol: str
) -> None:
    pieces = {
        "openai": thinks("Let me ", "see."),
        "anthropic": [anthropic_starts(), *anthropic_thinks("Let me ", "see.")],
    }
    model = {"openai": "thinker", "anthropic": MODELS["anthropic"]}[protocol]
    async with product(build_services, tmp_path, pieces[protocol]) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model=model)
        _, message = await whole(services, ada, started)
        assert (message.status, message.ending) == ("interrupted", "cut")
        assert (message.thinking, message.content) == ("Let me see.", "")
        ((_, completion, by),) = ledger(database, started.reply.id)
        assert (completion, by) == (services.model.count_tokens("Let me see."), "estimate")
        assert len(provider.requests) == 1


async def test_thinking_of_a_process_that_died_is_settled_from_its_log(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    answer = [*thinks("Let me ", "see."), HANG]
    async with product(build_services, tmp_path, answer) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        running = services.running.get(started.reply.id)
        assert running is not None
        while running.thought.visible_from(0).text != "Let me see.":
            await asyncio.sleep(0.01)
        running.mark_lease_lost()
        while services.running.get(started.reply.id) is not None:
            await asyncio.sleep(0.01)
        database(
            "update reservations set lease_expires_at = now() where message_id = %s",
            started.reply.id,
        )
        await recover(services)
        message = await services.chat.message(ada, started.reply.id)
        assert (message.status, message.ending) == ("interrupted", "cut")
        assert message.thinking == "Let me see."
        ((_, completion, _),) = ledger(database, started.reply.id)
        assert completion == services.model.count_tokens("Let me see.")


@pytest.mark.parametrize(
    ("protocol", "sign"),
    [
        ("openai", PING),
        ("openai", chunk({"reasoning_content": "Hm. "})),
        ("openai", chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})),
        ("anthropic", ANTHROPIC_PING),
        ("anthropic", b"".join(anthropic_hides())),
    ],
    ids=["comments", "thinking", "tools", "pings", "redacted"],
)
async def test_any_sign_of_life_is_waited_with(
    build_services: Build, tmp_path: Path, protocol: str, sign: bytes
) -> None:
    """Each silence is far shorter than the wait; all of them together are far longer."""
    slowly = [part for _ in range(20) for part in (sign, 0.25)]
    answers: dict[str, Answer] = {
        "openai": [*slowly, *says("Yes."), *ends()],
        "anthropic": [anthropic_starts(), *slowly, *anthropic_says("Yes."), *anthropic_ends()],
    }
    settings = {"first_token_timeout_seconds": 2.5, "thinking_timeout_seconds": 60}
    async with product(build_services, tmp_path, answers[protocol], **settings) as (
        services,
        provider,
    ):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=MODELS[protocol]
        )
        text, message = await whole(services, ada, started)
        assert (text, message.status) == ("Yes.", "done")
        assert sum("hello" in json.dumps(each["messages"]) for each in provider.requests) >= 1


async def test_time_in_which_this_process_was_held_up_is_not_the_providers_silence(
    build_services: Build, tmp_path: Path
) -> None:
    """As by the imports of a process's first call."""

    def answer(_: dict[str, Any]) -> Answer:
        time.sleep(1.5)
        return [0.2, *says("Yes."), *ends()]

    settings = {"first_token_timeout_seconds": 0.8, "thinking_timeout_seconds": 60}
    async with product(build_services, tmp_path, answer, **settings) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        text, message = await whole(services, ada, started)
        assert (text, message.status, message.answered_by) == ("Yes.", "done", "demo")


async def test_thinking_has_a_limit_of_its_own(build_services: Build, tmp_path: Path) -> None:
    forever = [part for _ in range(600) for part in (PING, 0.1)]
    settings = {"first_token_timeout_seconds": 0.8, "thinking_timeout_seconds": 1.5}
    async with product(build_services, tmp_path, forever, **settings) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        _, message = await whole(services, ada, started)
        assert (message.status, message.error_code) == ("failed", "thinking_timeout")
        await asyncio.wait_for(provider.aborted.wait(), 5)


@pytest.mark.parametrize(
    ("model", "effort", "status"),
    [("thinker", None, "done"), ("thinker", "high", "done"), ("demo", None, "failed")],
    ids=["by itself", "as asked", "one that doesn't"],
)
async def test_silence_is_thinking_only_where_the_model_thinks(
    build_services: Build, tmp_path: Path, model: str, effort: Any, status: str
) -> None:
    settings = {"first_token_timeout_seconds": 0.4, "thinking_timeout_seconds": 60}
    answer = [1.2, *says("Yes."), *ends(thinking=5)]
    async with product(build_services, tmp_path, answer, **settings) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=model, effort=effort
        )
        _, message = await whole(services, ada, started)
        assert message.status == status
        if status == "done":
            assert message.answered_by == model
            # Nobody saw it think; how long it took is known.
            assert message.thinking_seconds is not None
            assert message.thinking_seconds >= 1
            assert (message.thinking, message.thinking_tokens) == ("", 5)


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("thinker", None, THINKING_TOKENS["medium"]),
        ("thinker", "none", 0),
        ("thinker", "low", THINKING_TOKENS["low"]),
        ("demo", None, 0),
        # What a model doesn't take is not asked for, and not reserved.
        ("small-window", "high", 0),
    ],
)
async def test_reservation_covers_thinking(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    model: str,
    effort: Any,
    thinking: int,
) -> None:
    settings = {"max_reply_tokens": 100, "free_tokens_per_month": 100_000}
    async with product(build_services, tmp_path, THINKS["openai"], **settings) as (
        services,
        provider,
    ):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=model, effort=effort
        )
        await whole(services, ada, started)
        asked = provider.requests[0]
        assert database(
            "select max_tokens from reservations where message_id = %s", started.reply.id
        ) == [(100 + thinking,)]
        assert asked["max_tokens"] == 100 + thinking
        assert asked.get("reasoning_effort") == (effort if model == "thinker" else None)


async def test_effort_is_the_conversations_until_another_is_chosen(
    build_services: Build, tmp_path: Path
) -> None:
    async with product(build_services, tmp_path, THINKS["openai"]) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model="thinker", effort="low"
        )
        await whole(services, ada, started)
        conversation = started.conversation_id
        assert (await services.conversations.find(ada, conversation)).effort == "low"

        async def retried() -> object:
            await whole(services, ada, await services.chat.retry(ada, started.reply.id))
            return provider.requests[-1].get("reasoning_effort")

        await services.chat.title_ready(ada, conversation)
        assert await retried() == "low"
        await services.conversations.set_effort(ada, conversation, "none")
        assert await retried() == "none"
        await services.conversations.set_effort(ada, conversation, None)
        assert await retried() is None


async def test_thinking_that_ignores_its_limit_is_cut_where_the_grant_ends(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    settings = {"max_reply_tokens": 50}
    answer = [*thinks(*("word " for _ in range(400))), *says("Yes."), *ends()]
    async with product(build_services, tmp_path, answer, **settings) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        _, message = await whole(services, ada, started)
        assert (message.status, message.ending, message.content) == ("failed", "only_thinking", "")
        assert 0 < services.model.count_tokens(message.thinking) <= 50
        ((_, completion, _),) = ledger(database, started.reply.id)
        assert completion == 50 or 0 < int(str(completion)) <= 50


async def test_model_that_is_known_to_think_is_believed_what_it_reports_without_a_word(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    """Claude shows a summary at most, and reports all of it as output."""
    answer = [*says("Yes."), *ends(completion=900)]
    async with product(build_services, tmp_path, answer) as (services, _):
        ada = await new_principal(services)
        asked: tuple[tuple[Effort | None, int], ...] = ((None, 900), ("none", 0))
        for effort, billed in asked:
            started = await services.chat.send(
                ada, "hello", conversation_id=None, model="thinker", effort=effort
            )
            await whole(services, ada, started)
            ((_, completion, _),) = ledger(database, started.reply.id)
            assert completion == (billed or services.model.count_tokens("Yes."))


async def test_title_is_asked_for_with_the_least_thinking(
    build_services: Build, tmp_path: Path
) -> None:
    async with product(build_services, tmp_path, THINKS["openai"]) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model="demo", effort="high"
        )
        await whole(services, ada, started)
        assert await services.chat.title_ready(ada, started.conversation_id) == "A title"
        (asked,) = [each for each in provider.requests if each["max_tokens"] == TITLE_TOKENS]
        assert asked["reasoning_effort"] == "none"

"""Titles are calls like any other: they open circuits, raise alerts, don't think, and survive a crash."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from aisaas.billing.providers.health_store import CircuitState
from aisaas.chat.circuits import FAILURES
from aisaas.chat.titles import TITLE_TOKENS
from aisaas.chat.track import thinking_id
from aisaas.errors import KEY_REFUSED
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.chat.reply_process import TITLE
from tests.scripted_provider import (
    HANG,
    Answer,
    ScriptedProvider,
    anthropic_ends,
    anthropic_says,
    anthropic_starts,
    ends,
    says,
    scripted_provider,
    thinks,
)
from tests.services import (
    EMBEDDED,
    HIGH_CAPS,
    NO_SENDERS,
    Build,
    Database,
    new_member,
    new_principal,
    recover,
    whole,
)

pytestmark = pytest.mark.usefixtures("patience")

VARIABLE = "TITLE_TESTS_KEY"
EFFORTS = ["none", "low", "medium", "high"]


def model(name: str, provider: str, upstream: str, price: str, **more: object) -> dict[str, object]:
    return {
        "id": name,
        "label": name,
        "provider": provider,
        "upstream": upstream,
        "context_window": 64_000,
        "max_output": 32_000,
        "weight": "1",
        "plans": ["free", "pro", "business"],
        "fallback": None,
        "price": {"input_usd": price, "output_usd": price},
    } | more


def is_title(request: dict[str, Any]) -> bool:
    return request["max_tokens"] <= TITLE_TOKENS


def answer(request: dict[str, Any]) -> Answer:
    words = ("A ", "title") if is_title(request) else ("An ", "answer")
    if "claude" in request["model"]:
        return [anthropic_starts(), *anthropic_says(*words), *anthropic_ends()]
    return [*says(*words), *ends()]


@asynccontextmanager
async def product(
    build_services: Build, folder: Path, monkeypatch: pytest.MonkeyPatch, **cheap: object
) -> AsyncGenerator[tuple[Services, ScriptedProvider, str]]:
    """A cheap model, whose provider is of this test alone, with a dear one behind it."""
    provider = f"tests-{uuid4().hex[:8]}"
    catalogue = folder / "catalogue.json"
    claude = {"efforts": EFFORTS, "by_default": False}
    models = [
        model("cheap", provider, "openai/cheap", "0.1", fallback="claude", **cheap),
        model("claude", "anthropic", "anthropic/claude-haiku-5-5", "5", reasoning=claude),
    ]
    catalogue.write_text(json.dumps(models))
    async with scripted_provider(answer) as scripted:
        providers = folder / "providers.json"
        entry = {"id": provider, "prefix": "openai", "key_variable": VARIABLE, "base": scripted.url}
        providers.write_text(json.dumps([entry]))
        monkeypatch.setenv(VARIABLE, "a key of the tests")
        async with build_services(
            model_providers=providers,
            anthropic_api_key="sk-ant-test-key",
            anthropic_api_base=scripted.url,
            model_catalogue=catalogue,
            default_model="cheap",
            run_jobs=False,
        ) as services:
            yield services, scripted, provider


async def converse(services: Services, name: str) -> tuple[str | None, str | None]:
    """A new conversation of one message: who answered, and its title."""
    ada = await new_principal(services)
    started = await services.chat.send(ada, "hello there", conversation_id=None, model=name)
    _, message = await whole(services, ada, started)
    assert message.status == "done"
    return message.answered_by or message.model, await services.chat.title_ready(
        ada, started.conversation_id
    )


def not_closed(services: Services) -> list[CircuitState]:
    return list(services.provider_health._circuits())  # pyright: ignore[reportPrivateUsage]


async def test_titles_that_fail_open_the_circuit_for_replies(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with product(build_services, tmp_path, monkeypatch) as (services, scripted, provider):
        scripted.status = lambda request: 500 if request["model"] == "cheap" else 200
        for _ in range(FAILURES):
            assert not_closed(services) == []
            # Nobody but its title asks the cheap one.
            assert await converse(services, "claude") == ("claude", "hello there")
        assert [(each.provider, each.model) for each in not_closed(services)] == [(provider, "")]
        scripted.requests.clear()
        assert await converse(services, "cheap") == ("claude", "A title")
        assert {each["model"] for each in scripted.requests} == {"claude-haiku-5-5"}


async def test_a_title_that_succeeds_closes_it(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with product(build_services, tmp_path, monkeypatch) as (services, scripted, _):
        scripted.status = lambda request: 500 if request["model"] == "cheap" else 200
        for _ in range(FAILURES - 1):
            await converse(services, "claude")
        scripted.status = lambda _: 200
        assert await converse(services, "claude") == ("claude", "A title")
        scripted.status = lambda request: 500 if request["model"] == "cheap" else 200
        await converse(services, "claude")
        assert not_closed(services) == []


async def test_no_title_is_asked_of_a_fallback_that_would_think(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with product(build_services, tmp_path, monkeypatch) as (services, scripted, _):
        catalogue = tmp_path / "catalogue.json"
        models = json.loads(catalogue.read_text())
        models[1]["reasoning"] = {"efforts": ["low"], "by_default": True}
        catalogue.write_text(json.dumps(models))
        async with build_services(
            **services.settings.model_dump(
                include={"model_providers", "anthropic_api_key", "anthropic_api_base"}
            ),
            model_catalogue=catalogue,
            default_model="cheap",
            run_jobs=False,
        ) as thinking:
            scripted.status = lambda request: 500 if request["model"] == "cheap" else 200
            for _ in range(FAILURES + 1):
                await converse(thinking, "claude")
            assert not_closed(thinking)
            titles = [each["model"] for each in scripted.requests if is_title(each)]
            assert titles == ["cheap"] * (FAILURES + 1)


@pytest.mark.parametrize(
    ("reasoning", "effort", "granted"),
    [
        ({"efforts": EFFORTS, "by_default": True}, "none", TITLE_TOKENS),
        ({"efforts": ["low", "high"], "by_default": False}, "low", TITLE_TOKENS + 2048),
        (None, None, TITLE_TOKENS),
    ],
)
async def test_a_title_thinks_as_little_as_its_model_can(
    build_services: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reasoning: dict[str, object] | None,
    effort: str | None,
    granted: int,
) -> None:
    async with product(build_services, tmp_path, monkeypatch, reasoning=reasoning) as (
        services,
        scripted,
        _,
    ):
        await converse(services, "claude")
        (asked,) = [each for each in scripted.requests if each["model"] == "cheap"]
        assert asked.get("reasoning_effort") == effort
        assert asked["max_tokens"] == granted


async def test_a_key_that_fails_in_titles_alone_alerts_the_operator(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    async with product(build_services, tmp_path, monkeypatch) as (services, scripted, provider):
        scripted.status = lambda request: 401 if is_title(request) else 200
        assert await converse(services, "claude") == ("claude", "hello there")
        assert database(
            "select kind, times from private.provider_errors where provider = %s", provider
        ) == [(KEY_REFUSED[0], 1)]
        await services.provider_alerts.look_once()
        assert database(
            "select values ->> 'variable' from billing_notices where user_id is null"
            " and kind = 'key_refused' and key like %s",
            f"%:{provider}",
        ) == [(VARIABLE,)]


async def test_attempts_of_replies_and_titles_are_counted(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    async with product(build_services, tmp_path, monkeypatch) as (services, scripted, provider):
        await converse(services, "cheap")
        scripted.status = lambda request: 500 if request["model"] == "cheap" else 200
        assert await converse(services, "cheap") == ("claude", "hello there")
        scripted.status = lambda _: 200
        scripted.answer = lambda _: [*says("An", " answer"), HANG]
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="cheap")
        async for segment in services.chat.follow(ada, started.reply.id):
            if segment.text:
                await services.chat.stop(ada, started.reply.id)
        await services.provider_health.flush()
        assert database(
            "select kind, times, cardinality(first_tokens) > 0, tokens > 0"
            " from private.provider_health where provider = %s and step = 'hour' order by kind",
            provider,
        ) == [
            # A reply and its title, which both came in two pieces.
            ("InternalServerError", 2, False, False),
            ("answered", 2, True, True),
            ("stopped", 1, True, False),
        ]


@pytest.mark.timeout(300)
async def test_thinking_of_a_title_is_counted_although_its_process_was_killed(
    services: Services,
    stack: Stack,
    database: Database,
    tmp_path: Path,
) -> None:
    """Kill -9 in the middle of what a title's model thinks, before its first word."""
    thoughts = ("Let me ", "see what ", "it is about.")

    def answered(request: dict[str, Any]) -> Answer:
        title = request["model"] == "thinker"
        return [*thinks(*thoughts), HANG] if title else [*says("Yes."), *ends()]

    reasoning = {"efforts": ["low"], "by_default": True}
    catalogue = tmp_path / "catalogue.json"
    demo = model("demo", "demo", "openai/demo", "500")
    thinker = model("thinker", "demo", "openai/thinker", "0.1", reasoning=reasoning)
    catalogue.write_text(json.dumps([demo, thinker]))
    member = await new_member(services)
    async with scripted_provider(answered) as scripted:
        settings: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
        settings |= {
            "embedded_parts": EMBEDDED,
            "model_catalogue": str(catalogue),
            "default_model": "demo",
            "demo_api_base": f"{scripted.url}/v1",
            "run_jobs": False,
            "free_tokens_per_month": 1_000_000,
            **HIGH_CAPS,
            **NO_SENDERS,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chat.reply_process",
            env=os.environ
            | {
                "TEST_SETTINGS": json.dumps(settings),
                "TEST_COOKIE": member.cookie,
                "TEST_POINT": TITLE,
            },
            stdout=asyncio.subprocess.DEVNULL,
        )
        user_id = member.principal.user_id
        try:
            async with asyncio.timeout(200):
                while not (title := await _thinks(services, database, user_id, "".join(thoughts))):
                    await asyncio.sleep(0.05)
        finally:
            process.kill()
            await process.wait()
    database("update reservations set lease_expires_at = now() where id = %s", title)
    await recover(services)
    ((purpose, model_id, prompt, completion, outcome),) = database(
        "select purpose, model, prompt_tokens, completion_tokens, outcome from usage_records"
        " where reservation_id = %s",
        title,
    )
    assert (purpose, model_id, outcome) == ("title", "thinker", "interrupted")
    assert int(str(prompt)) > 0
    assert completion == services.model.count_tokens("".join(thoughts))


async def _thinks(
    services: Services, database: Database, user_id: UUID, thoughts: str
) -> UUID | None:
    """The call of the title, once its log has all that its model thought."""
    for (request_id,) in database(
        "select id from reservations where user_id = %s and purpose = 'title' and state = 'open'",
        user_id,
    ):
        assert isinstance(request_id, UUID)
        logged = await services.running._parts.log.read(thinking_id(request_id))  # pyright: ignore[reportPrivateUsage]
        if logged is not None and logged.text == thoughts:
            return request_id
    return None

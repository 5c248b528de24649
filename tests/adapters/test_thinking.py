"""Thinking, refusals and silence on each provider's wire."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

import pytest

from aisaas.adapters import litellm_wire
from aisaas.adapters.litellm_model import LiteLLMModel, _import_litellm
from aisaas.adapters.litellm_prices import entry_of, price_map
from aisaas.adapters.litellm_reasoning import (
    CLAUDE_BUDGETS,
    LEVELS,
    ON_OR_OFF,
    PASSED_ON,
    effort_for,
    reasoning_of,
)
from aisaas.chat.ports import Admitted, Chunk, Finish, Text, Thinking
from aisaas.language_models import Effort, Model, Reasoning, Usage
from tests.adapters.providers import Provider
from tests.adapters.test_litellm_model import adapter, admitted_for, model_of
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
    finish,
    says,
    scripted_provider,
    thinks,
    usage,
)

pytestmark = pytest.mark.usefixtures("lane")


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_wire, "FINISH_SECONDS", 0.3)


def adapter_to(provider: ScriptedProvider, protocol: str) -> LiteLLMModel:
    return adapter(Provider(protocol, url=provider.url))


def asking(protocol: str, effort: Effort | None = None, max_tokens: int = 321) -> Admitted:
    model = model_of(protocol)
    if effort is not None:
        upstream = {"openai": "openai/gpt-5.4-mini", "anthropic": "anthropic/claude-haiku-4-5"}
        model = dataclasses.replace(
            model, upstream=upstream[protocol], reasoning=Reasoning(("none", *LEVELS))
        )
    return dataclasses.replace(
        admitted_for(dataclasses.replace(model, max_output=max_tokens)),
        effort=effort,
        max_tokens=max_tokens,
    )


async def collect(protocol: str, answer: Answer) -> list[Chunk]:
    admitted = asking(protocol)
    async with scripted_provider(answer) as provider:
        stream = adapter_to(provider, protocol).stream(admitted, admitted.models[0])
        async with aclosing(stream) as chunks:
            return [each async for each in chunks]


def split(chunks: list[Chunk]) -> tuple[str, str, str]:
    text = "".join(each.text for each in chunks if isinstance(each, Text))
    thinking = "".join(each.text for each in chunks if isinstance(each, Thinking))
    return thinking, text, "".join(each.reason for each in chunks if isinstance(each, Finish))


THINKING: dict[str, tuple[str, Answer]] = {
    "openai": ("openai", [*thinks("Let me ", "see\x00."), *says("Yes", "."), *ends()]),
    "openrouter's": (
        "openai",
        [chunk({"reasoning": "Let me "}), chunk({"reasoning": "see."}), *says("Yes."), *ends()],
    ),
    "anthropic": (
        "anthropic",
        [
            anthropic_starts(),
            *anthropic_thinks("Let me ", "see\x00."),
            *anthropic_says("Yes", "."),
            *anthropic_ends(),
        ],
    ),
}


@pytest.mark.parametrize("wire", THINKING)
async def test_thinking_is_distinguished_from_text_and_cleaned(wire: str) -> None:
    protocol, answer = THINKING[wire]
    assert split(await collect(protocol, answer)) == ("Let me see.", "Yes.", "stop")


async def test_thinking_that_is_hidden_is_a_sign_without_words() -> None:
    chunks = await collect(
        "anthropic",
        [anthropic_starts(), *anthropic_hides(), *anthropic_says("Yes."), *anthropic_ends()],
    )
    assert Thinking("") in chunks
    assert split(chunks) == ("", "Yes.", "stop")


async def test_thinking_tokens_are_part_of_the_usage() -> None:
    chunks = await collect("openai", [*thinks("Hm."), *says("Yes."), *ends(thinking=7)])
    assert [each for each in chunks if isinstance(each, Usage)][-1] == Usage(40, 9, 0, 7)


REFUSALS: dict[str, tuple[str, Answer, str]] = {
    "openai, its own words": (
        "openai",
        [
            chunk({"role": "assistant", "content": "", "refusal": None}),
            chunk({"refusal": "I can't "}),
            chunk({"refusal": "help with that."}),
            *ends(),
        ],
        "I can't help with that.",
    ),
    "anthropic, without words": (
        "anthropic",
        [anthropic_starts(), *anthropic_ends("refusal", completion=1)],
        "",
    ),
    "anthropic, in the middle": (
        "anthropic",
        [anthropic_starts(), *anthropic_says("First, "), *anthropic_ends("refusal")],
        "First, ",
    ),
}


@pytest.mark.parametrize("wire", REFUSALS)
async def test_refusal_is_distinguished_from_a_filter_and_from_an_answer(wire: str) -> None:
    protocol, answer, text = REFUSALS[wire]
    assert split(await collect(protocol, answer)) == ("", text, "refusal")


async def test_text_about_a_refusal_is_no_refusal() -> None:
    said = 'A "refusal" is {"delta": {"refusal": "x"}, "stop_reason":"refusal"}.'
    first = chunk({"role": "assistant", "content": "", "refusal": None})
    assert split(await collect("openai", [first, *says(said), *ends()])) == ("", said, "stop")


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_content_filter_and_length_keep_their_reasons(protocol: str) -> None:
    answers: dict[str, list[tuple[str, Answer]]] = {
        "openai": [
            ("content_filter", [*says("So "), *ends("content_filter")]),
            ("length", [*says("So "), *ends("length")]),
        ],
        "anthropic": [
            ("length", [anthropic_starts(), *anthropic_says("So "), *anthropic_ends("max_tokens")])
        ],
    }
    for reason, answer in answers[protocol]:
        assert split(await collect(protocol, answer)) == ("", "So ", reason)


@pytest.mark.usefixtures("short_silence")
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_finish_reason_and_then_silence_is_the_end(protocol: str) -> None:
    answers: dict[str, Answer] = {
        "openai": [*says("Yes", "."), finish(), HANG],
        "anthropic": [
            anthropic_starts(),
            *anthropic_says("Yes", "."),
            anthropic_ends()[0],
            HANG,
        ],
    }
    assert split(await collect(protocol, answers[protocol])) == ("", "Yes.", "stop")


@pytest.mark.usefixtures("short_silence")
async def test_usage_that_comes_after_the_finish_reason_is_waited_for() -> None:
    chunks = await collect("openai", [*says("Yes."), finish(), 0.1, usage(40, 9), HANG])
    assert Usage(40, 9) in chunks
    assert isinstance(chunks[-1], Finish)


@pytest.mark.usefixtures("short_silence")
async def test_silence_without_a_finish_reason_is_no_end() -> None:
    goes_on = asyncio.Event()
    admitted = asking("openai")
    async with scripted_provider([*says("Yes"), goes_on, *says("."), *ends()]) as provider:
        model = adapter_to(provider, "openai")
        async with aclosing(model.stream(admitted, admitted.models[0])) as chunks:
            assert await anext(chunks) == Text("Yes")
            # Three times what a silence may be after the end.
            waiting = asyncio.ensure_future(anext(chunks))
            assert not (await asyncio.wait({waiting}, timeout=0.9))[0]
            goes_on.set()
            assert await waiting == Text(".")
            assert [each async for each in chunks][-1] == Finish("stop")


@pytest.mark.parametrize(
    ("protocol", "ping"),
    [("openai", PING), ("anthropic", ANTHROPIC_PING)],
    ids=["openai", "anthropic"],
)
async def test_whatever_comes_is_heard_also_what_makes_no_chunk(protocol: str, ping: bytes) -> None:
    admitted = asking(protocol)
    first, second = asyncio.Event(), asyncio.Event()
    async with scripted_provider([first, ping, second, ping, HANG]) as provider:
        model = adapter_to(provider, protocol)
        stream = model.stream(admitted, admitted.models[0])
        waiting = asyncio.ensure_future(anext(stream))
        try:
            while not provider.requests:
                await asyncio.sleep(0.01)
            assert model.heard_at(admitted.request_id) is None
            first.set()
            while (heard := model.heard_at(admitted.request_id)) is None:
                await asyncio.sleep(0.01)
            second.set()
            while model.heard_at(admitted.request_id) == heard:
                await asyncio.sleep(0.01)
            assert not waiting.done()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await stream.aclose()
        assert model.heard_at(admitted.request_id) is None


# Efforts


async def requested(
    protocol: str, effort: Effort | None, max_tokens: int = 8000
) -> dict[str, object]:
    answers: dict[str, Answer] = {
        "openai": [*says("Yes."), *ends()],
        "anthropic": [anthropic_starts(), *anthropic_says("Yes."), *anthropic_ends()],
    }
    admitted = asking(protocol, effort, max_tokens)
    async with scripted_provider(answers[protocol]) as provider:
        stream = adapter_to(provider, protocol).stream(admitted, admitted.models[0])
        async with aclosing(stream) as chunks:
            assert [each async for each in chunks]
    (request,) = provider.requests
    return request


@pytest.mark.parametrize("effort", ["none", "low", "high"])
async def test_effort_is_asked_for_as_openai_words_it(effort: Effort) -> None:
    assert (await requested("openai", effort))["reasoning_effort"] == effort


async def test_no_effort_named_is_no_word_about_it() -> None:
    assert "reasoning_effort" not in await requested("openai", None)
    assert "thinking" not in await requested("anthropic", None)


@pytest.mark.parametrize(
    ("effort", "max_tokens", "budget"),
    [
        ("high", 4097, 4096),
        # Claude wants a budget below what it may say at most.
        ("high", 4096, 2048),
        ("medium", 8000, 2048),
        ("low", 1025, 1024),
        ("low", 1024, None),
        ("none", 8000, None),
    ],
)
async def test_budget_of_thinking_fits_what_was_granted(
    effort: Effort, max_tokens: int, budget: int | None
) -> None:
    request = await requested("anthropic", effort, max_tokens)
    thinking = request.get("thinking")
    wanted = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    assert thinking == wanted
    assert request["max_tokens"] == max_tokens


def test_models_are_known_to_think_as_the_map_and_their_providers_say() -> None:
    def of(upstream: str) -> Reasoning:
        return reasoning_of(upstream, entry_of(upstream))

    every: tuple[Effort, ...] = ("none", "low", "medium", "high")
    assert of("openai/gpt-4o-mini") == Reasoning()
    assert of("openai/nobody-knows-it") == Reasoning()
    assert of("openai/gpt-5") == Reasoning(LEVELS, by_default=True)
    assert of("openai/gpt-5.4-mini") == Reasoning(every, by_default=False)
    assert of("anthropic/claude-haiku-4-5") == Reasoning(every, by_default=False)
    assert of("anthropic/claude-opus-5-5") == Reasoning(LEVELS, by_default=True)
    assert of("gemini/gemini-2.5-flash") == Reasoning(LEVELS, by_default=True)
    assert of("azure/gpt-5") == of("openai/gpt-5")
    assert of("deepseek/deepseek-reasoner") == Reasoning(("none", "high"), by_default=True)
    assert of("groq/openai/gpt-oss-120b") == Reasoning(LEVELS, by_default=True)
    # The map names the efforts that these take.
    assert of("moonshot/kimi-k3") == Reasoning(("low", "high"), by_default=True)
    assert of("mistral/mistral-medium-3.5") == Reasoning(("none", "high"), by_default=True)
    # LiteLLM makes a prompt of its own of an effort, or refuses it.
    assert of("mistral/magistral-medium-latest") == Reasoning((), by_default=True)
    assert of("zai/glm-5") == Reasoning((), by_default=True)


# Of these LiteLLM's translation is more than passing an effort on: budgets that need room in what is
# granted, or another protocol for each of their models.
TRANSLATED = {"databricks", "oci", "bedrock_converse", "bedrock_mantle", "fal_ai", "scx-ai"}


def test_providers_that_take_efforts_are_those_of_litellm() -> None:
    """By the config that the installed LiteLLM has for each of the map's models that think."""
    litellm = _import_litellm()
    takes: dict[str, bool] = {}
    for name, entry in price_map().items():
        vendor = str(entry.get("litellm_provider"))
        if not entry.get("supports_reasoning") or entry.get("mode", "chat") != "chat":
            continue
        try:
            known = litellm.get_supported_openai_params(
                model=name.removeprefix(f"{vendor}/"), custom_llm_provider=vendor
            )
        except litellm.exceptions.BadRequestError:
            known = None
        takes[vendor] = takes.get(vendor, True) and "reasoning_effort" in (known or ())
    passed_on = {vendor for vendor, always in takes.items() if always}
    own_rules = {"openai", "azure", "anthropic", "gemini"}
    assert passed_on - TRANSLATED - own_rules == PASSED_ON | ON_OR_OFF


def test_every_effort_on_offer_is_one_that_litellm_passes_on() -> None:
    litellm = _import_litellm()
    refused: list[tuple[str, str]] = []
    offered = 0
    for name, entry in price_map().items():
        vendor = entry.get("litellm_provider")
        if vendor not in {"openai", "azure", "anthropic", "gemini", *PASSED_ON, *ON_OR_OFF}:
            continue
        upstream = name if name.startswith(f"{vendor}/") else f"{vendor}/{name}"
        for effort in reasoning_of(upstream, entry_of(upstream)).efforts:
            asked = effort_for(upstream, entry_of(upstream), effort, 8000)
            offered += 1
            try:
                litellm.utils.get_optional_params(
                    model=upstream.partition("/")[2],
                    custom_llm_provider=vendor,
                    max_tokens=8000,
                    reasoning_effort=asked,
                    stream=True,
                )
            except litellm.exceptions.UnsupportedParamsError:
                refused.append((upstream, effort))
    assert offered > 100
    assert not refused


def test_effort_is_thought_with_only_where_the_model_takes_it() -> None:
    model: Model = model_of("openai")
    on_its_own = dataclasses.replace(model, reasoning=Reasoning(LEVELS, by_default=True))
    on_request = dataclasses.replace(model, reasoning=Reasoning(("none", *LEVELS)))
    assert [model.thinks(effort) for effort in (None, "none", "high")] == [False] * 3
    assert [on_its_own.thinks(effort) for effort in (None, "none", "high")] == [True] * 3
    assert [on_request.thinks(effort) for effort in (None, "none", "low")] == [False, False, True]


def test_budgets_are_what_litellm_asks_claude_for() -> None:
    _import_litellm()
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    for level in LEVELS:
        found = AnthropicConfig._map_reasoning_effort(level, "claude-haiku-4-5", "anthropic")
        assert found is not None
        assert found.get("budget_tokens") == CLAUDE_BUDGETS[level]

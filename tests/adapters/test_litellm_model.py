"""The door to providers, against each provider's own protocol."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import sys
from contextlib import aclosing
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.ports import Admitted, Chunk, Finish, Text, Turn
from aisaas.errors import ProviderError
from aisaas.language_models import Model, Usage
from aisaas.prices import Price
from aisaas.settings import Settings
from tests.adapters.providers import WORDS, Provider, provider

pytestmark = pytest.mark.usefixtures("lane")

PRICE = Price(Decimal(1), Decimal(2), Decimal(1), "test")
UPSTREAM = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "ollama": "ollama_chat/llama3.2",
}
PROTOCOLS = pytest.mark.parametrize("protocol", list(UPSTREAM))


def model_of(protocol: str) -> Model:
    return Model(
        id=protocol,
        label=protocol,
        provider=protocol,
        upstream=UPSTREAM[protocol],
        context_window=8000,
        max_output=1000,
        weight=Decimal(1),
        plans=frozenset({"free"}),
        fallback=None,
        price=PRICE,
    )


def admitted_for(model: Model) -> Admitted:
    return Admitted(
        request_id=uuid4(),
        user_id=uuid4(),
        session_id=uuid4(),
        purpose="reply",
        plan="free",
        models=(model,),
        prompt=(Turn("system", "Be kind.", 3), Turn("user", "Tell me a story.", 5)),
        prompt_count=20,
        max_tokens=321,
        history_cut=0,
        metered_customer=None,
    )


def adapter(server: Provider) -> LiteLLMModel:
    base = server.url + ("/v1" if server.protocol == "openai" else "")
    return LiteLLMModel(
        Settings.model_construct(
            openai_api_key=SecretStr("sk-test-key-1"),
            anthropic_api_key=SecretStr("sk-ant-test-key"),
            demo_api_key=None,
            openai_api_base=base,
            anthropic_api_base=base,
            ollama_api_base=base,
            demo_api_base=None,
        )
    )


async def collect(server: Provider) -> list[Chunk]:
    model = model_of(server.protocol)
    async with aclosing(adapter(server).stream(admitted_for(model), model)) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


@PROTOCOLS
async def test_finished_stream_gives_text_usage_and_finish(protocol: str) -> None:
    async with provider(protocol) as server:
        chunks = await collect(server)
    assert text_of(chunks) == "".join(WORDS)
    usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (40, 9)
    assert isinstance(chunks[-1], Finish)
    assert len(server.requests) == 1


@PROTOCOLS
async def test_reply_that_repeats_itself_is_not_cut(protocol: str) -> None:
    """A rule across a page, or a table's border, comes as the same chunk hundreds of times."""
    async with provider(protocol, words=("-----",) * 400) as server:
        chunks = await collect(server)
    assert text_of(chunks) == "-----" * 400
    assert isinstance(chunks[-1], Finish)


@PROTOCOLS
async def test_request_carries_the_prompt_and_the_admitted_bound(protocol: str) -> None:
    async with provider(protocol) as server:
        await collect(server)
    (request,) = server.requests
    assert "Tell me a story." in str(request["messages"])
    assert "Be kind." in str(request)
    assert "321" in str(request)
    assert request["stream"] is True


@PROTOCOLS
@pytest.mark.parametrize("words", [0, 1, 5])
async def test_stream_closed_in_the_middle_has_no_finish(protocol: str, words: int) -> None:
    async with provider(protocol, cut_after=words) as server:
        try:
            chunks = await collect(server)
        except ProviderError:
            return
    assert text_of(chunks) == "".join(WORDS[:words])
    assert not [chunk for chunk in chunks if isinstance(chunk, Finish)]


@PROTOCOLS
async def test_usage_that_no_provider_sent_is_not_invented(protocol: str) -> None:
    if protocol != "openai":
        pytest.skip("only this protocol can leave it out")
    async with provider(protocol, report_usage=False) as server:
        chunks = await collect(server)
    assert not [chunk for chunk in chunks if isinstance(chunk, Usage)]
    assert isinstance(chunks[-1], Finish)


@PROTOCOLS
async def test_prompt_count_is_known_before_an_anthropic_stream_ends(protocol: str) -> None:
    if protocol != "anthropic":
        pytest.skip("only this protocol counts the prompt at the start")
    async with provider(protocol, cut_after=3) as server:
        chunks = await collect(server)
    usage = next(chunk for chunk in chunks if isinstance(chunk, Usage))
    assert usage.prompt_tokens == 40


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_cached_prompt_tokens_are_distinguished(protocol: str) -> None:
    async with provider(protocol, cached=30) as server:
        chunks = await collect(server)
    usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
    assert usage.cached_prompt_tokens == 30
    # Anthropic counts cached tokens besides the prompt's, OpenAI among them; ours is the latter.
    assert usage.prompt_tokens == (70 if protocol == "anthropic" else 40)


async def test_cache_writes_and_the_region_are_distinguished() -> None:
    async with provider(
        "anthropic", cached=30, cache_write=20, cache_write_1h=8, region="us"
    ) as server:
        chunks = await collect(server)
    usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
    assert usage == Usage(
        prompt_tokens=90,
        completion_tokens=9,
        cached_prompt_tokens=30,
        cache_write_tokens=20,
        cache_write_1h_tokens=8,
        region="us",
    )


async def test_automatic_cache_writes_of_openai_are_distinguished() -> None:
    async with provider("openai", cached=10, cache_write=25) as server:
        chunks = await collect(server)
    usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
    assert (usage.prompt_tokens, usage.cached_prompt_tokens) == (40, 10)
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (25, 0)


@pytest.mark.parametrize("region", ["", "x" * 41, "No region", None])
async def test_region_that_is_none_is_left_out(region: str | None) -> None:
    async with provider("anthropic", region=region) as server:
        chunks = await collect(server)
    assert {chunk.region for chunk in chunks if isinstance(chunk, Usage)} == {""}


@pytest.mark.parametrize(("reported", "thinking"), [(0, 0), (7, 7), (9, 9), (10, 9)])
async def test_thinking_tokens_are_part_of_the_completion(reported: int, thinking: int) -> None:
    async with provider("openai", thinking=reported) as server:
        chunks = await collect(server)
    usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
    assert (usage.completion_tokens, usage.thinking_tokens) == (9, thinking)


@PROTOCOLS
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_refusing_provider_is_called_once_and_named_without_its_words(
    protocol: str, status: int
) -> None:
    async with provider(protocol, status=status) as server:
        with pytest.raises(ProviderError) as caught:
            await collect(server)
    assert len(server.requests) == 1
    assert "story" not in str(caught.value)
    assert "sk-" not in str(caught.value)


@PROTOCOLS
async def test_cancelling_the_reader_hangs_up_on_the_provider(protocol: str) -> None:
    async with provider(protocol, stall_after=4) as server:
        model = model_of(protocol)
        seen = asyncio.Event()

        async def read() -> None:
            stream = adapter(server).stream(admitted_for(model), model)
            async with aclosing(stream) as chunks:
                text = ""
                async for chunk in chunks:
                    text += chunk.text if isinstance(chunk, Text) else ""
                    if text == "".join(WORDS[:4]):
                        seen.set()

        reader = asyncio.create_task(read())
        async with asyncio.timeout(60):
            await seen.wait()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await server.aborted.wait()


async def test_client_that_reads_an_answer_is_seen_to_be_in_use() -> None:
    """LiteLLM lets go of a client after ten minutes, and closes it once it is idle."""
    async with provider("openai", stall_after=4) as server:
        model = model_of("openai")
        door = adapter(server)
        async with aclosing(door.stream(admitted_for(model), model)) as chunks:
            await anext(chunks)
            litellm: Any = sys.modules["litellm"]
            closer = importlib.import_module("litellm.caching.evicted_client_closer")
            kept = litellm.in_memory_llm_clients_cache.cache_dict.values()
            (used,) = [
                each for each in kept if str(getattr(each, "base_url", "")).startswith(server.url)
            ]
            assert closer._has_connection_in_flight(used)
        assert not closer._has_connection_in_flight(used)


async def test_model_that_was_not_admitted_is_never_called() -> None:
    async with provider("openai") as server:
        model = model_of("openai")
        other = dataclasses.replace(model, id="other")
        with pytest.raises(ValueError, match="not admitted"):
            async for _ in adapter(server).stream(admitted_for(model), other):
                pass
    assert server.requests == []


async def test_price_is_from_the_bundled_map_and_unknown_models_have_none() -> None:
    async with provider("openai") as server:
        door = adapter(server)
    price = door.price_of("openai/gpt-4o-mini")
    assert price is not None
    assert (price.input_usd, price.output_usd) == (Decimal("0.15"), Decimal("0.60"))
    assert door.price_of("openai/nobody-sells-this") is None


async def test_openais_client_sends_messages_as_it_would_after_comparing_them_with_its_types() -> (
    None
):
    completions: Any = importlib.import_module("openai.resources.chat.completions.completions")
    params: Any = importlib.import_module("openai.types.chat.completion_create_params")
    original: Any = importlib.import_module("openai._utils").async_maybe_transform
    await LiteLLMModel(Settings.model_construct()).warm()
    ours = completions.async_maybe_transform
    assert ours is not original
    body = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Tell me a story."},
            {"role": "assistant", "content": "Once upon a time"},
        ],
        "model": "gpt-4o-mini",
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    expected = params.CompletionCreateParamsStreaming
    assert await ours(body, expected) == await original(body, expected) == body
    assert (await ours(body, expected))["messages"] is body["messages"]
    assert await ours({"metadata": None}, params.CompletionCreateParams) == {"metadata": None}

"""Amazon Bedrock, through the installed LiteLLM, by a counterpart that speaks AWS's event stream.

The network that such a call sees is sealed in test_sealed_network.py.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from botocore.eventstream import EventStreamBuffer
from pydantic import SecretStr

from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.catalogue import Catalogue
from aisaas.chat.ports import Chunk, Finish, Text
from aisaas.errors import ProviderError
from aisaas.language_models import Model, Usage
from aisaas.providers import ModelProvider
from aisaas.settings import Settings
from tests.adapters.providers import WORDS, Provider, aws_event, provider
from tests.adapters.test_litellm_model import admitted_for
from tests.chat.test_catalogue import load

KEYS = {
    "aws_region_name": "eu-central-1",
    "aws_access_key_id": "AKIATESTS",
    "aws_secret_access_key": "secret-of-these-tests",
}


def sold() -> Catalogue:
    return load(providers=["bedrock"])


def of(server: Provider, *, key: str | None = None) -> LiteLLMModel:
    settings = Settings.model_construct()
    settings._file_providers = (
        ModelProvider(
            "bedrock",
            "Amazon Bedrock",
            "bedrock",
            key=SecretStr(key) if key else None,
            base=server.url,
            parameters={"aws_region_name": "eu-central-1"} if key else KEYS,
        ),
    )
    return LiteLLMModel(settings)


async def chunks_of(server: Provider, model: Model, *, key: str | None = None) -> list[Chunk]:
    door = of(server, key=key)
    found: list[Chunk] = []
    async with aclosing(door.stream(admitted_for(model), model)) as chunks:
        async for chunk in chunks:
            found.append(chunk)  # what came before a failure counts
    return found


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


def test_the_counterpart_speaks_what_aws_reads() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(aws_event("messageStart", {"role": "assistant"}))
    (event,) = list(buffer)
    assert event.headers[":event-type"] == "messageStart"
    assert event.payload == b'{"role": "assistant"}'


@pytest.mark.parametrize("plan", ["free", "pro", "business"])
async def test_each_model_of_the_catalogue_answers_with_its_usage(plan: str) -> None:
    models = sold().for_plan(plan)
    assert models
    for model in models:
        async with provider("bedrock", cached=10) as server:
            chunks = await chunks_of(server, model)
        assert text_of(chunks) == "".join(WORDS)
        assert [chunk.reason for chunk in chunks if isinstance(chunk, Finish)] == ["stop"]
        usage = [chunk for chunk in chunks if isinstance(chunk, Usage)][-1]
        assert (usage.prompt_tokens, usage.completion_tokens) == (40, 9)
        assert usage.cached_prompt_tokens == 10
        name = model.upstream.partition("/")[2]
        assert server.paths == [f"/model/{name}/converse-stream"]
        signed = server.headers[0]["authorization"]
        assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIATESTS/")
        assert "/eu-central-1/bedrock/" in signed
        # What a reply may be at most goes along.
        assert server.requests[0]["inferenceConfig"]["maxTokens"] == admitted_for(model).max_tokens


async def test_a_bearer_token_is_enough() -> None:
    model = sold().default_for("free")
    async with provider("bedrock") as server:
        assert text_of(await chunks_of(server, model, key="token-1")) == "".join(WORDS)
        assert server.headers[0]["authorization"] == "Bearer token-1"


async def test_a_stream_that_breaks_off_is_not_finished() -> None:
    model = sold().default_for("free")
    async with provider("bedrock", cut_after=4) as server:
        chunks = await chunks_of(server, model)
    assert text_of(chunks) == "".join(WORDS[:4])
    assert not [chunk for chunk in chunks if isinstance(chunk, Finish)]


async def test_a_refused_key_is_the_operators_matter() -> None:
    model = sold().default_for("free")
    async with provider("bedrock", status=403) as server:
        with pytest.raises(ProviderError) as caught:
            await chunks_of(server, model)
    assert "403" in str(caught.value)


async def test_an_exception_in_the_stream_fails_the_reply() -> None:
    model = sold().default_for("free")
    async with provider("bedrock") as server:
        server.words = ("Once",)
        body = {"message": "Too many tokens, please wait."}
        throttled = aws_event("throttlingException", body, kind="exception")
        start = aws_event("messageStart", {"role": "assistant"})
        server._bedrock = lambda: [(start, False), (throttled, False)]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        with pytest.raises(ProviderError):
            await chunks_of(server, model)


async def test_a_stopped_reply_hangs_up() -> None:
    model = replace(sold().default_for("free"))
    async with provider("bedrock", stall_after=2) as server:
        door = of(server)
        async with aclosing(door.stream(admitted_for(model), model)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    break
        async with asyncio.timeout(20):
            await server.aborted.wait()

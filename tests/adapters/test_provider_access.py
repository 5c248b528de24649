"""Any provider by settings alone: where each is called, with which key, and with what parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.adapters.litellm_prices import entry_of
from aisaas.adapters.litellm_request import request
from aisaas.chat.ports import Text, Turn
from aisaas.language_models import Model
from aisaas.providers import ModelProvider, read_file
from aisaas.settings import Settings
from tests.adapters.providers import WORDS, Provider, provider
from tests.adapters.test_litellm_model import admitted_for, model_of

KEY = "key-of-these-tests"
# Prefix, a model of it, the protocol it speaks, and the path that is asked for.
SPEAKING = {
    "openai": ("gpt-6-luna", "openai", "/chat/completions"),
    "hosted_vllm": ("meta-llama/llama-3-70b", "openai", "/chat/completions"),
    "mistral": ("mistral-small-2603", "openai", "/chat/completions"),
    "groq": ("openai/gpt-oss-120b", "openai", "/chat/completions"),
    "openrouter": ("anthropic/claude-haiku-5.5", "openai", "/chat/completions"),
    "deepseek": ("deepseek-flash", "openai", "/chat/completions"),
    "xai": ("grok-4.20-beta", "openai", "/chat/completions"),
    "together_ai": ("Qwen/Qwen3.5-397B-A17B", "openai", "/chat/completions"),
    "fireworks_ai": ("accounts/fireworks/models/some", "openai", "/chat/completions"),
    "cerebras": ("gpt-oss-120b", "openai", "/chat/completions"),
    "moonshot": ("kimi-k3", "openai", "/chat/completions"),
    "azure": ("chat-of-ours", "openai", "/openai/deployments/chat-of-ours/chat/completions"),
    "anthropic": ("claude-haiku-5-5", "anthropic", "/v1/messages"),
    "gemini": ("gemini-3.8-flash", "gemini", ":streamGenerateContent"),
}


def a_model(prefix: str, name: str, of: str = "here", map_name: str | None = None) -> Model:
    return replace(
        model_of("openai"), id="m", provider=of, upstream=f"{prefix}/{name}", map_name=map_name
    )


def from_file(folder: Path, *entries: Mapping[str, Any], **variables: str) -> LiteLLMModel:
    path = folder / "providers.json"
    path.write_text(json.dumps(list(entries)))
    settings = Settings.model_construct()
    settings._file_providers = read_file(path, variables.get)
    return LiteLLMModel(settings)


async def said(door: LiteLLMModel, model: Model) -> str:
    async with aclosing(door.stream(admitted_for(model), model)) as chunks:
        return "".join([chunk.text async for chunk in chunks if isinstance(chunk, Text)])


@pytest.mark.parametrize("prefix", SPEAKING)
async def test_each_provider_is_called_at_its_address_with_its_key(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What LiteLLM would find by itself must never be used instead.
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "key-from-elsewhere")
    name, protocol, path = SPEAKING[prefix]
    async with provider(protocol) as server:
        entry = {
            "id": "here",
            "prefix": prefix,
            "key_variable": "HERE_KEY",
            "base": server.url,
            "headers": {"X-Team": "chat", "X-Token": "env:HERE_TOKEN"},
        }
        door = from_file(tmp_path, entry, HERE_KEY=KEY, HERE_TOKEN="token-1")
        assert await said(door, a_model(prefix, name)) == "".join(WORDS)
        assert len(server.requests) == 1
        assert path in server.paths[0]
        sent = server.headers[0]
        assert KEY in f"{sent} {server.paths[0]}"
        assert "elsewhere" not in f"{sent} {server.paths[0]}"
        assert (sent["x-team"], sent["x-token"]) == ("chat", "token-1")


async def test_two_keys_and_addresses_of_one_kind_are_two_providers(tmp_path: Path) -> None:
    async with provider("openai") as one, provider("openai") as two:
        door = from_file(
            tmp_path,
            {"id": "eu", "prefix": "openai", "base": one.url, "key_variable": "EU_KEY"},
            {"id": "us", "prefix": "openai", "base": two.url, "key_variable": "US_KEY"},
            EU_KEY="key-eu",
            US_KEY="key-us",
        )
        for region in ("eu", "us"):
            await said(door, a_model("openai", "gpt-6-luna", of=region))
        assert one.headers[0]["authorization"] == "Bearer key-eu"
        assert two.headers[0]["authorization"] == "Bearer key-us"
        assert (len(one.requests), len(two.requests)) == (1, 1)


async def test_a_server_without_a_key_gets_none_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-from-elsewhere")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    async with provider("openai") as server:
        door = from_file(tmp_path, {"id": "here", "prefix": "openai", "base": server.url})
        assert await said(door, a_model("openai", "local-model")) == "".join(WORDS)
        assert "elsewhere" not in str(server.headers[0])


async def sent_by(server: Provider, tmp_path: Path, model: Model, **entry: Any) -> dict[str, Any]:
    prefix = model.upstream.partition("/")[0]
    whole = {"id": "here", "prefix": prefix, "base": server.url, "key_variable": "K"} | entry
    await said(from_file(tmp_path, whole, K=KEY), model)
    return server.requests[0]


# Parameters


@pytest.mark.parametrize(
    ("prefix", "name", "map_name", "limit"),
    [
        ("openai", "gpt-6.1-sol", None, "max_completion_tokens"),
        ("openai", "gpt-6-luna", None, "max_completion_tokens"),
        ("openai", "gpt-5.4-mini", None, "max_completion_tokens"),
        ("openai", "gpt-4o-mini", None, "max_tokens"),
        ("openai", "a-model-of-ours", None, "max_tokens"),
        ("openai", "a-name-of-ours", "gpt-6-luna", "max_completion_tokens"),
        ("azure", "chat-of-ours", "azure/gpt-5", "max_completion_tokens"),
        ("azure", "chat-of-ours", "azure/gpt-4o", "max_tokens"),
        ("groq", "openai/gpt-oss-120b", None, "max_tokens"),
        ("mistral", "mistral-medium-3.5", None, "max_tokens"),
        ("deepseek", "deepseek-flash", None, "max_tokens"),
        ("xai", "grok-4.20-beta", None, "max_tokens"),
    ],
)
async def test_the_limit_has_the_name_that_the_model_knows(
    prefix: str, name: str, map_name: str | None, limit: str, tmp_path: Path
) -> None:
    async with provider("openai") as server:
        body = await sent_by(server, tmp_path, a_model(prefix, name, map_name=map_name))
    other = {"max_tokens", "max_completion_tokens"} - {limit}
    assert body[limit] == 321
    assert not other & body.keys()
    assert body["stream"] is True


@pytest.mark.parametrize(
    ("prefix", "name", "map_name", "samples"),
    [
        ("openai", "gpt-6.1-sol", None, False),
        ("openai", "a-name-of-ours", "gpt-6-luna", False),
        ("azure", "chat-of-ours", "azure/gpt-5", False),
        ("openai", "gpt-4o-mini", None, True),
        ("openai", "a-model-of-ours", None, True),
        ("mistral", "mistral-small-2603", None, True),
    ],
)
async def test_thinking_models_get_no_temperature(
    prefix: str, name: str, map_name: str | None, samples: bool, tmp_path: Path
) -> None:
    model = a_model(prefix, name, map_name=map_name)
    async with provider("openai") as server:
        body = await sent_by(server, tmp_path, model, parameters={"temperature": 0.2, "top_p": 0.9})
    assert ("temperature" in body) is samples
    assert ("top_p" in body) is samples


@pytest.mark.parametrize("name", ["claude-opus-5-5", "claude-haiku-5-5"])
async def test_claude_gets_no_temperature_either(name: str, tmp_path: Path) -> None:
    async with provider("anthropic") as server:
        body = await sent_by(
            server, tmp_path, a_model("anthropic", name), parameters={"temperature": 0.2}
        )
    assert "temperature" not in body
    assert body["max_tokens"] == 321


def test_instructions_open_the_question_where_a_model_has_no_system_role() -> None:
    deaf = "gemini/gemma-3-27b-it"
    assert entry_of(deaf)["supports_system_messages"] is False
    prompt = (
        Turn("system", "Be kind.", 3),
        Turn("user", "One?", 1),
        Turn("assistant", "Two.", 1),
        Turn("user", "Three?", 1),
    )
    here = ModelProvider("here", "Here", "gemini", key=SecretStr(KEY))

    def roles(name: str) -> list[tuple[str, str]]:
        made: Any = request(prompt, a_model("gemini", name), here, max_tokens=9)["messages"]
        return [(each["role"], each["content"]) for each in made]

    assert roles("gemma-3-27b-it") == [
        ("user", "Be kind.\n\nOne?"),
        ("assistant", "Two."),
        ("user", "Three?"),
    ]
    assert roles("gemini-3.8-flash")[0] == ("system", "Be kind.")


def test_the_same_name_at_another_provider_has_no_price_of_it() -> None:
    assert entry_of("openai/gpt-6-luna")
    assert entry_of("anthropic/claude-haiku-5-5")
    assert not entry_of("groq/gpt-6-luna")
    assert not entry_of("openrouter/claude-haiku-5-5")

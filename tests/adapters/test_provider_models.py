"""What a key can reach, asked of servers that list models as each provider documents it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aisaas.adapters import provider_models
from aisaas.adapters.litellm_prices import price_of
from aisaas.adapters.provider_models import discover
from aisaas.cli import environment, main
from aisaas.controls.ports import Discovery
from aisaas.providers import ModelProvider

KEY = "key-of-these-tests"


@dataclass
class Lister:
    """Answers each request with the next body, the last one from then on."""

    bodies: list[bytes]
    status: int = 200
    silent: bool = False
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.silent:
                await reader.read()
                return
            body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
            head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\n"
            head += "location: http://127.0.0.1:9/\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listing(*contents: Any, **behaviour: Any) -> AsyncGenerator[Lister]:
    bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in contents]
    made = Lister(bodies, **behaviour)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


def of(server: Lister, prefix: str, key: str | None = KEY, **more: Any) -> ModelProvider:
    secret = SecretStr(key) if key else None
    return ModelProvider(
        "here", "Here", prefix, key_variable="HERE_KEY", key=secret, base=server.url, **more
    )


async def found_at(provider: ModelProvider) -> Discovery:
    return (await discover([provider]))[0]


def names(found: Discovery) -> list[str]:
    assert found.problem is None
    return [model.upstream for model in found.models]


OPENAI = {"object": "list", "data": [{"id": "gpt-6-luna"}, {"id": "text-embedding-3-small"}]}
GEMINI = {
    "models": [
        {
            "name": "models/gemini-3.8-flash",
            "inputTokenLimit": 1048576,
            "supportedGenerationMethods": ["generateContent"],
        },
        {"name": "models/new-thing", "supportedGenerationMethods": ["predict"]},
    ]
}
AZURE = {
    "data": [
        {"id": "gpt-5-2025-08-07", "capabilities": {"chat_completion": True}},
        {"id": "something", "capabilities": {"chat_completion": False}},
    ]
}
BEDROCK = {"modelSummaries": [{"modelId": "anthropic.claude-haiku-5-5"}]}


@pytest.mark.parametrize(
    ("prefix", "content", "upstreams", "asked", "key"),
    [
        ("openai", OPENAI, ["openai/gpt-6-luna"], "GET /models ", f"Bearer {KEY}"),
        ("mistral", {"data": [{"id": "x"}]}, ["mistral/x"], "GET /models ", f"Bearer {KEY}"),
        ("together_ai", [{"id": "a/b"}], ["together_ai/a/b"], "GET /models ", f"Bearer {KEY}"),
        (
            "anthropic",
            {"data": [{"id": "claude-haiku-5-5"}], "has_more": False},
            ["anthropic/claude-haiku-5-5"],
            "GET /v1/models?limit=1000 ",
            f"x-api-key: {KEY}",
        ),
        ("gemini", GEMINI, ["gemini/gemini-3.8-flash"], "GET /models?", f"x-goog-api-key: {KEY}"),
        ("azure", AZURE, ["azure/gpt-5-2025-08-07"], "GET /openai/models?", f"api-key: {KEY}"),
        (
            "ollama_chat",
            {"models": [{"name": "llama3.2:3b"}]},
            ["ollama_chat/llama3.2:3b"],
            "GET /api/tags ",
            "Host",
        ),
        (
            "bedrock",
            BEDROCK,
            ["bedrock/anthropic.claude-haiku-5-5"],
            "GET /foundation-models?",
            f"Bearer {KEY}",
        ),
    ],
)
async def test_each_provider_is_asked_in_its_own_way(
    prefix: str, content: Any, upstreams: list[str], asked: str, key: str
) -> None:
    async with listing(content) as server:
        assert names(await found_at(of(server, prefix))) == upstreams
        assert server.requests[0].startswith(asked)
        assert key in server.requests[0]
        # The key is in a header, never in an address that someone may log.
        assert KEY not in server.requests[0].split("\r\n")[0]


async def test_prices_and_limits_are_the_maps() -> None:
    async with listing(OPENAI) as server:
        found = (await found_at(of(server, "openai"))).models[0]
    assert found.price == price_of("openai/gpt-6-luna")
    assert (found.context_window, found.max_output) == (922_000, 128_000)
    assert found.abilities == {"thinking", "vision", "files", "tools"}


async def test_openrouter_names_its_own_prices() -> None:
    content = {
        "data": [
            {
                "id": "some/model",
                "context_length": 32768,
                "pricing": {"prompt": "0.0000002", "completion": "0.0000006"},
                "top_provider": {"max_completion_tokens": 8192},
            },
            {"id": "free/model", "pricing": {"prompt": "0", "completion": "0"}},
            {"id": "odd/model", "pricing": {"prompt": "much", "completion": "-1"}},
            {"id": "a/picture", "architecture": {"output_modalities": ["image"]}},
        ]
    }
    async with listing(content) as server:
        models = {m.upstream: m for m in (await found_at(of(server, "openrouter"))).models}
    priced = models["openrouter/some/model"]
    assert priced.price is not None
    assert (float(priced.price.input_usd), float(priced.price.output_usd)) == (0.2, 0.6)
    assert (priced.context_window, priced.max_output) == (32768, 8192)
    assert models["openrouter/free/model"].price is None
    assert models["openrouter/odd/model"].price is None
    assert "openrouter/a/picture" not in models


async def test_several_pages_are_read() -> None:
    pages = [
        {"data": [{"id": "claude-a"}], "has_more": True, "last_id": "claude-a"},
        {"data": [{"id": "claude-b"}], "has_more": False, "last_id": "claude-b"},
    ]
    async with listing(*pages) as server:
        found = await found_at(of(server, "anthropic"))
        assert names(found) == ["anthropic/claude-a", "anthropic/claude-b"]
        assert "after_id=claude-a" in server.requests[1]


async def test_pages_without_an_end_are_cut() -> None:
    async with listing({"data": [], "has_more": True, "last_id": "x"}) as server:
        assert names(await found_at(of(server, "anthropic"))) == []
        assert len(server.requests) == provider_models.MOST_PAGES


async def test_bedrock_with_keys_signs_its_request() -> None:
    aws: dict[str, object] = {
        "aws_region_name": "us-east-1",
        "aws_access_key_id": SecretStr("AKID"),
        "aws_secret_access_key": SecretStr(KEY),
    }
    async with listing(BEDROCK) as server:
        found = await found_at(of(server, "bedrock", key=None, parameters=aws))
        assert names(found) == ["bedrock/anthropic.claude-haiku-5-5"]
        head = server.requests[0].lower()
        assert "aws4-hmac-sha256 credential=akid/" in head
        assert KEY not in head


# Trouble


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_named_by_its_variable(status: int) -> None:
    async with listing({}, status=status) as server:
        found = await found_at(of(server, "openai"))
    assert found.problem == f"refuses the key in HERE_KEY (status {status})"
    assert found.models == ()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>", 200, "isn't JSON"),
        (b'{"data": 7}', 200, "something else"),
        (b"[" * 100_000, 200, "isn't JSON"),
        (b"{}", 200, "something else"),
        (b"{}", 500, "status 500"),
        # Where it leads nobody has decided that our key may go.
        (b"{}", 302, "status 302"),
    ],
)
async def test_an_answer_that_is_no_list_is_a_sentence(body: bytes, status: int, said: str) -> None:
    async with listing(body, status=status) as server:
        found = await found_at(of(server, "openai"))
    assert found.problem is not None
    assert said in found.problem


async def test_rubbish_among_the_models_is_left_out() -> None:
    content = {
        "data": [7, None, {}, {"id": 7}, {"id": "with space"}, {"id": "x" * 300}, {"id": "ok"}]
    }
    async with listing(content) as server:
        assert names(await found_at(of(server, "openai"))) == ["openai/ok"]


async def test_a_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"data": [{"id": f"m{n}"} for n in range(provider_models.MOST_MODELS + 5)]}
    async with listing(many) as server:
        assert len(names(await found_at(of(server, "openai")))) == provider_models.MOST_MODELS
        monkeypatch.setattr(provider_models, "MOST_BYTES", 1000)
        found = await found_at(of(server, "openai"))
    assert found.problem == "sends a list of more than 1,000 bytes"


async def test_one_bad_provider_does_not_stop_the_others() -> None:
    async with listing({}, status=500) as failing, listing(OPENAI) as fine:
        gone = ModelProvider("gone", "Gone", "openai", base="http://127.0.0.1:9")
        nobody = ModelProvider("nobody", "Nobody", "some_prefix")
        found = await discover([of(failing, "openai"), gone, nobody, of(fine, "openai")])
    assert found[0].problem == "answers with status 500"
    assert "can't be reached" in (found[1].problem or "")
    assert "give its base" in (found[2].problem or "")
    assert names(found[3]) == ["openai/gpt-6-luna"]


async def test_a_provider_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provider_models, "SECONDS", 1.0)
    async with listing({}, silent=True) as silent:
        found = await found_at(of(silent, "openai"))
    assert found.problem == "doesn't answer within 1 seconds"


async def test_the_command_needs_nothing_but_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AISAAS_DATA_DIR", str(tmp_path))
    async with listing(OPENAI) as fine, listing({}, status=401) as refusing:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_BASE", fine.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_BASE", refusing.url)
        environment.configured.cache_clear()
        assert await asyncio.to_thread(main, ["models", "discover", "--json"]) == 1
        listed = {each["provider"]: each for each in json.loads(capsys.readouterr().out)}
        assert await asyncio.to_thread(main, ["models", "discover", "--provider", "openai"]) == 0
        lines = capsys.readouterr().out
        assert await asyncio.to_thread(main, ["models", "discover", "--provider", "nobody"]) == 2
    environment.configured.cache_clear()
    assert listed["anthropic"]["problem"] == "refuses the key in ANTHROPIC_API_KEY (status 401)"
    model = listed["openai"]["models"][0]
    assert (model["upstream"], model["weight"]) == ("openai/gpt-6-luna", "1")
    assert (model["price"]["input_usd"], model["price"]["output_usd"]) == ("0.1", "0.5")
    assert "openai/gpt-6-luna  $0.1 in, $0.5 out per 1M tokens" in lines
    assert KEY not in f"{listed} {lines}"

"""No library calls anywhere but the provider: in a process of its own, every look-up of a name and
every connection is seen, and all but this machine's are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from aisaas.settings import PROJECT_ROOT

SCRIPT = """
import asyncio, json, os, sys

# Whatever the caller's machine has cached must not hide a call.
seen = []
LOCAL = ("127.", "::1", "localhost", "/")
UNSEALED = "unsealed" in sys.argv


def watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        where = address[0] if isinstance(address, tuple) else str(address)
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        where = arguments[0]
    else:
        return
    where = where.decode() if isinstance(where, bytes) else str(where)
    if not where.startswith(LOCAL):
        seen.append(where)
        if UNSEALED:
            # The first call is enough; the library would try for most of a minute.
            print("RESULT " + json.dumps({"seen": seen}), flush=True)
            os._exit(0)
        raise OSError(f"the network is sealed: {where}")


sys.addaudithook(watch)

from contextlib import aclosing
from dataclasses import replace
from pydantic import SecretStr
from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.ports import Text
from aisaas.providers import ModelProvider
from aisaas.settings import Settings
from tests.adapters.providers import provider
from tests.adapters.test_litellm_model import admitted_for, model_of

MODELS = json.loads(sys.argv[1])


async def main():
    said, late = {}, []
    for prefix, name, protocol, *more in MODELS:
        async with provider(protocol) as server:
            settings = Settings.model_construct()
            settings._file_providers = (
                ModelProvider(
                    "here",
                    "Here",
                    prefix,
                    key=None if more else SecretStr("k"),
                    base=server.url,
                    parameters=more[0] if more else {},
                ),
            )
            door = LiteLLMModel(settings)
            await door.warm()
            warm = set(sys.modules)
            if UNSEALED:
                import litellm
                litellm.disable_hf_tokenizer_download = False
            upstream = f"{prefix}/{name}"
            model = replace(model_of("openai"), provider="here", upstream=upstream)
            door.price_of(upstream)
            door.count_tokens("some text")
            try:
                async with aclosing(door.stream(admitted_for(model), model)) as chunks:
                    said[upstream] = "".join([c.text async for c in chunks if isinstance(c, Text)])
            except Exception as error:
                said[upstream] = f"{type(error).__name__}"
            late += [name for name in set(sys.modules) - warm if name.startswith("openai.")]
    print("RESULT " + json.dumps({"seen": seen, "said": said, "late": late}))


asyncio.run(main())
"""
# Both ways into Bedrock: signed with a pair of keys, and with a bearer token.
SIGNED = {"aws_access_key_id": "AKIATESTS", "aws_secret_access_key": "secret"}
REGION = {"aws_region_name": "eu-central-1"}
MODELS: list[Any] = [
    ("openai", "gpt-6.1-sol", "openai"),
    ("openai", "meta-llama/Meta-Llama-3-70B", "openai"),
    ("hosted_vllm", "llama-3-8b", "openai"),
    ("openrouter", "meta-llama/llama-3.3-70b", "openai"),
    ("groq", "llama-3.3-70b-versatile", "openai"),
    ("together_ai", "meta-llama/llama-2-70b", "openai"),
    ("mistral", "mistral-small-2603", "openai"),
    ("deepseek", "deepseek-flash", "openai"),
    ("xai", "grok-4.20-beta", "openai"),
    ("anthropic", "claude-haiku-5-5", "anthropic"),
    ("gemini", "gemini-3.8-flash", "gemini"),
    ("bedrock", "global.anthropic.claude-haiku-5-5", "bedrock", REGION | SIGNED),
    ("bedrock", "amazon.nova-micro-v1:0", "bedrock", REGION | {"api_key": "token"}),
    ("ollama_chat", "llama3.2", "ollama"),
    ("ollama_chat", "a-model-nobody-knows", "ollama"),
]


def run(models: list[Any], *more: str) -> dict[str, object]:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(models), *more],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_ROOT), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, ended.stderr[-2000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


def test_nothing_but_the_provider_is_ever_asked() -> None:
    found = run(MODELS)
    assert found["seen"] == []
    assert found["said"] == dict.fromkeys(
        (f"{prefix}/{name}" for prefix, name, *_ in MODELS), "Once upon a time, tokens were free."
    )


@pytest.mark.parametrize("name", ["llama-3-8b"])
def test_the_seal_sees_what_the_library_does_unless_allowed(name: str) -> None:
    """Without our settings LiteLLM asks a model hub for the tokenizer: the other test would fail."""
    assert run([("hosted_vllm", name, "openai")], "unsealed")["seen"]


def test_the_first_call_imports_no_client_on_the_event_loop() -> None:
    """On a busy machine that took longer than a first word may: the provider seemed to be silent."""
    found = run(MODELS[:1])
    assert list(found["said"]) == ["openai/gpt-6.1-sol"]  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert found["late"] == []

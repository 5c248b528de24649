"""A provider that sends rubbish: a clear end, soon, and in bounded memory."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.ports import Chunk, Finish, Text
from aisaas.errors import ProviderError
from aisaas.language_models import Usage
from aisaas.settings import Settings
from tests.adapters.test_litellm_model import admitted_for, model_of

MB = 1_000_000
# Reading 64 MB of empty chunks is work.
SECONDS = 240
# Of the whole process, on top of what it was: far less than what is sent.
MAX_GROWTH_MB = 60


def event(delta: object, **more: object) -> bytes:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        **more,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usage(prompt: object, completion: object) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 1}
    return event({}, choices=[], usage=counts)


RUBBISH: dict[str, list[bytes]] = {
    "no events": [b"Hello, I am no stream of events.\n" * 50],
    "a page": [b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"],
    "broken json": [event({"content": "so far"}), b'data: {"choices": [{"delta": {"con\n\n'],
    "wrong types": [b'data: {"choices": "none", "usage": []}\n\n', b"data: 7\n\n", b"data: []\n\n"],
    "text that is a number": [event({"content": 42})],
    "no utf-8": [b'data: {"choices": [{"delta": {"content": "\xff\xfe\xfa"}}]}\n\n'],
    "nothing": [],
}


def served(parts: Iterator[bytes]) -> object:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            )
            for part in parts:
                writer.write(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return serve


@asynccontextmanager
async def door(parts: Iterator[bytes]) -> AsyncGenerator[LiteLLMModel]:
    server = await asyncio.start_server(served(parts), "127.0.0.1", 0)  # pyright: ignore[reportArgumentType]
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    model = LiteLLMModel(
        Settings.model_construct(
            openai_api_key=SecretStr("sk-test-key-1"),
            anthropic_api_key=None,
            demo_api_key=None,
            openai_api_base=base,
            anthropic_api_base=None,
            ollama_api_base=None,
            demo_api_base=None,
        )
    )
    await model.warm()
    async with server:
        yield model


async def read(parts: Iterator[bytes], most: int = 200_000) -> tuple[list[Chunk], str | None]:
    """What comes, as a reply reads it: until its end, an error, or more text than it takes."""
    chunks: list[Chunk] = []
    size = 0
    model = model_of("openai")
    async with door(parts) as adapter, asyncio.timeout(SECONDS):
        stream = adapter.stream(admitted_for(model), model)
        try:
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk.text) if isinstance(chunk, Text) else 0
                if size > most:
                    return chunks, "overrun"
        except ProviderError as error:
            return chunks, error.kind
        finally:
            await stream.aclose()
    return chunks, None


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("kind", RUBBISH)
async def test_rubbish_is_an_error_or_an_end_without_a_finish(kind: str) -> None:
    chunks, _ = await read(iter(RUBBISH[kind]))
    assert not any(isinstance(chunk, Finish) for chunk in chunks)
    assert all(isinstance(chunk.text, str) for chunk in chunks if isinstance(chunk, Text))


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize(
    ("prompt", "completion"), [(-5, -7), (10**15, 10**15), ("many", None), (1.5, True)]
)
async def test_absurd_usage_is_no_usage(prompt: object, completion: object) -> None:
    parts = [event({"content": "so far"}), usage(prompt, completion), b"data: [DONE]\n\n"]
    chunks, _ = await read(iter(parts))
    for chunk in chunks:
        if isinstance(chunk, Usage):
            assert 0 <= chunk.prompt_tokens <= 10_000_000
            assert 0 <= chunk.completion_tokens <= 10_000_000


@pytest.mark.parametrize("kind", ["one chunk", "many chunks", "one line", "empty chunks"])
async def test_endless_answers_are_cut_in_bounded_memory(kind: str) -> None:
    def parts() -> Iterator[bytes]:
        match kind:
            case "one chunk":
                yield b'data: {"choices": [{"index": 0, "delta": {"content": "'
                yield from (b"x" * MB for _ in range(100))
                yield b'"}}]}\n\n'
            case "many chunks":
                yield from (event({"content": "x" * 10_000}) for _ in range(10_000))
            case "one line":
                yield from (b"x" * MB for _ in range(100))
            case _:
                yield from (event({"content": ""}) for _ in range(10_000))

    before = peak_mb()
    chunks, error = await read(parts())
    assert not any(isinstance(chunk, Finish) for chunk in chunks)
    if kind != "empty chunks":
        assert error is not None
    assert peak_mb() - before < MAX_GROWTH_MB

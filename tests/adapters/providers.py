"""Servers that speak the providers' streaming protocols, over real sockets, as a test defines.

The bodies follow the public API references of OpenAI (chat completions), Anthropic (messages), Ollama
(chat) and Amazon Bedrock (ConverseStream, in AWS's binary event stream); `cut_after` closes the
connection cleanly in the middle.
"""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

KINDS = {"ollama": "application/x-ndjson", "bedrock": "application/vnd.amazon.eventstream"}
WORDS = ("Once", " upon", " a", " time", ",", " tokens", " were", " free", ".")


@dataclass
class Provider:
    """What the server does, and what it saw."""

    protocol: str
    status: int = 200
    cut_after: int | None = None
    stall_after: int | None = None
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    region: str | None = None
    thinking: int = 0
    report_usage: bool = True
    words: tuple[str, ...] = WORDS
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length")
            )
            self.paths.append(head.split(" ")[1])
            lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
            self.headers.append({name.lower(): value.strip() for name, _, value in lines})
            self.requests.append(json.loads(await reader.readexactly(length)))
            if self.status != 200:
                body = json.dumps({"error": {"message": "no", "type": "server_error"}}).encode()
                writer.write(
                    f"HTTP/1.1 {self.status} No\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                    + body
                )
                return
            kind = KINDS.get(self.protocol, "text/event-stream")
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n".encode()
            )
            await self._stream(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted.set()
        finally:
            writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines: list[tuple[str | bytes, bool]] = getattr(self, f"_{self.protocol}")()
        words = 0
        for line, is_word in lines:
            if is_word and words == self.stall_after:
                # The client hanging up is the only way out of a stall.
                await reader.read()
                self.aborted.set()
                return
            if is_word and words == self.cut_after:
                return
            words += is_word
            writer.write(line if isinstance(line, bytes) else line.encode())
            await writer.drain()

    def _openai(self) -> list[tuple[str, bool]]:
        def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
            body = {
                "id": "c1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
            return f"data: {json.dumps(body)}\n\n"

        usage = {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {
                "prompt_tokens": 40,
                "completion_tokens": 9,
                "total_tokens": 49,
                "prompt_tokens_details": {
                    "cached_tokens": self.cached,
                    "cache_write_tokens": self.cache_write,
                },
                "completion_tokens_details": {"reasoning_tokens": self.thinking},
            },
        }
        lines = [(chunk({"role": "assistant", "content": ""}), False)]
        lines += [(chunk({"content": word}), True) for word in self.words]
        lines.append((chunk({}, "stop"), False))
        if self.report_usage:
            lines.append((f"data: {json.dumps(usage)}\n\n", False))
        return [*lines, ("data: [DONE]\n\n", False)]

    def _anthropic(self) -> list[tuple[str, bool]]:
        def event(name: str, body: dict[str, Any]) -> str:
            return f"event: {name}\ndata: {json.dumps({'type': name} | body)}\n\n"

        usage: dict[str, Any] = {
            "input_tokens": 40,
            "output_tokens": 1,
            "cache_creation_input_tokens": self.cache_write,
            "cache_read_input_tokens": self.cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write - self.cache_write_1h,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
        }
        if self.region is not None:
            usage["inference_geo"] = self.region
        message = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        lines = [
            (event("message_start", {"message": message}), False),
            (
                event(
                    "content_block_start",
                    {"index": 0, "content_block": {"type": "text", "text": ""}},
                ),
                False,
            ),
        ]
        for word in self.words:
            delta = {"index": 0, "delta": {"type": "text_delta", "text": word}}
            lines.append((event("content_block_delta", delta), True))
        lines.append((event("content_block_stop", {"index": 0}), False))
        ending = {
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        }
        return [*lines, (event("message_delta", ending), False), (event("message_stop", {}), False)]

    def _gemini(self) -> list[tuple[str, bool]]:
        def chunk(text: str, finish: str | None = None) -> str:
            candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
            if finish:
                candidate["finishReason"] = finish
            usage = {"promptTokenCount": 40, "candidatesTokenCount": 9, "totalTokenCount": 49}
            body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}
            return f"data: {json.dumps(body)}\n\n"

        last = len(self.words) - 1
        return [
            (chunk(word, "STOP" if index == last else None), True)
            for index, word in enumerate(self.words)
        ]

    def _ollama(self) -> list[tuple[str, bool]]:
        def line(content: str, **rest: object) -> str:
            body = {
                "model": "m",
                "created_at": "2026-01-01T00:00:00Z",
                "message": {"role": "assistant", "content": content},
                "done": False,
            }
            return json.dumps(body | rest) + "\n"

        lines = [(line(word), True) for word in self.words]
        ending = line("", done=True, done_reason="stop", prompt_eval_count=40, eval_count=9)
        return [*lines, (ending, False)]

    def _bedrock(self) -> list[tuple[bytes, bool]]:
        def delta(word: str) -> bytes:
            body = {"contentBlockIndex": 0, "delta": {"text": word}}
            return aws_event("contentBlockDelta", body)

        usage = {
            "inputTokens": 40 - self.cached - self.cache_write,
            "outputTokens": 9,
            "totalTokens": 49,
            "cacheReadInputTokens": self.cached,
            "cacheWriteInputTokens": self.cache_write,
        }
        lines = [(aws_event("messageStart", {"role": "assistant"}), False)]
        lines += [(delta(word), True) for word in self.words]
        lines.append((aws_event("contentBlockStop", {"contentBlockIndex": 0}), False))
        lines.append((aws_event("messageStop", {"stopReason": "end_turn"}), False))
        if self.report_usage:
            metadata = {"usage": usage, "metrics": {"latencyMs": 1}}
            lines.append((aws_event("metadata", metadata), False))
        return lines


def aws_event(name: str, body: dict[str, Any], *, kind: str = "event") -> bytes:
    """A message of AWS's event stream: the lengths and their CRC, headers, the payload, a CRC of all.

    `kind` is event or exception.
    """
    headers = b"".join(
        struct.pack("!B", len(key)) + key + struct.pack("!BH", 7, len(value)) + value
        for key, value in (
            (b":message-type", kind.encode()),
            (f":{kind}-type".encode(), name.encode()),
            (b":content-type", b"application/json"),
        )
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


@asynccontextmanager
async def provider(protocol: str, **behaviour: Any) -> AsyncGenerator[Provider]:
    """A provider that listens on loopback inside the block."""
    made = Provider(protocol, **behaviour)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made

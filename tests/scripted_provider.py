"""A provider over a real socket that sends what a test tells it, in OpenAI's or Anthropic's protocol.

An answer is a list of bytes to send, seconds to wait, and events to wait for. After its end the
connection is closed, unless the answer ends with HANG.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

DONE = b"data: [DONE]\n\n"
PING = b": still there\n\n"
ANTHROPIC_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
# Nothing more comes, and nothing is closed.
HANG = asyncio.Event()

Part = bytes | float | asyncio.Event
Answer = Sequence[Part]


# OpenAI's chat completions


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    body = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body | more).encode() + b"\n\n"


def says(*pieces: str) -> list[bytes]:
    return [chunk({"content": piece}) for piece in pieces]


def thinks(*pieces: str) -> list[bytes]:
    return [chunk({"reasoning_content": piece}) for piece in pieces]


def finish(reason: str = "stop") -> bytes:
    return chunk({}, reason)


def usage(prompt: int, completion: int, thinking: int | None = None) -> bytes:
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if thinking is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": thinking}
    return chunk({}, choices=[], usage=counts)


def ends(
    reason: str = "stop", *, prompt: int = 40, completion: int = 9, thinking: int | None = None
) -> list[bytes]:
    return [finish(reason), usage(prompt, completion, thinking), DONE]


# Anthropic's messages


def anthropic(kind: str, **body: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | body)}\n\n".encode()


def anthropic_starts(prompt: int = 40) -> bytes:
    message = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": 1},
    }
    return anthropic("message_start", message=message)


def anthropic_block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        anthropic("content_block_start", index=index, content_block=block),
        *(anthropic("content_block_delta", index=index, delta=delta) for delta in deltas),
        anthropic("content_block_stop", index=index),
    ]


def anthropic_thinks(*pieces: str) -> list[bytes]:
    return anthropic_block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        *({"type": "thinking_delta", "thinking": piece} for piece in pieces),
        {"type": "signature_delta", "signature": "c2lnbmVk"},
    )


def anthropic_hides() -> list[bytes]:
    return anthropic_block(0, {"type": "redacted_thinking", "data": "aGlkZGVu"})


def anthropic_says(*pieces: str) -> list[bytes]:
    return anthropic_block(
        1,
        {"type": "text", "text": ""},
        *({"type": "text_delta", "text": piece} for piece in pieces),
    )


def anthropic_ends(reason: str = "end_turn", *, completion: int = 9) -> list[bytes]:
    return [
        anthropic(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": None},
            usage={"output_tokens": completion},
        ),
        anthropic("message_stop"),
    ]


@dataclass
class ScriptedProvider:
    """`answer` is for the request that asks, unless its `status` is another than 200; `aborted` when a
    client hung up."""

    answer: Callable[[dict[str, Any]], Answer]
    status: Callable[[dict[str, Any]], int] = lambda _: 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            self.requests.append(request)
            if (status := self.status(request)) != 200:
                body = b'{"error": {"message": "no", "type": "error"}}'
                writer.write(
                    f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                    + body
                )
                return
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            )
            sending = asyncio.create_task(self._send(self.answer(request), writer))
            leaving = asyncio.create_task(reader.read())
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                self.aborted.set()
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted.set()
        finally:
            writer.close()
            self._serving.discard(task)

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        for part in answer:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            elif part is HANG:
                await asyncio.get_running_loop().create_future()
            elif isinstance(part, asyncio.Event):
                await part.wait()
            else:
                await asyncio.sleep(part)

    async def end(self) -> None:
        """Hang up on everybody who is still kept waiting."""
        for task in (left := list(self._serving)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def scripted_provider(
    answer: Callable[[dict[str, Any]], Answer] | Answer,
) -> AsyncGenerator[ScriptedProvider]:
    """Listens on loopback inside the block; `url` has no path."""
    provider = ScriptedProvider(answer if callable(answer) else lambda _: answer)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
        await provider.end()

"""A bare streaming endpoint: each token of the provider becomes one server-sent event, and that is all.

No one is asked who they are, nothing is counted, logged, or stored. Run as `granian … benchmarks.peers.bare_sse:app`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

_EVENT = b"data: "


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None]:
    unlimited = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=unlimited) as app.state.provider:
        yield


async def _stream(request: Request) -> StreamingResponse:
    body = {
        "model": "demo",
        "stream": True,
        "messages": [{"role": "user", "content": request.query_params["text"]}],
    }

    async def events() -> AsyncGenerator[bytes]:
        address = f"{os.environ['OPENAI_API_BASE']}/chat/completions"
        headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
        async with request.app.state.provider.post(address, json=body, headers=headers) as answer:
            async for line in answer.content:
                if not line.startswith(_EVENT) or line.startswith(b"data: [DONE]"):
                    continue
                choices = json.loads(line[len(_EVENT) :])["choices"]
                if choices and (piece := choices[0]["delta"].get("content")):
                    yield b"data: " + json.dumps(piece).encode() + b"\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _here(_: Request) -> Response:
    return PlainTextResponse("here")


app = Starlette(routes=[Route("/", _here), Route("/stream", _stream)], lifespan=_lifespan)

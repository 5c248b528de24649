"""The routes of one process, over parts that a test may take away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from aisaas.api.app import api_routes
from aisaas.api.serving import serving
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import Stack

Routes = Callable[..., AbstractAsyncContextManager[tuple[Services, httpx.AsyncClient]]]


def browser_at(services: Services, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(serving(api_routes(), lambda: services), client=(peer, 5000))
    return httpx.AsyncClient(transport=transport, base_url=services.settings.url)


async def until_idle(services: Services) -> None:
    """Titles come after the reply: what is counted is still until the next call."""
    async with asyncio.timeout(60):
        while services.running.count or services.chat._titles:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.02)


@pytest.fixture
def routes(spare_stack: Stack, patience: None) -> Routes:
    """Services of a process and someone who asks its routes from `peer`; settings by keyword."""

    @asynccontextmanager
    async def make(
        peer: str = "127.0.0.1", **overrides: object
    ) -> AsyncGenerator[tuple[Services, httpx.AsyncClient]]:
        values: dict[str, object] = {name.lower(): v for name, v in spare_stack.env.items()}
        # Some provider has to be named; nothing here calls it.
        values |= {
            "embedded_parts": "postgres,valkey,auth",
            "ollama_api_base": "http://127.0.0.1:9",
        }
        services = build(load(**(values | overrides)))
        try:
            async with browser_at(services, peer) as client:
                yield services, client
        finally:
            await services.close()

    return make

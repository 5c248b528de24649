"""Addresses that pages had before: emails and bookmarks still have them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from aisaas.api.paths import ADMIN

PERMANENT = 308
MOVED = {f"{ADMIN}/steering": f"{ADMIN}/controls"}


async def _forward(request: Request) -> RedirectResponse:
    return RedirectResponse(MOVED[request.url.path], PERMANENT)


def routes() -> list[Route]:
    return [Route(address, _forward) for address in MOVED]

"""For the monitor of this process: is it alive, can it work?

`/health` checks no dependency, so that the outage of one never restarts a process that is fine
itself; `/ready` checks them all. Neither reveals more than names, times and yes or no.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aisaas.api.serving import services_of


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> JSONResponse:
    dependencies = services_of(request).dependencies
    found = await dependencies.look()
    return JSONResponse(dependencies.as_json(found), 200 if found.ready else 503)


def routes() -> list[Route]:
    return [Route("/health", health), Route("/ready", ready)]

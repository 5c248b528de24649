"""For whatever watches this process: is it alive, can it work?

`/health` asks nobody, so that an outage of a part never has a process restarted that is fine itself;
`/ready` asks every part. Neither tells more than names, times and yes or no.
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

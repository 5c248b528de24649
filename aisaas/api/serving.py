"""The services that a request is answered with: those that its app was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from aisaas.wiring import Services

# Called by the first request that needs them: an app must be importable where they can't be built.
Provide = Callable[[], Services]


def serving(routes: Sequence[Route], services: Provide) -> Starlette:
    app = Starlette(routes=routes)
    app.state.services = services
    return app


def services_of(request: Request) -> Services:
    provide: Provide = request.app.state.services
    return provide()

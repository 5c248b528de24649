"""The routes, in one list."""

from __future__ import annotations

from starlette.routing import Route

from aisaas.api import health, session


def api_routes() -> list[Route]:
    return [*health.routes(), *session.routes()]

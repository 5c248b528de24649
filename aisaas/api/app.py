"""The routes, in one list."""

from __future__ import annotations

from starlette.routing import Route

from aisaas.api import (
    account,
    health,
    metrics,
    moved,
    providers,
    public_files,
    session,
    stripe_webhook,
    usage_csv,
)


def api_routes() -> list[Route]:
    return [
        *health.routes(),
        *metrics.routes(),
        *public_files.routes(),
        *moved.routes(),
        *session.routes(),
        *providers.routes(),
        *account.routes(),
        *stripe_webhook.routes(),
        *usage_csv.routes(),
    ]

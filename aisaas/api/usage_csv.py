"""The dashboard's figures as a file, for admins: `/api/admin/usage.csv?from=…&to=…&by=user`.

Users who aren't admins get a 404, as from the admin pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from aisaas.accounts.admin_access import require_admin
from aisaas.admin.usage_export import csv_text
from aisaas.api.forms import UNPROCESSABLE, who
from aisaas.api.serving import services_of
from aisaas.billing.ledger.usage_models import By, Span
from aisaas.errors import (
    DependencyError,
    NotFound,
    Suspended,
    TooSlow,
    Unauthenticated,
    Unavailable,
)

WHAT = f"Say from and to as days like 2026-11-30, and by as one of {', '.join(get_args(By))}."


async def usage_csv(request: Request) -> Response:
    try:
        principal = await who(request)
        require_admin(principal)
        span, by = _asked(request)
        text = csv_text(services_of(request).usage_reports.rows(principal, span, by=by), by)
        # An error at the beginning can still be answered as one.
        first = await anext(text)
    except Unauthenticated as error:
        raise HTTPException(401) from error
    except Suspended as error:
        raise HTTPException(403, error.sentence) from error
    except NotFound as error:
        raise HTTPException(404) from error
    except (DependencyError, TooSlow, Unavailable) as error:
        raise HTTPException(503) from error
    name = f"usage-{span.first}-{span.last}-by-{by}.csv"
    return StreamingResponse(
        _from(first, text),
        media_type="text/csv; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "private, no-store",
            "x-content-type-options": "nosniff",
        },
    )


async def _from(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in rest:
        yield part


def _asked(request: Request) -> tuple[Span, By]:
    """Raises HTTPException with a sentence."""
    asked = request.query_params
    by = next((each for each in get_args(By) if each == asked.get("by", "day")), None)
    if by is None:
        raise HTTPException(UNPROCESSABLE, WHAT)
    try:
        return Span.of(asked.get("from", ""), asked.get("to", "")), by
    except ValueError as error:
        raise HTTPException(UNPROCESSABLE, f"{error} {WHAT}") from error


def routes() -> list[Route]:
    return [Route("/api/admin/usage.csv", usage_csv, methods=["GET"])]

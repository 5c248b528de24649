"""Forms that change a user's own account: password, address, picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from aisaas.accounts.pictures import MAX_BYTES, TOO_LARGE
from aisaas.api.forms import (
    FIELD_MESSAGES,
    Email,
    NotAnsweredError,
    OrBlank,
    OwnForm,
    Password,
    address_of,
    done,
    form_route,
    limited,
    origin_of,
    read,
    who,
)
from aisaas.api.paths import EXPORT, SETTINGS
from aisaas.api.serving import services_of
from aisaas.errors import DependencyError, Suspended, TooSlow, Unauthenticated, Unavailable

# Bytes that a multipart form needs around a file.
ENVELOPE = 4096
YEAR = 31_536_000
CHANGED = "Your password has been changed. You're signed out of all other sessions."
ADDRESS_CHANGED = "Your email address has been changed."
ADDRESS_SENT = "We sent links to your old and new addresses. Open both to finish the change."


class ChangePassword(OwnForm):
    current_password: Annotated[str | None, Field(max_length=256), OrBlank] = None
    new_password: Password


class ChangeAddress(OwnForm):
    email: Email
    current_password: Password


async def password(request: Request) -> Response:
    form = await read(request, ChangePassword)
    principal = await who(request)
    await services_of(request).accounts.change_password(
        principal,
        form.new_password,
        current_password=form.current_password,
        address=address_of(request),
        captcha=form.captcha,
    )
    return done(request, SETTINGS, "password_changed", message=CHANGED)


async def address(request: Request) -> Response:
    form = await read(request, ChangeAddress)
    principal = await who(request)
    changed = await services_of(request).accounts.change_address(
        principal,
        str(form.email),
        current_password=form.current_password,
        address=address_of(request),
        captcha=form.captcha,
        redirect_to=origin_of(request) + SETTINGS,
    )
    if changed:
        return done(
            request,
            SETTINGS,
            "address_changed",
            message=ADDRESS_CHANGED,
            confirm=False,
            redirect=f"{SETTINGS}?notice=address_changed",
        )
    return done(request, SETTINGS, "address_sent", message=ADDRESS_SENT, confirm=True)


async def put_picture(request: Request) -> Response:
    principal = await who(request)
    try:
        body = limited(request, MAX_BYTES + ENVELOPE)
    except HTTPException as error:
        raise HTTPException(error.status_code, TOO_LARGE) from error
    async with body.form(max_files=1, max_fields=4) as form:
        file = form.get("picture")
        if not isinstance(file, UploadFile):
            raise NotAnsweredError({"picture": FIELD_MESSAGES["picture"]})
        content = await file.read(MAX_BYTES + 1)
    where = await services_of(request).pictures.put(principal, content)
    return done(request, SETTINGS, "picture_changed", picture=where)


async def remove_picture(request: Request) -> Response:
    await read(request, OwnForm)
    await services_of(request).pictures.remove(await who(request))
    return done(request, SETTINGS, "picture_removed", picture=None)


async def picture(request: Request) -> Response:
    """One's own picture. The address changes with the picture, so browsers keep it."""
    try:
        principal = await who(request)
        found = await services_of(request).pictures.get(principal, request.path_params["user_id"])
    except Unauthenticated as error:
        raise HTTPException(401) from error
    except Suspended as error:
        raise HTTPException(403, error.sentence) from error
    except (DependencyError, TooSlow, Unavailable) as error:
        raise HTTPException(503) from error
    if found is None:
        raise HTTPException(404)
    return Response(
        found.content,
        media_type=found.content_type,
        headers={
            "cache-control": f"private, max-age={YEAR}, immutable",
            "x-content-type-options": "nosniff",
            # Even a file that is also something else does nothing when opened by itself.
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )


async def export(request: Request) -> Response:
    """Everything they have here, as a file; a suspended account may have it, too."""
    try:
        caller = await services_of(request).callers.resolve(request.headers.get("cookie"))
        lines = services_of(request).export.lines(caller)
        # An error at the beginning can still be answered as one.
        first = await anext(lines)
    except Unauthenticated as error:
        raise HTTPException(401) from error
    except (DependencyError, Unavailable) as error:
        raise HTTPException(503) from error
    return StreamingResponse(
        _after(first, lines),
        media_type="application/x-ndjson; charset=utf-8",
        headers={
            "content-disposition": 'attachment; filename="export.jsonl"',
            "cache-control": "private, no-store",
            "x-content-type-options": "nosniff",
        },
    )


async def _after(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in rest:
        yield part


def routes() -> list[Route]:
    return [
        Route(EXPORT, export, methods=["GET"]),
        form_route("/api/account/password", password, page=SETTINGS),
        form_route("/api/account/address", address, page=SETTINGS),
        form_route("/api/account/picture", put_picture, page=SETTINGS),
        form_route("/api/account/picture/remove", remove_picture, page=SETTINGS),
        Route("/api/account/picture/{user_id:uuid}", picture, methods=["GET"]),
    ]

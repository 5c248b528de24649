"""Sign-up, sign-in, sign-out over HTTP: the only place where the session cookie is set.

Forms from another origin are refused, so nobody can be signed in or out by a foreign page. Answers
are JSON for the page's own form; without JavaScript the form still works by redirects.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, EmailStr, Field, ValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from aisaas.accounts.identity import SignedIn
from aisaas.accounts.sessions import SESSION_LIFETIME_SECONDS
from aisaas.api.paths import own_path
from aisaas.errors import AuthError, DependencyError, Unavailable
from aisaas.wiring import services

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

MAX_BODY = 16_384
SEE_OTHER = 303
AUTH_STATUS = {"over_request_rate_limit": 429, "user_already_exists": 409, "email_exists": 409}


class Credentials(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    email: Annotated[EmailStr, Field(max_length=254)]
    password: Annotated[str, Field(min_length=1, max_length=256)]


class NewAccount(Credentials):
    full_name: Annotated[str, Field(max_length=120)] = ""


FIELD_SENTENCES = {
    "email": "Write a whole email address, like ada@example.com.",
    "password": "Write a password of at most 256 characters.",
    "full_name": "Write a name of at most 120 characters.",
}


async def sign_in(request: Request) -> Response:
    form = await _own_form(request)
    try:
        credentials = Credentials.model_validate(dict(form))
        signed_in = await services().accounts.sign_in(
            str(credentials.email), credentials.password, user_agent=_user_agent(request)
        )
    except ValidationError as error:
        return _refused(request, form, "/login", "validation_failed", _field_sentence(error), 422)
    except AuthError as error:
        status = AUTH_STATUS.get(error.code, 400)
        return _refused(request, form, "/login", error.code, error.sentence, status)
    except DependencyError:
        return _unavailable(request, form, "/login")
    return _signed_in(request, form, signed_in)


async def sign_up(request: Request) -> Response:
    form = await _own_form(request)
    try:
        account = NewAccount.model_validate(dict(form))
        signed_in = await services().accounts.sign_up(
            str(account.email),
            account.password,
            " ".join(account.full_name.split()),
            user_agent=_user_agent(request),
        )
    except ValidationError as error:
        return _refused(request, form, "/signup", "validation_failed", _field_sentence(error), 422)
    except AuthError as error:
        status = AUTH_STATUS.get(error.code, 400)
        return _refused(request, form, "/signup", error.code, error.sentence, status)
    except DependencyError:
        return _unavailable(request, form, "/signup")
    if signed_in is None:
        message = "We sent you a link. Open it to confirm your address, then sign in."
        if _wants_json(request):
            return JSONResponse({"confirm": True, "message": message})
        return RedirectResponse("/login?" + urlencode({"notice": "confirm"}), SEE_OTHER)
    return _signed_in(request, form, signed_in)


async def sign_out(request: Request) -> Response:
    _require_own_origin(request)
    response = RedirectResponse("/", SEE_OTHER)
    try:
        await services().accounts.sign_out(request.headers.get("cookie"))
    except DependencyError:
        # The browser forgets the session now, but the server could not be told.
        log.warning("sign-out while the database was away")
        response = _page_error("You are signed out here, but the server could not note it.", 503)
    response.delete_cookie(
        services().cookie, path="/", secure=services().settings.secure_cookies, httponly=True
    )
    return response


def routes() -> list[Route]:
    return [
        Route(f"/api/session/{name}", _told(endpoint), methods=["POST"])
        for name, endpoint in (("sign-in", sign_in), ("sign-up", sign_up), ("sign-out", sign_out))
    ]


def _told(endpoint: Endpoint) -> Endpoint:
    """A form that is not even looked at is refused in JSON, too, to whoever asked for JSON."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            if not _wants_json(request):
                raise
            return JSONResponse(
                {"code": "form_refused", "message": error.detail}, error.status_code
            )

    return told


async def _own_form(request: Request) -> FormData:
    _require_own_origin(request)
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise HTTPException(413, "That form is too large.")
    return await request.form(max_files=0, max_fields=20)


def _require_own_origin(request: Request) -> None:
    # Browsers send Origin with every form; whoever sends none is not a browser with our cookie.
    origin = request.headers.get("origin")
    if origin is not None and origin not in services().settings.origins:
        raise HTTPException(403, "That form came from another site.")
    if origin is None and request.headers.get("sec-fetch-site") not in {None, "same-origin"}:
        raise HTTPException(403, "That form came from another site.")


def _signed_in(request: Request, form: FormData, signed_in: SignedIn) -> Response:
    target = own_path(form.get("redirectTo"))
    response: Response
    if _wants_json(request):
        response = JSONResponse({"redirect": target, "admin": signed_in.became_admin})
    else:
        response = RedirectResponse(target, SEE_OTHER)
    response.set_cookie(
        services().cookie,
        signed_in.token,
        max_age=SESSION_LIFETIME_SECONDS,
        path="/",
        secure=services().settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
    return response


def _refused(
    request: Request, form: FormData, page: str, code: str, message: str, status: int
) -> Response:
    if _wants_json(request):
        return JSONResponse({"code": code, "message": message}, status)
    query = {"error": code, "redirectTo": own_path(form.get("redirectTo"))}
    return RedirectResponse(f"{page}?{urlencode(query)}", SEE_OTHER)


def _unavailable(request: Request, form: FormData, page: str) -> Response:
    return _refused(request, form, page, Unavailable.code, Unavailable.default, 503)


def _page_error(message: str, status: int) -> Response:
    return Response(message, status, media_type="text/plain")


def _field_sentence(error: ValidationError) -> str:
    return FIELD_SENTENCES.get(str(error.errors()[0]["loc"][0]), "Check what you typed.")


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _user_agent(request: Request) -> str:
    return request.headers.get("user-agent", "")

"""What all forms share: origin and size checks, validation, responses.

Invariants: a form from another origin is refused, so no foreign page acts for a user; no body is read
beyond its limit, whatever its headers say; nothing the user typed is in a URL.

Responses are JSON for the pages' own scripts; without JavaScript the same form works by redirects.
"""

from __future__ import annotations

import logging
import math
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from aisaas.accounts.addresses import NOT_AN_ADDRESS, NOT_ASCII, ascii_address
from aisaas.accounts.identity import SignedIn
from aisaas.accounts.models import Principal
from aisaas.accounts.sessions import SESSION_LIFETIME_SECONDS
from aisaas.api.client_address import client_address
from aisaas.api.paths import AUTH_PAGES, CHAT, LOGIN, own_path
from aisaas.api.serving import services_of
from aisaas.errors import (
    AuthError,
    DependencyError,
    NotFound,
    Overloaded,
    Refusal,
    Suspended,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from aisaas.overload import as_overload

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
Form = TypeVar("Form", bound="OwnForm")

MAX_BODY = 16_384
MAX_FIELDS = 20
SEE_OTHER = 303
UNPROCESSABLE = 422
TOO_LARGE = 413
# The key under which `read` keeps the form's target in the request's scope.
_TARGET = "aisaas.target"
UNREAD = "That form is too large."

AUTH_STATUS = {
    "over_request_rate_limit": 429,
    "over_email_send_rate_limit": 429,
    "too_many_tries": 429,
    "user_already_exists": 409,
    "email_exists": 409,
    "signup_disabled": 403,
}
REFUSAL_STATUS = {NotFound.code: 404, TooSlow.code: 503}

FIELD_MESSAGES = {
    "email": NOT_AN_ADDRESS,
    "password": "Enter your password.",
    "current_password": "Enter your current password.",
    "new_password": "Enter a new password.",
    "full_name": "Enter a name of up to 120 characters.",
    "token_hash": "That link is incomplete. Open it from the email again.",
    "type": "That link is incomplete. Open it from the email again.",
    "captcha": "We couldn't verify that you're human. Try again.",
    "session": "Choose one of your sessions.",
    "scope": "Choose which sessions to end.",
    "picture": "Choose a picture.",
}


def _blank_is_none(value: object) -> object:
    return None if value == "" else value


# As the auth server has it.
Email = Annotated[str, Field(max_length=254), AfterValidator(ascii_address)]
Password = Annotated[str, Field(min_length=1, max_length=256)]
OrBlank = BeforeValidator(_blank_is_none)


class OwnForm(BaseModel):
    """The fields of a form. `captcha` is the widget's answer, where one is set up."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    captcha: Annotated[str | None, Field(max_length=4096), OrBlank] = None


class NotAnsweredError(Exception):
    """A form that is refused because of its fields."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        super().__init__(", ".join(fields))


def form_route(path: str, endpoint: Endpoint, *, page: str) -> Route:
    """A route for a form. What `endpoint` raises becomes its answer; without JavaScript that is
    `page` with the code in its query."""
    return Route(path, error_responses(endpoint, page=page), methods=["POST"])


def error_responses(endpoint: Endpoint, *, page: str) -> Endpoint:
    """Refusals and outages as answers, for people and for scripts."""

    async def with_answers(request: Request) -> Response:
        try:
            _require_own_origin(request)
            async with services_of(request).bulkheads.forms.place():
                return await endpoint(request)
        except HTTPException as error:
            if not wants_json(request):
                raise
            code = "form_refused"
            return JSONResponse({"code": code, "message": error.detail}, error.status_code)
        except NotAnsweredError as error:
            body = {"message": next(iter(error.fields.values())), "fields": dict(error.fields)}
            return refused(request, page, "validation_failed", body, UNPROCESSABLE)
        except AuthError as error:
            status = AUTH_STATUS.get(error.code, 400)
            answer = refused(request, page, error.code, {"message": error.sentence}, status)
            if error.retry_after is not None:
                answer.headers["retry-after"] = str(math.ceil(error.retry_after))
            return answer
        except Unauthenticated as error:
            if not wants_json(request):
                return to_page(LOGIN, error=error.code, redirectTo=own_path(page))
            return refused(request, page, error.code, {"message": error.sentence}, 401)
        except Overloaded as error:
            return busy(request, page, error)
        except (DependencyError, Unavailable) as error:
            if (overloaded := as_overload(error)) is not None:
                return busy(request, page, overloaded)
            sentence = error.sentence if isinstance(error, Unavailable) else Unavailable.default
            return refused(request, page, Unavailable.code, {"message": sentence}, 503)
        except Refusal as error:
            status = REFUSAL_STATUS.get(error.code, 403)
            return refused(request, page, error.code, {"message": error.sentence}, status)

    return with_answers


def refused(
    request: Request, page: str, code: str, body: Mapping[str, object], status: int
) -> Response:
    if wants_json(request):
        return JSONResponse({"code": code, **body}, status)
    query = {"error": code}
    if page in AUTH_PAGES and _TARGET in request.scope:
        query["redirectTo"] = target_of(request)
    return to_page(page, **query)


def busy(request: Request, page: str, overloaded: Overloaded) -> Response:
    answer = refused(request, page, overloaded.code, {"message": overloaded.sentence}, 503)
    answer.headers["retry-after"] = str(overloaded.retry_after)
    return answer


def done(request: Request, page: str, notice: str, **body: object) -> Response:
    """A form that worked and leads nowhere else."""
    return JSONResponse(body) if wants_json(request) else to_page(page, notice=notice)


def to_page(page: str, **query: str) -> RedirectResponse:
    joined = "&" if "?" in page else "?"
    return RedirectResponse(page + (joined + urlencode(query) if query else ""), SEE_OTHER)


async def read(request: Request, form_type: type[Form]) -> Form:
    """The fields of a form. Raises NotAnsweredError with a sentence for each that is wrong."""
    async with limited(request, MAX_BODY).form(max_files=0, max_fields=MAX_FIELDS) as form:
        # Kept for the response, even if the form is refused.
        request.scope[_TARGET] = _target_in(form, services_of(request).settings.origins)
        return validated(form_type, dict(form))


def validated(form_type: type[Form], fields: Mapping[str, Any]) -> Form:
    """Raises NotAnsweredError with a sentence for each field that is wrong."""
    unusable = [name for name in form_type.model_fields if _is_unusable(name, fields.get(name))]
    if unusable:
        raise NotAnsweredError(_messages(unusable))
    try:
        return form_type.model_validate(fields)
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each["msg"] for each in error.errors() if each["loc"]}
        messages = {
            name: NOT_ASCII
            if NOT_ASCII in message
            else FIELD_MESSAGES.get(name, "Check your entry.")
            for name, message in wrong.items()
        }
        raise NotAnsweredError(messages) from error


def _messages(names: Iterable[str]) -> dict[str, str]:
    return {name: FIELD_MESSAGES.get(name, "Check your entry.") for name in names}


def _is_unusable(name: str, value: object) -> bool:
    """Whether it has characters that users don't type, and that the database can't store or a page
    can't show. A password may have any character that can be passed on."""
    unusable = {"Cs"} if name.endswith("password") else {"Cc", "Cs"}
    return isinstance(value, str) and any(
        char == "\0" or unicodedata.category(char) in unusable for char in value
    )


def limited(request: Request, limit: int) -> Request:
    """The same request, whose body ends in a refusal when it is larger than `limit` bytes."""
    length = request.headers.get("content-length", "")
    # Python doesn't convert thousands of digits.
    if not (length.isascii() and length.isdecimal()) or int(length[:20]) > limit:
        raise HTTPException(TOO_LARGE, UNREAD)
    return Request(request.scope, _at_most(request.receive, limit))


def _at_most(receive: Receive, limit: int) -> Receive:
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            # The header said less.
            raise HTTPException(TOO_LARGE, UNREAD)
        return message

    return counted


def _require_own_origin(request: Request) -> None:
    # Browsers send Origin with every form; a client without it is not a browser with our cookie.
    origin = request.headers.get("origin")
    if origin is not None and origin not in services_of(request).settings.origins:
        raise HTTPException(403, "That form was sent from another site.")
    if origin is None and request.headers.get("sec-fetch-site") not in {None, "same-origin"}:
        raise HTTPException(403, "That form was sent from another site.")


# The caller, their address, and where they go next


async def who(request: Request, *, also_suspended: bool = False) -> Principal:
    """Raises Unauthenticated, and Suspended unless suspended users may do this too."""
    principal = await services_of(request).accounts.principal(request.headers.get("cookie"))
    if principal.suspended and not also_suspended:
        raise Suspended
    return principal


def address_of(request: Request) -> str:
    return client_address(request, services_of(request).settings.trusted_proxies)


def user_agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def origin_of(request: Request) -> str:
    """Our own origin as this browser knows it; never one that isn't ours."""
    host = request.headers.get("host", "")
    origins = services_of(request).settings.origins
    return next((each for each in origins if urlsplit(each).netloc == host), origins[0])


def target_of(request: Request) -> str:
    """The page a form continues to: always one of ours, whatever the form said."""
    return request.scope.get(_TARGET, CHAT)


def _target_in(form: FormData, origins: Iterable[str]) -> str:
    # Mails carry it as an absolute address of ours.
    target = form.get("redirectTo")
    if isinstance(target, str):
        for origin in origins:
            if target == origin or target.startswith(f"{origin}/"):
                return own_path(target.removeprefix(origin) or "/")
    return own_path(target)


def signed_in(request: Request, result: SignedIn, target: str) -> Response:
    """Go on with the session's cookie: the only place where it is set."""
    response: Response
    if wants_json(request):
        response = JSONResponse({"redirect": target, "admin": result.became_admin})
    else:
        response = RedirectResponse(target, SEE_OTHER)
    these = services_of(request)
    secure = these.settings.secure_cookies
    keep_session(response, these.cookie, result.token, secure=secure)
    return response


def keep_session(response: Response, cookie: str, token: str, *, secure: bool) -> None:
    """Have the browser send `token` from now on, over https only if `secure`."""
    response.set_cookie(
        cookie,
        token,
        max_age=SESSION_LIFETIME_SECONDS,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def forget_cookie(request: Request, response: Response) -> None:
    these = services_of(request)
    response.delete_cookie(
        these.cookie, path="/", secure=these.settings.secure_cookies, httponly=True
    )

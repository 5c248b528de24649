"""A page's input and output: reads a form, shows a refusal on a page.

Invariant: a request that another site's page triggers changes nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from devstack.serving import log
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.pages.frame import message

MAXIMUM_BYTES = 16 * 1024
MOST_FIELDS = 40
FORM = "application/x-www-form-urlencoded"

Fields = Mapping[str, str]
Answer = Awaitable[Response]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a form has brought about, as the next page says it."""

    sentence: str
    wrong: bool = False


class RefusedFormError(Exception):
    """The message says what was wrong with the form."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def shown(path: str, handler: Callable[[Request], Answer]) -> Route:
    async def endpoint(request: Request) -> Response:
        return await _answered(path, handler(request))

    return Route(path, endpoint, methods=["GET"])


def submitted(path: str, handler: Callable[[Request, Fields], Answer]) -> Route:
    """The handler gets the fields of a form of ours; any other is refused before."""

    async def endpoint(request: Request) -> Response:
        try:
            fields = await _read(request)
        except RefusedFormError as refused:
            return message("Not done", refused.sentence, status=refused.status)
        return await _answered(path, handler(request, fields))

    return Route(path, endpoint, methods=["POST"])


def see(address: str) -> Response:
    """On to a page after a form, so that reloading it sends nothing again."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


async def _answered(path: str, answer: Answer) -> Response:
    try:
        return await answer
    except PaymentsError as error:
        title = "Not found" if error.status == HTTPStatus.NOT_FOUND else "Not done"
        return message(title, error.message, status=error.status)
    except Exception:  # noqa: BLE001  # the last line before the browser; logged, answered as 500
        log("unexpected error", failed=True, path=path)
        sentence = "Something went wrong here. The log of this server says where."
        return message("Not done", sentence, status=HTTPStatus.INTERNAL_SERVER_ERROR)


async def _read(request: Request) -> Fields:
    if not _is_ours(request):
        raise RefusedFormError(
            HTTPStatus.FORBIDDEN,
            "This form was not sent by a page of this server, so nothing was done.",
        )
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise RefusedFormError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This is not a form.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAXIMUM_BYTES:
            raise RefusedFormError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This form is larger than any of ours."
            )
    try:
        pairs = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise RefusedFormError(HTTPStatus.BAD_REQUEST, "This form cannot be read.") from None
    return {name: text.replace("\x00", "").strip() for name, text in pairs}


def _is_ours(request: Request) -> bool:
    """By the page's origin. The host was checked before: it is this machine's own name."""
    ours = f"{request.url.scheme}://{request.headers.get('host', '')}"
    site = request.headers.get("sec-fetch-site", "same-origin")
    return request.headers.get("origin") == ours and site == "same-origin"

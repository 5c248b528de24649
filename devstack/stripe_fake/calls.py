"""A call from request to response: checks the caller, the operation and whether it was done
already; then does it.

Invariant: nothing is awaited between the start and the end of an operation.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devstack.serving import log
from devstack.stripe_fake import answers, frozen_clocks, idempotency
from devstack.stripe_fake.errors import PaymentsError, TriedError, unauthorized
from devstack.stripe_fake.expand import render
from devstack.stripe_fake.faults import Silence, SilenceError
from devstack.stripe_fake.forms import decode
from devstack.stripe_fake.idempotency import Answer
from devstack.stripe_fake.operations import Call, Operation
from devstack.stripe_fake.params import read
from devstack.stripe_fake.services import Services

# How long a call occupies its lane, as the way to a real server and back would.
LANE_SECONDS = 0.01


async def respond(services: Services, operation: Operation, request: Request) -> Response:
    request_id = f"req_{secrets.token_hex(7)}"
    try:
        answer = await _answer(services, operation, request, request_id)
    except SilenceError as silence:
        return Silence(silence.seconds)
    except PaymentsError as error:
        answer = Answer(error.status, error.body)
    except Exception:  # noqa: BLE001  # the last line before the client; logged, answered as 500
        log("unexpected error", failed=True, path=operation.path)
        answer = failed()
    log("request", method=operation.method, path=operation.path, status=answer.status)
    headers = {"request-id": request_id}
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)


def check_key(services: Services, request: Request) -> None:
    """Raises `PaymentsError` (401) unless the request carries the account's key."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise unauthorized("You did not provide an API key.")
    if not hmac.compare_digest(given.strip().encode(), services.config.key.encode()):
        raise unauthorized("Invalid API Key provided.")


def failed() -> Answer:
    error = PaymentsError("An unknown error occurred.", kind="api_error")
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, error.body)


async def _answer(
    services: Services, operation: Operation, request: Request, request_id: str
) -> Answer:
    check_key(services, request)
    encoded = await _encoded(request)
    call, expand = _read(services, operation, request, encoded)
    lane = operation.lane(call)
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    asked = f"{request.method} {request.url.path} {encoded}"
    fault = services.faults.take(f"{operation.method} {operation.path}")
    with _alone(services, key and f"key {key}", idempotency.in_use(key or "")):
        answer = idempotency.former(services.books, key, asked) if key else None
        with _alone(services, None if answer else lane, _too_many()):
            if fault:
                await fault.strike("before")
            if answer is None:
                if lane:
                    await asyncio.sleep(LANE_SECONDS)
                services.books.request = (request_id, key)
                answer = _perform(operation, call, expand, (key, asked) if key else None)
                services.books.request = (None, None)
            if fault:
                await fault.strike("after")
        return answer


def _perform(
    operation: Operation, call: Call, expand: Sequence[str], keep_as: tuple[str, str] | None
) -> Answer:
    books = call.books
    try:
        with books.transaction():
            try:
                with frozen_clocks.at_its_time(call, changes=operation.method != "GET"):
                    body = render(books, operation.handler(call), expand)
                answers.check(body, strict=books.strict)
                answer = Answer(HTTPStatus.OK, body)
            except TriedError as error:
                answer = Answer(error.status, error.body)
            if keep_as:
                idempotency.keep(books, *keep_as, answer)
    except PaymentsError as error:
        # A refusal by the operation itself is an answer too; one before it is none.
        answer = Answer(error.status, error.body)
        if keep_as:
            with books.transaction():
                idempotency.keep(books, *keep_as, answer)
    return answer


async def _encoded(request: Request) -> str:
    if request.method != "POST":
        return request.url.query
    return (await request.body()).decode(errors="replace")


def _read(
    services: Services, operation: Operation, request: Request, encoded: str
) -> tuple[Call, list[str]]:
    is_json = operation.path.startswith("/v2/") and operation.method == "POST"
    given = _json(encoded) if is_json else decode(encoded)
    if "stripe-request-trigger" in request.headers:
        # Following up on an event, the SDK also says in the query that it does.
        given.pop("usage", None)
    params = read(operation.params, given)
    expand: list[str] = params.pop("expand", None) or []
    return (
        Call(
            books=services.books,
            key=services.config.key,
            base_url=services.config.base_url,
            path=request.path_params,
            params=params,
        ),
        expand,
    )


def _json(encoded: str) -> dict[str, Any]:
    try:
        given = json.loads(encoded or "{}")
    except ValueError:
        raise PaymentsError("The request's body is not JSON.") from None
    if not isinstance(given, dict):
        raise PaymentsError("The request's body is not a JSON object.")
    return cast("dict[str, Any]", given)


@contextmanager
def _alone(services: Services, what: str | None, refusal: PaymentsError) -> Generator[None]:
    """Hold `what` for as long as it takes; raise the refusal if another call holds it already."""
    if what is None:
        yield
        return
    if what in services.busy:
        raise refusal
    services.busy.add(what)
    try:
        yield
    finally:
        services.busy.discard(what)


def _too_many() -> PaymentsError:
    return PaymentsError(
        "Another request for the same resource is in progress. Please retry with backoff.",
        status=HTTPStatus.TOO_MANY_REQUESTS,
        code="rate_limit",
    )

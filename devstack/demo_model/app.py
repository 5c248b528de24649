"""The HTTP face, as OpenAI's: models, chat completions; and a health page."""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.demo_model.reply import Reply, Tally, plan_reply
from devstack.demo_model.requests import MODELS, ApiError, invalid, read_chat
from devstack.serving import log

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Settings:
    port: int
    api_key: str = field(repr=False)
    tokens_per_second: float


def build_app(settings: Settings) -> Starlette:
    tally = Tally()
    started = int(time.time())

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "replies": asdict(tally)})

    async def models(_request: Request) -> Response:
        entries = [
            {"id": model, "object": "model", "created": started, "owned_by": "demo"}
            for model in MODELS
        ]
        return JSONResponse({"object": "list", "data": entries})

    async def chat(request: Request) -> Response:
        plan = plan_reply(await read_chat(request), tokens_per_second=settings.tokens_per_second)
        log(
            "reply",
            model=plan.model,
            prompt_tokens=plan.prompt_tokens,
            completion_tokens=len(plan.tokens),
            stream=plan.stream,
            ending=plan.ending,
        )
        return Reply(plan, tally)

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/v1/models", _keyed(models, settings.api_key), methods=["GET"]),
            Route("/v1/chat/completions", _keyed(chat, settings.api_key), methods=["POST"]),
        ],
        exception_handlers={
            ApiError: _refused,
            HTTPException: _not_routed,
            Exception: _surprised,
        },
    )


def _keyed(endpoint: Endpoint, api_key: str) -> Endpoint:
    async def keyed(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(), api_key.encode()
        ):
            raise ApiError(
                HTTPStatus.UNAUTHORIZED,
                "Incorrect API key provided.",
                kind="invalid_request_error",
                code="invalid_api_key",
            )
        return await endpoint(request)

    return keyed


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return invalid(
        f"Invalid URL ({request.method} {request.url.path})", status=error.status_code
    ).response()


async def _surprised(request: Request, _error: Exception) -> Response:
    log("unexpected error", failed=True, path=request.url.path)
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The demo model failed unexpectedly.",
        kind="server_error",
        code="internal_error",
    ).response()

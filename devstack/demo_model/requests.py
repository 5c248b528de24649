"""Reading a chat request: what is wrong with it is said in OpenAI's error shape."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

LARGEST_BODY_BYTES = 8 * 1024 * 1024
# The last isn't in the catalogue: a model for admins to find and add.
MODELS = ("demo", "demo-large", "demo-small")


class ApiError(Exception):
    def __init__(
        self, status: int, message: str, *, kind: str, code: str | None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> JSONResponse:
        limited = self.status == HTTPStatus.TOO_MANY_REQUESTS
        return JSONResponse(
            self.body, status_code=self.status, headers={"retry-after": "1"} if limited else None
        )


def invalid(
    message: str, *, param: str | None = None, status: int = HTTPStatus.BAD_REQUEST
) -> ApiError:
    return ApiError(status, message, kind="invalid_request_error", code=None, param=param)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    type: str


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    role: str = Field(pattern="^(system|developer|user|assistant|tool|function)$")
    content: str | list[_Part] | None = None


class _StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    include_usage: bool | None = None


class _Chat(BaseModel):
    """The fields that matter here are checked; sampling settings and the like are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=1)
    reasoning_effort: str | None = Field(None, pattern="^(none|low|medium|high)$")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: list[dict[str, Any]]
    stream: bool
    include_usage: bool
    most_tokens: int | None
    effort: str | None = None


async def read_chat(request: Request) -> ChatRequest:
    """Raises `ApiError`: 400, 413, or 404 for a model there isn't."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_BODY_BYTES:
            raise invalid(
                f"The request is larger than {LARGEST_BODY_BYTES} bytes.",
                status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
    try:
        chat = _Chat.model_validate_json(bytes(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        raise invalid(
            f"Invalid value for '{where}': {first['msg']}." if where else f"{first['msg']}.",
            param=where,
        ) from error
    if chat.model not in MODELS:
        raise ApiError(
            HTTPStatus.NOT_FOUND,
            f"The model '{chat.model[:100]}' does not exist. There are: {', '.join(MODELS)}.",
            kind="invalid_request_error",
            code="model_not_found",
            param="model",
        )
    options = chat.stream_options
    limits = [limit for limit in (chat.max_tokens, chat.max_completion_tokens) if limit]
    return ChatRequest(
        model=chat.model,
        messages=[message.model_dump() for message in chat.messages],
        stream=bool(chat.stream),
        include_usage=bool(options and options.include_usage),
        most_tokens=min(limits) if limits else None,
        effort=chat.reasoning_effort,
    )

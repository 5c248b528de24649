"""One reply: planned completely before its first byte, then sent at its pace.

Invariant: when the client leaves, the reply ends within one token, and is counted as aborted.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from devstack.demo_model import answers
from devstack.demo_model.commands import Command, CommandError, Ending
from devstack.demo_model.requests import ApiError, ChatRequest
from devstack.demo_model.tokens import count_prompt, split_tokens
from devstack.serving import log

DONE = b"data: [DONE]\n\n"
# How many tokens go out before others get a turn, when there is no pace to wait for.
BURST = 20
# Thinking without a pace of its own, in tokens a second, and how much an effort makes of it.
THINKING_SPEED = 20
EFFORTS = {"low": 20, "medium": 60, "high": 200}
FINISH_REASONS = {"limit": "length", "filter": "content_filter"}
INTERRUPTED = ("stall", "abort", "cut", "linger")
COMMENT = b": thinking\n\n"
COMMENT_SECONDS = 1.0


@dataclass(slots=True)
class Tally:
    """What became of the replies, for tests and for the curious."""

    open: int = 0
    finished: int = 0
    aborted: int = 0
    last_aborted_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    model: str
    prompt_tokens: int
    tokens: list[str]
    speed: float
    silence: float
    ending: Ending
    # Each token is the time at which it is sent, so that a reader can compute its lag.
    ticks: bool
    finish_reason: str
    stream: bool
    include_usage: bool
    thinking: list[str] = field(default_factory=list[str])
    thinking_speed: float = 0.0
    # Comments keep the connection alive while nothing is said.
    hidden: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def usage(self) -> dict[str, Any]:
        completion = len(self.thinking) + len(self.tokens)
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }
        if self.thinking:
            usage["completion_tokens_details"] = {"reasoning_tokens": len(self.thinking)}
        return usage


def plan_reply(chat: ChatRequest, *, tokens_per_second: float) -> Plan:
    """Raises `ApiError` when a command asks for one."""
    command: Command | None = None
    said: str | None = None
    is_title = answers.is_title_request(chat.messages)
    if is_title:
        text, speed = answers.title(chat.messages, most_tokens=chat.most_tokens), 0.0
    else:
        # A reply in one piece shows no pace, so only a command slows it down.
        speed = tokens_per_second if chat.stream else 0.0
        said = answers.said_so_far(chat.messages)
        asked = chat.messages if said is None else chat.messages[:-2]
        try:
            command = answers.command_in(asked)
            text = answers.answer(chat.model, asked, command)
        except CommandError as error:
            text = answers.explain(error)
        if said is not None:
            # The rest, to its end, however the part before ended.
            text = text.removeprefix(said) or answers.NOTHING_MORE
            command = command and replace(command, ending="stop", after=None, thinking=0)
    if command and command.error:
        raise _asked_for(command.error)
    thinking, thinking_speed = ([], 0.0) if is_title else _thinking(chat, command, speed)
    if command and command.ending == "refuse":
        text = answers.REFUSAL
    tokens = split_tokens(text)
    limit = chat.most_tokens
    over = bool(limit) and len(thinking) + len(tokens) > (limit or 0)
    if limit:
        thinking = thinking[:limit]
        tokens = tokens[: limit - len(thinking)]
    if command and command.after is not None:
        tokens = tokens[: command.after]
    ending = command.ending if command else "stop"
    return Plan(
        model=chat.model,
        prompt_tokens=count_prompt(chat.messages),
        tokens=tokens,
        speed=command.speed if command and command.speed is not None else speed,
        silence=command.silence if command else 0.0,
        ending=ending,
        ticks=command is not None and command.subject == "ticks",
        finish_reason=FINISH_REASONS.get(ending, "length" if over else "stop"),
        stream=chat.stream,
        include_usage=chat.include_usage,
        thinking=thinking,
        thinking_speed=thinking_speed,
        hidden=command is not None and command.hidden,
    )


def _thinking(chat: ChatRequest, command: Command | None, speed: float) -> tuple[list[str], float]:
    """What is thought, and its pace: for the seconds of a command, else as the effort wants it."""
    if command and command.thinking:
        return answers.thoughts(command.thinking * THINKING_SPEED), THINKING_SPEED
    return answers.thoughts(EFFORTS.get(chat.effort or "none", 0)), speed


def _asked_for(status: int) -> ApiError:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ApiError(
            status,
            "Rate limit reached, as you asked. Try again in a second.",
            kind="rate_limit_error",
            code="rate_limit_exceeded",
        )
    return ApiError(
        status, "The demo model failed, as you asked.", kind="server_error", code="internal_error"
    )


class Reply(Response):
    """Sends a plan, and stops sending it as soon as the client has gone."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        super().__init__()
        self._plan = plan
        self._tally = tally
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tally = self._tally
        tally.open += 1
        deliver = self._stream(send) if self._plan.stream else self._whole(scope, receive, send)
        sending = asyncio.create_task(deliver)
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                tally.finished += 1
                await sending
            else:
                tally.aborted += 1
                tally.last_aborted_tokens = self._sent
                log("client left", tokens=self._sent, of=len(self._plan.tokens))
        finally:
            tally.open -= 1
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _stream(self, send: Send) -> None:
        plan = self._plan
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event = _events(plan)

        async def write(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        await asyncio.sleep(plan.silence)
        await write(event({"role": "assistant", "content": ""}, None))
        if plan.hidden:
            left = len(plan.thinking) / plan.thinking_speed
            while left > 0:
                await write(COMMENT)
                await asyncio.sleep(min(left, COMMENT_SECONDS))
                left -= COMMENT_SECONDS
        else:
            async for token in _paced(plan.thinking, plan.thinking_speed):
                await write(event({"reasoning_content": token}, None))
        said_as = "refusal" if plan.ending == "refuse" else "content"
        async for token in _paced(plan.tokens, plan.speed):
            await write(event({said_as: _now() if plan.ticks else token}, None))
            self._sent += 1
        match plan.ending:
            case "stall":
                await asyncio.Event().wait()
            case "abort":
                # Without the last, empty part the server drops the connection.
                return
            case "cut":
                await write(b"", more=False)
            case "linger":
                await write(event({}, plan.finish_reason))
                await asyncio.Event().wait()
            case "stop" | "limit" | "filter" | "refuse":
                await write(event({}, plan.finish_reason))
                if plan.include_usage:
                    await write(event(None, None))
                await write(DONE, more=False)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plan
        pace = len(plan.tokens) / plan.speed if plan.speed else 0.0
        if plan.thinking_speed:
            pace += len(plan.thinking) / plan.thinking_speed
        await asyncio.sleep(plan.silence + pace)
        said, refused = "".join(plan.tokens), plan.ending == "refuse"
        message = {
            "role": "assistant",
            "content": None if refused else said,
            "refusal": said if refused else None,
        }
        if plan.thinking and not plan.hidden:
            message["reasoning_content"] = "".join(plan.thinking)
        response = JSONResponse(
            {
                "id": plan.id,
                "object": "chat.completion",
                "created": plan.created,
                "model": plan.model,
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "logprobs": None,
                        "finish_reason": plan.finish_reason,
                    }
                ],
                "usage": plan.usage,
            }
        )
        if plan.ending not in INTERRUPTED:
            await response(scope, receive, send)
            return
        # Interrupted: half of the body, and then silence or the end of the connection.
        await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
        half = bytes(response.body)[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        if plan.ending == "stall":
            await asyncio.Event().wait()


async def _paced(tokens: list[str], speed: float) -> AsyncGenerator[str]:
    started = time.perf_counter()
    for number, token in enumerate(tokens):
        if speed:
            # Against the clock, so that what sending costs doesn't add up.
            await asyncio.sleep(started + number / speed - time.perf_counter())
        elif number % BURST == 0:
            await asyncio.sleep(0)
        yield token


def _now() -> str:
    """Milliseconds on the machine's monotonic clock, which its processes share."""
    return f" {time.monotonic_ns() // 1_000_000}"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _events(plan: Plan) -> Callable[[dict[str, Any] | None, str | None], bytes]:
    head: dict[str, Any] = {
        "id": plan.id,
        "object": "chat.completion.chunk",
        "created": plan.created,
        "model": plan.model,
    }

    def event(delta: dict[str, Any] | None, finish_reason: str | None) -> bytes:
        """One chunk; without a delta it is the one with the usage and no choices."""
        choices: list[dict[str, Any]] = []
        if delta is not None:
            choices.append({"index": 0, "delta": delta, "finish_reason": finish_reason})
        chunk = {**head, "choices": choices}
        if plan.include_usage:
            chunk["usage"] = plan.usage if delta is None else None
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"

    return event

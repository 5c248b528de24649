"""Faults between the product and Stripe, triggered on demand.

Invariant: a fault strikes before anything is done, or after it is done and written down; never
halfway.
"""

import asyncio
import random
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from devstack.stripe_fake.errors import PaymentsError

Kind = Literal["lost_answer", "conflict", "rate_limit", "server_error", "delay", "timeout"]
When = Literal["before", "after"]
EVERY_OPERATION = "*"


@dataclass(slots=True, kw_only=True)
class Fault:
    """`operation` is like `POST /v1/customers/{customer}`, or `*`; without `times` it stays.

    `seconds` is how long a delay takes, and after how long a timeout closes the connection.
    """

    operation: str
    kind: Kind
    times: int | None = 1
    probability: float = 1.0
    seconds: float = 1.0
    before_or_after: When = "before"

    async def strike(self, when: When) -> None:
        """Raises `PaymentsError` or `SilenceError`, or takes its time, if this is the moment."""
        moment = "after" if self.kind == "lost_answer" else self.before_or_after
        if when != moment:
            return
        match self.kind:
            case "delay":
                await asyncio.sleep(self.seconds)
            case "lost_answer":
                raise SilenceError(0.0)
            case "timeout":
                raise SilenceError(self.seconds)
            case "rate_limit":
                raise PaymentsError(
                    "Request rate limit exceeded. Please retry with backoff.",
                    status=HTTPStatus.TOO_MANY_REQUESTS,
                    code="rate_limit",
                )
            case "conflict":
                raise PaymentsError(
                    "This object cannot be accessed right now because another API request or "
                    "Stripe process is currently accessing it.",
                    status=HTTPStatus.CONFLICT,
                    code="lock_timeout",
                )
            case "server_error":
                raise PaymentsError(
                    "An unknown error occurred.",
                    status=HTTPStatus.INTERNAL_SERVER_ERROR,
                    kind="api_error",
                )


class SilenceError(Exception):
    """The caller gets no answer: the connection ends after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__("no answer")
        self.seconds = seconds


@dataclass(slots=True)
class Faults:
    active: list[Fault] = field(default_factory=list[Fault])

    def take(self, operation: str) -> Fault | None:
        """The fault that strikes this call, if one does; it has then struck once more."""
        for fault in self.active:
            if fault.operation not in (operation, EVERY_OPERATION):
                continue
            if random.random() >= fault.probability:  # noqa: S311
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.active.remove(fault)
            return fault
        return None


class Silence(Response):
    """Half an answer and then none: the server drops a connection whose answer has no end."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.wait({asyncio.create_task(_until_gone(receive))}, timeout=self._seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

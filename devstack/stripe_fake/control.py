"""The control of tests and demonstrations: time, faults, how events are delivered, and what a
customer or their bank would do."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.stripe_fake import (
    charges,
    checkout,
    meter_events,
    meters,
    payment_methods,
)
from devstack.stripe_fake.books import shown
from devstack.stripe_fake.calls import check_key
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.faults import Fault, Kind, When
from devstack.stripe_fake.services import Services

YEAR_SECONDS = 366 * 86_400
Share = Field(default=None, ge=0, le=1)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Advance(_Body):
    advance_seconds: int = Field(ge=0, le=YEAR_SECONDS)


class _NewFault(_Body):
    operation: str = "*"
    kind: Kind
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, ge=0, le=1)
    seconds: float = Field(default=1.0, ge=0)
    before_or_after: When = "before"


class _Webhooks(_Body):
    duplicate: float | None = Share
    drop_answers: float | None = Share
    shuffle: bool | None = None
    paused: bool | None = None


class _MeterErrors(_Body):
    event_name: str | None = None
    code: str = "meter_event_invalid_value"
    identifiers: list[str] = []


class _Card(_Body):
    """What a customer types on a session's page. `authenticated`: they pass 3-D Secure if asked."""

    number: str
    exp_month: int = 12
    exp_year: int = 2099
    cvc: str = "123"
    authenticated: bool = False


class _NewDispute(_Body):
    charge: str
    reason: str = "fraudulent"


class _ClosedDispute(_Body):
    status: Literal["won", "lost"]


Body = TypeVar("Body", bound=_Body)


def routes(services: Services) -> list[BaseRoute]:
    books, deliverer = services.books, services.deliverer

    def clock() -> dict[str, int]:
        return {"now": books.now(), "ahead_seconds": books.clock.ahead}

    async def show_clock(_request: Request) -> Any:
        return clock()

    async def advance(request: Request) -> Any:
        await books.advance((await _read(request, _Advance)).advance_seconds)
        return clock()

    async def add_fault(request: Request) -> Any:
        fault = Fault(**(await _read(request, _NewFault)).model_dump())
        services.faults.active.append(fault)
        return asdict(fault)

    async def remove_faults(_request: Request) -> Any:
        services.faults.active.clear()
        return {"faults": []}

    async def set_webhooks(request: Request) -> Any:
        given = (await _read(request, _Webhooks)).model_dump(exclude_none=True)
        for name, value in given.items():
            setattr(deliverer.unreliability, name, value)
        deliverer.wake()
        return asdict(deliverer.unreliability)

    async def deliver(_request: Request) -> Any:
        taken, refused = await deliverer.deliver_all()
        return {"delivered": taken, "failed": refused}

    async def show_webhooks(_request: Request) -> Any:
        rows = books.database.execute(
            "select event, kind, endpoint, attempts, last_status from deliveries "
            "where not delivered order by seq"
        )
        undelivered = [
            {
                "event": event,
                "type": books.need(kind, event)["type"],
                "endpoint": endpoint,
                "attempts": attempts,
                "last_status": status,
            }
            for event, kind, endpoint, attempts, status in rows
        ]
        return {**asdict(deliverer.unreliability), "undelivered": undelivered}

    async def report_meter_errors(request: Request) -> Any:
        wanted = await _read(request, _MeterErrors)
        with books.transaction():
            if wanted.event_name is not None:
                for meter in meters.named(books, wanted.event_name):
                    for identifier in wanted.identifiers:
                        meter_events.note_problem(books, meter["id"], wanted.code, identifier)
            return {"events": meter_events.report_problems(books, books.now())}

    async def complete_checkout(request: Request) -> Any:
        typed = await _read(request, _Card)
        with books.transaction():
            session = books.need(checkout.KIND, request.path_params["session"])
            card = typed.model_dump(include={"number", "exp_month", "exp_year", "cvc"})
            method = payment_methods.from_card(books, customer=None, **card)
            outcome = checkout.complete(books, session, method, authenticated=typed.authenticated)
        return {"outcome": outcome}

    async def open_dispute(request: Request) -> Any:
        wanted = await _read(request, _NewDispute)
        with books.transaction():
            charged = books.need(charges.KIND, wanted.charge, "charge")
            return shown(charges.open_dispute(books, charged, wanted.reason))

    async def close_dispute(request: Request) -> Any:
        wanted = await _read(request, _ClosedDispute)
        with books.transaction():
            dispute = books.need("dispute", request.path_params["dispute"])
            return shown(charges.close_dispute(books, dispute, wanted.status))

    endpoints: tuple[tuple[str, str, Callable[[Request], Awaitable[Any]]], ...] = (
        ("GET", "/clock", show_clock),
        ("POST", "/clock", advance),
        ("POST", "/faults", add_fault),
        ("DELETE", "/faults", remove_faults),
        ("GET", "/webhooks", show_webhooks),
        ("POST", "/webhooks", set_webhooks),
        ("POST", "/webhooks/deliver", deliver),
        ("POST", "/meter-errors", report_meter_errors),
        ("POST", "/checkout/{session}/complete", complete_checkout),
        ("POST", "/disputes", open_dispute),
        ("POST", "/disputes/{dispute}/close", close_dispute),
    )
    return [
        Route(f"/_control{path}", _keyed(services, endpoint), methods=[method])
        for method, path, endpoint in endpoints
    ]


def _keyed(
    services: Services, endpoint: Callable[[Request], Awaitable[Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def keyed(request: Request) -> Response:
        try:
            check_key(services, request)
            return JSONResponse(await endpoint(request))
        except PaymentsError as error:
            return JSONResponse(error.body, status_code=error.status)

    return keyed


async def _read(request: Request, kind: type[Body]) -> Body:
    try:
        return kind.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise PaymentsError(
            first["msg"],
            status=HTTPStatus.BAD_REQUEST,
            param=".".join(str(part) for part in first["loc"]),
        ) from None

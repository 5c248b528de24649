"""The HTTP face: which modules are served."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.serving import LOOPBACK
from devstack.stripe_fake import (
    charges,
    checkout,
    control,
    customers,
    discounts,
    engine,
    event_destinations,
    events,
    frozen_clocks,
    invoice_calls,
    invoices,
    meter_events,
    meters,
    payment_methods,
    portal_api,
    prices,
    products,
    subscription_schedules,
    subscriptions,
    webhook_endpoints,
)
from devstack.stripe_fake.books import Due
from devstack.stripe_fake.calls import respond
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import Operation
from devstack.stripe_fake.pages import checkout as checkout_page
from devstack.stripe_fake.pages import invoice, portal, start
from devstack.stripe_fake.services import Routes, Services

OPERATIONS: tuple[Operation, ...] = (
    *customers.OPERATIONS,
    *products.OPERATIONS,
    *prices.OPERATIONS,
    *meters.OPERATIONS,
    *meter_events.OPERATIONS,
    *payment_methods.OPERATIONS,
    *subscriptions.OPERATIONS,
    *subscription_schedules.OPERATIONS,
    *invoice_calls.OPERATIONS,
    *charges.OPERATIONS,
    *checkout.OPERATIONS,
    *discounts.OPERATIONS,
    *portal_api.OPERATIONS,
    *events.OPERATIONS,
    *webhook_endpoints.OPERATIONS,
    *event_destinations.OPERATIONS,
    *frozen_clocks.OPERATIONS,
)
# Routes besides the API: pages and the control of tests.
PAGES: tuple[Routes, ...] = (
    control.routes,
    start.routes,
    checkout_page.routes,
    portal.routes,
    invoice.routes,
)
# Work that becomes due as time passes.
DUE: tuple[Due, ...] = (
    meter_events.DUE,
    invoices.WAITING,
    engine.WAITING,
    checkout.WAITING,
    frozen_clocks.WAITING,
)


def build_app(services: Services) -> Starlette:
    services.books.base_url = services.config.base_url
    services.books.at_due.extend(DUE)
    services.books.at_customer_deleted.append(engine.delete_all)
    routes: list[BaseRoute] = [Route("/health", _health, methods=["GET"])]
    routes += [
        Route(operation.path, _endpoint(services, operation), methods=[operation.method])
        for operation in OPERATIONS
    ]
    routes += [route for pages in PAGES for route in pages(services)]
    # A page elsewhere could point a name of its own at this machine.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])
    return Starlette(
        routes=routes, middleware=[hosts], exception_handlers={HTTPException: _not_routed}
    )


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _endpoint(services: Services, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await respond(services, operation, request)

    return endpoint


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = PaymentsError(
        f"Unrecognized request URL ({request.method}: {request.url.path}).",
        status=error.status_code,
    )
    return JSONResponse(refusal.body, status_code=refusal.status)

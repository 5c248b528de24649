"""The payment provider's webhook endpoint.

Sessions, cookies and origins mean nothing here: only the signature over the raw body does. Invariants:
no body is read beyond its limit, nothing in it is trusted before its signature is verified, and an
endpoint without a secret is off (503), never open. Where payments are off there is no endpoint (404).

Outages: if the database or the provider is down, the response is 500, so that the event is sent again,
and 503 with the time to come back while too many come at once;
an event that can never be handled (foreign, malformed, of another mode) gets 400.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aisaas.api.serving import services_of
from aisaas.billing.ports import Payments
from aisaas.billing.subscriptions.events import StripeEvents, failure_code
from aisaas.errors import AisaasError, Overloaded, Unavailable, WebhookInvalid
from aisaas.observe.metrics import WEBHOOKS

log = logging.getLogger(__name__)

SNAPSHOTS = "/api/webhooks/stripe"
METERS = "/api/webhooks/stripe/meters"
SIGNATURE = "stripe-signature"
MAX_BYTES = 256 * 1024
# From here on it is our failure, and the event comes again.
FAILED = 500
# Bodies are a few kilobytes, and come from a server.
READ_SECONDS = 10.0

# NUL, as JSON writes it or as it is.
_NUL = re.compile(rb"\x00|\\u0000")

Take = Callable[[Payments, StripeEvents, bytes, str], Awaitable[None]]


async def snapshots(request: Request) -> Response:
    """Events that carry the object they are about."""
    config = services_of(request).settings
    take = partial(_take_snapshot, live=config.stripe_is_live)
    return await _answer(request, config.webhook_secrets, take)


async def meters(request: Request) -> Response:
    """Thin events: usage that was reported and could not be counted."""
    return await _answer(request, services_of(request).settings.meter_webhook_secrets, _take_thin)


async def _take_snapshot(
    payments: Payments, events: StripeEvents, body: bytes, signature: str, *, live: bool
) -> None:
    event = payments.event(body, signature)
    _require_storable(
        body, event.id, event.type, event.customer_id or "", event.subscription_id or ""
    )
    if event.live != live:
        log.warning("webhook: event %s is of another mode than our key", event.id)
        raise WebhookInvalid("live and test mode are mixed up")
    try:
        await events.process(event)
    except Overloaded:
        raise
    except Exception as error:
        # Admins find the details among the failed events; the log says which one.
        _log_failure(f"event {event.id} ({event.type})", error)
        raise HTTPException(500, "not handled: send it again") from error


async def _take_thin(payments: Payments, events: StripeEvents, body: bytes, signature: str) -> None:
    event_id = payments.meter_notice(body, signature)
    if event_id is None:
        return
    _require_storable(body, event_id)
    try:
        await events.process_meter_notice(event_id, payments.meter_problem)
    except Overloaded:
        raise
    except Exception as error:
        _log_failure(f"event {event_id}, a meter's problem", error)
        raise HTTPException(500, "not handled: send it again") from error


async def _answer(request: Request, secrets: tuple[str, ...], take: Take) -> Response:
    these = services_of(request)
    payments, events = these.payments, these.stripe_events
    try:
        if payments is None or events is None:
            raise HTTPException(404, "payments are not set up")
        if not secrets:
            raise HTTPException(503, "this endpoint is off: it has no secret")
        # Before the signature, which takes most of the time of what is refused.
        events.check_room()
        body = await _body(request)
        await take(payments, events, body, request.headers.get(SIGNATURE, ""))
    except WebhookInvalid as error:
        WEBHOOKS.labels("invalid").inc()
        return PlainTextResponse(f"{error}\n", 400)
    except Overloaded as error:
        WEBHOOKS.labels("busy").inc()
        return PlainTextResponse(
            f"{error.sentence}\n", 503, headers={"retry-after": str(error.retry_after)}
        )
    except Unavailable as error:
        WEBHOOKS.labels("failed").inc()
        return PlainTextResponse(f"{error.sentence}\n", FAILED)
    except HTTPException as error:
        WEBHOOKS.labels("failed" if error.status_code >= FAILED else "invalid").inc()
        return PlainTextResponse(f"{error.detail}\n", error.status_code)
    WEBHOOKS.labels("taken").inc()
    return JSONResponse({"received": True})


async def _body(request: Request) -> bytes:
    """As it came, byte by byte: it is what was signed."""
    length = request.headers.get("content-length", "0")
    # Python doesn't convert thousands of digits.
    if not (length.isascii() and length.isdecimal()) or int(length[:20]) > MAX_BYTES:
        raise HTTPException(413, "too large")
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    # The header declared less, or nothing.
                    raise HTTPException(413, "too large")
    except TimeoutError as error:
        raise HTTPException(408, "too slow") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "cut off") from error
    return bytes(body)


def _require_storable(body: bytes, *ids: str) -> None:
    """The database can't store NUL or half of a surrogate pair, however often the event is sent.

    We don't store names, which may have such a half, so only the identifiers are checked for it.
    """
    # A literal backslash is escaped as two.
    if _NUL.search(body.replace(rb"\\", b"")):
        raise WebhookInvalid("its text has NUL in it")
    if not all(each.isascii() for each in ids):
        raise WebhookInvalid("its identifiers are none")


def _log_failure(what: str, error: Exception) -> None:
    if isinstance(error, AisaasError):
        log.warning("webhook: %s was not handled: %s", what, failure_code(error))
    else:
        log.error("webhook: %s was not handled", what, exc_info=error)


def routes() -> list[Route]:
    return [
        Route(SNAPSHOTS, snapshots, methods=["POST"]),
        Route(METERS, meters, methods=["POST"]),
    ]

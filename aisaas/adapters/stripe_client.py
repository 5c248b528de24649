"""The SDK's client, set up for every use here, and its errors as ours.

The SDK retries by itself after 409, 5xx and lost connections, with the same idempotency key.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import stripe
from pydantic import BaseModel, ValidationError
from stripe import HTTPXClient, ListObject, StripeClient, StripeObject

from aisaas.errors import PaymentsError, PaymentsRefused

CALL_SECONDS = 10.0
RETRIES = 2

CONFLICT = 409
SERVER_TROUBLE = 500
REFUSED = range(400, 500)
# A key that was revoked, or may not do this.
NOT_ALLOWED = (401, 403)

Shape = TypeVar("Shape", bound=BaseModel)


def connect(secret_key: str, api_base: str | None) -> tuple[StripeClient, HTTPXClient]:
    """A client for one event loop, and the connections it holds, to be closed by the caller."""
    http = HTTPXClient(timeout=CALL_SECONDS)
    hosts = ("api", "files", "connect", "meter_events")
    client = StripeClient(
        secret_key,
        http_client=http,
        max_network_retries=RETRIES,
        base_addresses=dict.fromkeys(hosts, api_base) if api_base else {},  # pyright: ignore[reportArgumentType]
    )
    return client, http


@asynccontextmanager
async def translated() -> AsyncGenerator[None]:
    """The vendor's errors as ours, within CALL_SECONDS."""
    try:
        async with timeout(CALL_SECONDS):
            yield
    except TimeoutError as error:
        raise PaymentsError("timeout") from error
    except ValidationError as error:
        # An answer that isn't Stripe's: a proxy's page, for example.
        raise PaymentsError("unreadable") from error
    except stripe.StripeError as error:
        raise _translate(error) from error


def _translate(error: stripe.StripeError) -> PaymentsError | PaymentsRefused:
    status, wait = error.http_status or 0, _retry_after(error.headers)
    if isinstance(error, stripe.APIConnectionError):
        never_sent = isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
        return PaymentsError("unreachable" if never_sent else "connection", undone=never_sent)
    if isinstance(error, stripe.RateLimitError):
        return PaymentsError("rate_limited", retry_after=wait, undone=True)
    if status in NOT_ALLOWED:
        # Our key was rejected, not the request: once the key is fixed, the same request works.
        return PaymentsError("not_allowed", undone=True)
    if status == CONFLICT:
        return PaymentsError("conflict", retry_after=wait)
    if status not in REFUSED:
        answered = status >= SERVER_TROUBLE
        kind = "server" if answered else "unreadable"
        return PaymentsError(kind, retry_after=wait, answered=answered)
    details: Any = error.error
    code = error.code or getattr(details, "code", None) or getattr(details, "type", None)
    return PaymentsRefused(str(code or status), error.user_message or "no reason given")


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds, where it is a number of them; a date would need a clock to trust."""
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    try:
        return max(float(lowered["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None


def read(found: StripeObject, shape: type[Shape]) -> Shape:
    """What came, if it has the shape. Inside `translated`, which knows what to make of the rest."""
    return shape.model_validate(found.to_dict(for_json=True))


def read_page(page: ListObject[Any], shape: type[Shape]) -> list[Shape]:
    return [read(each, shape) for each in _listed(page).data]


async def read_all(page: ListObject[Any], shape: type[Shape]) -> list[Shape]:
    """Of this page and those behind it."""
    return [read(each, shape) async for each in _listed(page).auto_paging_iter()]


def _listed(page: ListObject[Any]) -> ListObject[Any]:
    """Check that it is a list: the SDK makes an object of any response."""
    if not isinstance(page, ListObject):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PaymentsError("unreadable")
    return page

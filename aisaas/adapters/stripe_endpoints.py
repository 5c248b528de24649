"""Where a Stripe account delivers its events: the endpoints set up in the dashboard.

Version 1 of the API lists snapshot endpoints, version 2 thin ones, as event destinations. Read-only;
the signing secrets can't be read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from aisaas.adapters.stripe_client import connect, read, read_all, translated
from aisaas.settings import Settings

PAGE = 100


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`events` may hold `*`, for all."""

    url: str
    events: frozenset[str]
    thin: bool
    enabled: bool


class _Snapshot(BaseModel):
    url: str
    enabled_events: frozenset[str]
    status: str


class _Address(BaseModel):
    url: str | None = None


class _Destination(BaseModel):
    enabled_events: frozenset[str]
    event_payload: str
    status: str
    # None for an event bus.
    webhook_endpoint: _Address | None = None


async def endpoints(config: Settings) -> Sequence[Endpoint]:
    """All endpoints of the current key's account.

    Raises:
        PaymentsError, PaymentsRefused: Stripe didn't answer, or refused.
    """
    assert config.stripe_secret_key is not None
    client, http = connect(config.stripe_secret_key.get_secret_value(), config.stripe_api_base)
    try:
        async with translated():
            first = await client.v1.webhook_endpoints.list_async({"limit": PAGE})
            snapshots = await read_all(first, _Snapshot)
            # Lists of the second version are of another class.
            listed = await client.v2.core.event_destinations.list_async(
                {"limit": PAGE, "include": ["webhook_endpoint.url"]}
            )
            destinations = [read(each, _Destination) async for each in listed.auto_paging_iter()]
    finally:
        await http.close_async()
    found = [
        Endpoint(each.url, each.enabled_events, thin=False, enabled=each.status == "enabled")
        for each in snapshots
    ]
    return found + [
        Endpoint(
            each.webhook_endpoint.url,
            each.enabled_events,
            thin=True,
            enabled=each.status == "enabled",
        )
        for each in destinations
        if each.event_payload == "thin" and each.webhook_endpoint and each.webhook_endpoint.url
    ]

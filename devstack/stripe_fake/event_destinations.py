"""Endpoints of thin events as the second version of the API shows them: as event destinations.

They are the same objects as `webhook_endpoints` keeps; those of snapshots are listed there.
"""

import time

from stripe.params.v2.core._event_destination_create_params import EventDestinationCreateParams
from stripe.params.v2.core._event_destination_list_params import EventDestinationListParams

from devstack.stripe_fake.books import Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import Call, Operation, only
from devstack.stripe_fake.webhook_endpoints import KIND, new_endpoint

URL = "webhook_endpoint.url"


def create(call: Call) -> Object:
    params = only(call, "enabled_events", "event_payload", "name", "type", "webhook_endpoint")
    if params["type"] != "webhook_endpoint" or params["event_payload"] != "thin":
        raise PaymentsError("The Stripe fake makes destinations of thin events to URLs only.")
    endpoint: Object = new_endpoint(call, params["webhook_endpoint"]["url"], thin=True) | {
        "enabled_events": params["enabled_events"],
        "_name": params["name"],
    }
    call.books.add(endpoint)
    return _shown(endpoint, ())


def list_all(call: Call) -> Object:
    """All on one page: there are never many here."""
    params = only(call, "include", "limit")
    found = [endpoint for endpoint in call.books.all(KIND) if endpoint["_thin"]]
    return {
        "data": [_shown(endpoint, params.get("include") or ()) for endpoint in reversed(found)],
        "next_page_url": None,
    }


def _shown(endpoint: Object, include: tuple[str, ...] | list[str]) -> Object:
    """The address is included only on request."""
    created = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(endpoint["created"]))
    return {
        "id": endpoint["id"],
        "object": "v2.core.event_destination",
        "created": created,
        "updated": created,
        "description": endpoint["description"] or "",
        "enabled_events": endpoint["enabled_events"],
        "event_payload": "thin",
        "events_from": ["@self"],
        "livemode": False,
        "metadata": endpoint["metadata"],
        "name": endpoint.get("_name", endpoint["id"]),
        "snapshot_api_version": None,
        "status": endpoint["status"],
        "status_details": None,
        "type": "webhook_endpoint",
        "webhook_endpoint": {
            "url": endpoint["url"] if URL in include else None,
            "signing_secret": None,
        },
    }


OPERATIONS = (
    Operation("POST", "/v2/core/event_destinations", EventDestinationCreateParams, create),
    Operation("GET", "/v2/core/event_destinations", EventDestinationListParams, list_all),
)

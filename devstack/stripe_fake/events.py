"""Events that can be looked up, as they can be received."""

import json

from stripe.params._event_list_params import EventListParams
from stripe.params._event_retrieve_params import EventRetrieveParams
from stripe.params.v2.core._event_retrieve_params import EventRetrieveParams as ThinRetrieveParams

from devstack.stripe_fake.books import Books, Object, shown
from devstack.stripe_fake.operations import Call, Operation, only, page

SNAPSHOT, THIN = "event", "v2.core.event"


def retrieve(call: Call) -> Object:
    return _told(call.books, call.books.need(SNAPSHOT, call.path["id"]))


def retrieve_thin(call: Call) -> Object:
    return call.books.need(THIN, call.path["id"])


def list_all(call: Call) -> Object:
    params = only(call, "created", "type", "types", "limit", "starting_after", "ending_before")
    wanted = [params["type"]] if params.get("type") else params.get("types")
    found = [
        event
        for event in call.books.all(SNAPSHOT)
        if wanted is None or any(_matches(event["type"], pattern) for pattern in wanted)
    ]
    answer = page(call, found, "/v1/events")
    return answer | {"data": [_told(call.books, event) for event in answer["data"]]}


def payload(books: Books, event: Object) -> str:
    """What is delivered: a snapshot whole, a thin event without its data."""
    if event["object"] == SNAPSHOT:
        return json.dumps(shown(_told(books, event)), indent=2)
    return json.dumps({name: value for name, value in event.items() if name != "data"})


def _told(books: Books, event: Object) -> Object:
    (pending,) = books.database.execute(
        "select count(*) from deliveries where event = ? and not delivered", (event["id"],)
    ).fetchone()
    return event | {"pending_webhooks": pending}


def _matches(kind: str, pattern: str) -> bool:
    return kind == pattern or (pattern.endswith("*") and kind.startswith(pattern[:-1]))


OPERATIONS = (
    Operation("GET", "/v1/events", EventListParams, list_all),
    Operation("GET", "/v1/events/{id}", EventRetrieveParams, retrieve),
    Operation("GET", "/v2/core/events/{id}", ThinRetrieveParams, retrieve_thin),
)

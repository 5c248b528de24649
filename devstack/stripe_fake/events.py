"""Events that can be looked up, as they can be received."""

import json

from stripe.params._event_list_params import EventListParams
from stripe.params._event_retrieve_params import EventRetrieveParams
from stripe.params.v2.core._event_retrieve_params import EventRetrieveParams as ThinRetrieveParams

from devstack.stripe_fake.books import Books, Object, shown
from devstack.stripe_fake.operations import PAGING, Call, Operation, only, page, retrieving

SNAPSHOT, THIN = "event", "v2.core.event"


def retrieve(call: Call) -> Object:
    return _with_pending(call.books, call.books.need(SNAPSHOT, call.path["id"]))


def list_all(call: Call) -> Object:
    only(call, *PAGING)
    answer = page(call, call.books.all(SNAPSHOT), "/v1/events")
    return answer | {"data": [_with_pending(call.books, event) for event in answer["data"]]}


def payload(books: Books, event: Object) -> str:
    """The delivered body: a snapshot in full, a thin event without its data."""
    if event["object"] == SNAPSHOT:
        return json.dumps(shown(_with_pending(books, event)), indent=2)
    return json.dumps({name: value for name, value in event.items() if name != "data"})


def _with_pending(books: Books, event: Object) -> Object:
    (pending,) = books.database.execute(
        "select count(*) from deliveries where event = ? and not delivered", (event["id"],)
    ).fetchone()
    return event | {"pending_webhooks": pending}


OPERATIONS = (
    Operation("GET", "/v1/events", EventListParams, list_all),
    Operation("GET", "/v1/events/{id}", EventRetrieveParams, retrieve),
    retrieving("/v2/core/events/{id}", ThinRetrieveParams, THIN),
)

"""Test clocks: a separate time for a few customers and all their objects.

Invariant: a clock's objects act at its frozen time, and never become due by another clock;
`books.clocked` says which one applies. While a clock advances, its objects can't be changed.
"""

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

from stripe.params.test_helpers._test_clock_advance_params import TestClockAdvanceParams
from stripe.params.test_helpers._test_clock_create_params import TestClockCreateParams
from stripe.params.test_helpers._test_clock_delete_params import TestClockDeleteParams
from stripe.params.test_helpers._test_clock_list_params import TestClockListParams
from stripe.params.test_helpers._test_clock_retrieve_params import TestClockRetrieveParams

from devstack.stripe_fake import customers, standing
from devstack.stripe_fake import subscription_items as items_of
from devstack.stripe_fake.agenda import DUE, waiting
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.expand import kind_of
from devstack.stripe_fake.operations import Call, Operation, listing, only, retrieving
from devstack.stripe_fake.periods import DAY, boundary

KIND = "test_helpers.test_clock"
URL = "/v1/test_helpers/test_clocks"
LIVES_SECONDS = 30 * DAY
LONGEST_NAME = 300
MOST_INTERVALS = 2
YEARS_WITHOUT_SUBSCRIPTIONS = 2
# Parameters naming an object whose clock counts for the call.
NAMES = ("customer", "subscription", "from_subscription", "charge", "payment_intent", "invoice")


def create(call: Call) -> Object:
    params, books = only(call, "frozen_time", "name"), call.books
    if len(params.get("name", "")) > LONGEST_NAME:
        raise PaymentsError(
            f"Invalid string: must be at most {LONGEST_NAME} characters", param="name"
        )
    clock: Object = {
        "id": books.new_id("clock"),
        "object": KIND,
        "created": books.now(),
        "deletes_after": books.now() + LIVES_SECONDS,
        "frozen_time": params["frozen_time"],
        "livemode": False,
        "name": params.get("name"),
        "status": "ready",
        "status_details": {},
        DUE: None,
    }
    return books.add(clock, f"{KIND}.created")


def _found(call: Call) -> Object:
    return call.books.need(KIND, call.path["test_clock"], "test_clock")


def advance(call: Call) -> Object:
    """Begin; it is done when the status is `ready` again."""
    params, books, clock = only(call, "frozen_time"), call.books, _found(call)
    target: int = params["frozen_time"]
    if clock["status"] != "ready":
        raise _underway()
    if target <= clock["frozen_time"]:
        raise PaymentsError(
            "The frozen_time must be after the test clock's current frozen time.",
            param="frozen_time",
        )
    if target > _furthest(books, clock):
        raise PaymentsError(
            "You can't advance a test clock by more than two intervals of its shortest subscription.",
            param="frozen_time",
        )
    clock |= {
        "status": "advancing",
        "status_details": {"advancing": {"target_frozen_time": target}},
        DUE: books.now(),
    }
    books.emit(f"{KIND}.advancing", books.save(clock))
    return clock


def delete(call: Call) -> Object:
    """With its customers, whose subscriptions end."""
    only(call)
    books, clock = call.books, _found(call)
    for customer in books.all("customer", test_clock=clock["id"]):
        if not customer.get("deleted"):
            customers.erase(books, customer)
    books.remove(clock)
    books.emit(f"{KIND}.deleted", clock)
    return {"id": clock["id"], "object": KIND, "deleted": True}


def of_call(call: Call) -> Object | None:
    """The clock that applies to a call, by its parameters or path."""
    if given := call.params.get("test_clock"):
        return call.books.get(KIND, given)
    named = [call.params.get(name) for name in NAMES]
    for given in (*call.path.values(), *named):
        if isinstance(given, str) and (clock := _of(call.books, given)) is not None:
            return clock
    return None


@contextmanager
def at_its_time(call: Call, *, changes: bool) -> Generator[None]:
    """The block runs at the time of the clock that applies to the call."""
    clock, books = of_call(call), call.books
    if clock is None:
        yield
        return
    if changes and clock["status"] != "ready":
        raise _underway()
    with books.on_clock(clock["id"], clock["frozen_time"]):
        yield


def _of(books: Books, given: str) -> Object | None:
    kind = kind_of(given)
    found = books.get(kind, given) if kind else None
    if found is None:
        return None
    clock = found.get("test_clock")
    if clock is None and isinstance(found.get("customer"), str):
        customer = books.get("customer", found["customer"])
        clock = customer["test_clock"] if customer else None
    return books.get(KIND, clock) if clock else None


def _furthest(books: Books, clock: Object) -> int:
    frozen: int = clock["frozen_time"]
    rhythms = [
        items_of.rhythm(each["items"]["data"][0]["price"])
        for each in books.all(standing.KIND, test_clock=clock["id"])
        if each["status"] not in standing.FINAL
    ]
    if not rhythms:
        return boundary(frozen, YEARS_WITHOUT_SUBSCRIPTIONS, "year", 1)
    return min(boundary(frozen, MOST_INTERVALS, *rhythm) for rhythm in rhythms)


def _act(books: Books, clock: Object, _at: int) -> None:
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    with books.on_clock(clock["id"], clock["frozen_time"]):
        books.work_off(target)
    clock |= {"frozen_time": target, "status": "ready", "status_details": {}, DUE: None}
    books.emit(f"{KIND}.ready", books.save(clock))


def _underway() -> PaymentsError:
    return PaymentsError(
        "Test clock advancement underway - cannot perform modifications.",
        status=HTTPStatus.TOO_MANY_REQUESTS,
    )


WAITING = waiting(KIND, _act)

ONE = f"{URL}/{{test_clock}}"
OPERATIONS = (
    Operation("POST", URL, TestClockCreateParams, create),
    listing(URL, TestClockListParams, KIND),
    retrieving(ONE, TestClockRetrieveParams, KIND, "test_clock"),
    Operation("DELETE", ONE, TestClockDeleteParams, delete),
    Operation("POST", f"{ONE}/advance", TestClockAdvanceParams, advance),
)

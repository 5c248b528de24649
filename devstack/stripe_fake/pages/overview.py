"""The start page's data: customers with their subscriptions and usage, and the latest events."""

from devstack.stripe_fake import meters
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages import words
from devstack.stripe_fake.standing import RUNNING
from devstack.stripe_fake.subscription_items import metered

CUSTOMERS, INVOICES, EVENTS = 20, 5, 15


def next_renewal(books: Books) -> int | None:
    """When the first period of a subscription ends, whatever happens then."""
    ends = [
        item["current_period_end"]
        for subscription in books.all("subscription")
        if subscription["status"] in RUNNING
        for item in subscription["items"]["data"]
    ]
    return min(ends, default=None)


def customers(books: Books) -> tuple[list[Object], int]:
    """The newest ones, and how many more there are."""
    living = [each for each in reversed(books.all("customer")) if not each.get("deleted")]
    return [_customer(books, each) for each in living[:CUSTOMERS]], len(living) - CUSTOMERS


def _customer(books: Books, customer: Object) -> Object:
    found = {kind: books.all(kind, customer=customer["id"]) for kind in ("subscription", "invoice")}
    return customer | {
        "plans": [_plan(books, each) for each in reversed(found["subscription"])],
        "invoices": found["invoice"][::-1][:INVOICES],
    }


def _plan(books: Books, subscription: Object) -> Object:
    items: list[Object] = subscription["items"]["data"]
    return {
        "name": words.plan_name(books, subscription),
        "status": subscription["status"],
        "comes": words.what_comes(subscription),
        "used": [
            _usage(books, subscription["customer"], item)
            for item in items
            if metered(item["price"]) and subscription["status"] in RUNNING
        ],
    }


def _usage(books: Books, customer: str, item: Object) -> str:
    price = item["price"]
    start, end = item["current_period_start"], item["current_period_end"]
    used = meters.metered(books, customer, price["recurring"]["meter"], start, end)
    return f"{words.count(used, words.unit(books, price))} used since {words.day(start)}"


def events(books: Books) -> list[Object]:
    rows = books.database.execute(
        "select json_extract(o.body, '$.type'), json_extract(o.body, '$.created'), "
        "count(d.seq), total(d.delivered), total(d.attempts), max(d.last_status) "
        "from (select seq, kind, id, body from objects where kind in ('event', 'v2.core.event') "
        "order by seq desc limit ?) o left join deliveries d on d.event = o.id "
        "group by o.seq order by o.seq desc",
        (EVENTS,),
    ).fetchall()
    return [_event(*row) for row in rows]


def _event(
    kind: str, created: int | str, wanted: int, taken: float, attempts: float, status: int | None
) -> Object:
    tone, delivery = _delivered(wanted, int(taken), int(attempts), status)
    at = created if isinstance(created, str) else words.instant(created)
    return {"kind": kind, "at": at, "tone": tone, "delivery": delivery}


def _delivered(wanted: int, taken: int, attempts: int, status: int | None) -> tuple[str, str]:
    if not wanted:
        return "quiet", "no endpoint"
    if taken == wanted:
        tries = f", {words.count(attempts, 'attempt')}" if attempts > wanted else ""
        return "good", f"delivered{tries}"
    if not attempts:
        return "", "waiting"
    answered = f"last answer {status}" if status else "no answer"
    return "wrong", f"waiting, {words.count(attempts, 'attempt')}, {answered}"


def deliveries(books: Books) -> tuple[int, int]:
    """How many endpoints there are, and how much is on its way to them."""
    return books.database.execute(
        "select (select count(*) from objects where kind = 'webhook_endpoint'), "
        "(select count(*) from deliveries where not delivered)"
    ).fetchone()

"""What the start page tells of: customers with what they have and use, and the latest events."""

from collections.abc import Sequence

from devstack.stripe_fake import meters
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages import words
from devstack.stripe_fake.pages.frame import link
from devstack.stripe_fake.pages.html import Html, joined, tag
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


def customers(books: Books) -> Html:
    living = [each for each in reversed(books.all("customer")) if not each.get("deleted")]
    more = len(living) - CUSTOMERS
    return tag(
        "section",
        tag("h2", "Customers"),
        *(_customer(books, each) for each in living[:CUSTOMERS]),
        None if living else tag("p", "None yet: the first one comes with the first checkout."),
        tag("p", f"and {words.count(more, 'older one')}", class_="quiet") if more > 0 else None,
        class_="card",
        id="customers",
    )


def _customer(books: Books, customer: Object) -> Html:
    subscriptions = list(reversed(books.all("subscription", customer=customer["id"])))
    invoices = list(reversed(books.all("invoice", customer=customer["id"])))
    name, email = customer["name"], customer["email"]
    return tag(
        "article",
        tag("h3", name or email or customer["id"]),
        tag("p", email, class_="quiet") if name and email else None,
        *(_subscription(books, each) for each in subscriptions),
        None if subscriptions else tag("p", "No subscription.", class_="quiet"),
        _invoices(invoices[:INVOICES]) if invoices else None,
        class_="entry",
        id=customer["id"],
    )


def _subscription(books: Books, subscription: Object) -> Html:
    items: Sequence[Object] = subscription["items"]["data"]
    plan = words.plan_name(books, subscription)
    used = [
        _usage(books, subscription["customer"], item) for item in items if metered(item["price"])
    ]
    return joined(
        tag(
            "p",
            tag("strong", plan),
            " ",
            words.state(subscription["status"]),
            f" {words.what_comes(subscription)}",
        ),
        *(
            tag("p", sentence, class_="quiet")
            for sentence in used
            if subscription["status"] in RUNNING
        ),
    )


def _usage(books: Books, customer: str, item: Object) -> str:
    price = item["price"]
    start, end = item["current_period_start"], item["current_period_end"]
    used = meters.metered(books, customer, price["recurring"]["meter"], start, end)
    noun = words.unit(books, price)
    return f"{words.count(used, noun)} used since {words.day(start)}"


def _invoices(invoices: Sequence[Object]) -> Html:
    return tag(
        "ul",
        *(
            tag(
                "li",
                link(f"/invoice/{invoice['id']}", invoice.get("number") or "Draft"),
                f" of {words.day(invoice['created'])}: ",
                words.money(invoice["total"], invoice["currency"]),
                " ",
                words.state(invoice["status"]),
            )
            for invoice in invoices
        ),
        class_="plain",
    )


def events(books: Books) -> Html:
    rows = books.database.execute(
        "select json_extract(o.body, '$.type'), json_extract(o.body, '$.created'), "
        "count(d.seq), total(d.delivered), total(d.attempts), max(d.last_status) "
        "from (select seq, kind, id, body from objects where kind in ('event', 'v2.core.event') "
        "order by seq desc limit ?) o left join deliveries d on d.event = o.id "
        "group by o.seq order by o.seq desc",
        (EVENTS,),
    ).fetchall()
    return tag(
        "section",
        tag("h2", "Latest events"),
        None if rows else tag("p", "No invoices yet."),
        tag(
            "table",
            tag(
                "thead",
                tag("tr", tag("th", "Event", scope="col"), tag("th", "Delivery", scope="col")),
            ),
            tag("tbody", *(_event(*row) for row in rows)),
            class_="events",
        )
        if rows
        else None,
        class_="card",
        id="events",
    )


def _event(
    kind: str, created: int | str, wanted: int, taken: float, attempts: float, status: int | None
) -> Html:
    at = created if isinstance(created, str) else words.instant(created)
    return tag(
        "tr",
        tag("td", tag("code", kind), tag("div", at, class_="quiet")),
        tag("td", _delivered(wanted, int(taken), int(attempts), status)),
    )


def _delivered(wanted: int, taken: int, attempts: int, status: int | None) -> Html:
    if not wanted:
        return tag("span", "nobody asked for it", class_="quiet")
    tries = f", {words.count(attempts, 'attempt')}" if attempts > wanted else ""
    if taken == wanted:
        return tag("span", f"delivered{tries}", class_="good")
    if not attempts:
        return tag("span", "waiting")
    answered = f"last answer {status}" if status else "no answer"
    return tag("span", f"waiting, {words.count(attempts, 'attempt')}, {answered}", class_="wrong")


def waiting(books: Books) -> str:
    (number,) = books.database.execute(
        "select count(*) from deliveries where not delivered"
    ).fetchone()
    (endpoints,) = books.database.execute(
        "select count(*) from objects where kind = 'webhook_endpoint'"
    ).fetchone()
    return f"{words.count(endpoints, 'endpoint')}; {number:,} to be delivered."

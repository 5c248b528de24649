"""The start page: what there is, and what can be made to happen. Its sections are in `overview`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake.books import Books
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.faults import EVERY_OPERATION, Fault, Faults
from devstack.stripe_fake.pages import overview, words
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.html import Html, joined, tag
from devstack.stripe_fake.pages.routing import Fields, see, shown, submitted
from devstack.stripe_fake.periods import boundary
from devstack.stripe_fake.services import Services

HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
STEPS = {"hour": HOUR, "day": DAY, "week": WEEK}
# What can be made to go wrong with each call of the API, and what is then so.
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "rate_limit": (
        Fault(operation=EVERY_OPERATION, kind="rate_limit", times=None),
        "Rate limit",
        "every call is refused as one too many",
    ),
    "lost_answer": (
        Fault(operation=EVERY_OPERATION, kind="lost_answer", times=None),
        "Lost answers",
        "calls are done, but no answer arrives",
    ),
    "down": (
        Fault(operation=EVERY_OPERATION, kind="timeout", times=None, seconds=0.0),
        "Down",
        "nothing is done, and connections end without an answer",
    ),
}
DELIVERY: dict[str, tuple[str, str]] = {
    "paused": ("Hold back", "events wait until this is off again"),
    "shuffle": ("Shuffle", "events arrive in any order, several at once"),
    "duplicate": ("Duplicate", "each event arrives twice"),
}


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    async def show(_request: Request) -> Response:
        return page(
            "Payments on this machine",
            tag(
                "p",
                "Checkout, the billing portal, invoices and webhooks behave as at Stripe, as far as "
                "this product uses them. Time can be moved, and things can be made to go wrong.",
            ),
            tag(
                "div",
                tag("div", _clock(books), _faults(services.faults), _delivery(services)),
                tag("div", overview.customers(books), overview.events(books)),
                class_="columns",
            ),
            width="wide",
        )

    async def move_time(_request: Request, fields: Fields) -> Response:
        await books.advance(_seconds_ahead(books, fields.get("forward", "")))
        return see("/#time")

    async def turn_fault(_request: Request, fields: Fields) -> Response:
        kind, on = _turned(fields, FAULTS)
        fault = FAULTS[kind][0]
        services.faults.active[:] = [each for each in services.faults.active if each != fault]
        if on:
            services.faults.active.append(fault)
        return see("/#faults")

    async def end_faults(_request: Request, _fields: Fields) -> Response:
        services.faults.active.clear()
        return see("/#faults")

    async def turn_delivery(_request: Request, fields: Fields) -> Response:
        name, on = _turned(fields, DELIVERY)
        setattr(services.deliverer.unreliability, name, float(on) if name == "duplicate" else on)
        services.deliverer.wake()
        return see("/#webhooks")

    return [
        shown("/", show),
        submitted("/start/time", move_time),
        submitted("/start/faults", turn_fault),
        submitted("/start/faults/end", end_faults),
        submitted("/start/webhooks", turn_delivery),
    ]


def _seconds_ahead(books: Books, wanted: str) -> int:
    now = books.now()
    if wanted in STEPS:
        return STEPS[wanted]
    if wanted == "month":
        return boundary(now, 1, "month", 1) - now
    if wanted == "renewal" and (at := overview.next_renewal(books)) is not None:
        # What is overdue is done by moving time not at all.
        return max(0, at - now)
    raise PaymentsError("There is nothing there to move the time to.")


def _turned(
    fields: Fields, known: dict[str, tuple[Fault, str, str]] | dict[str, tuple[str, str]]
) -> tuple[str, bool]:
    for word, on in (("on", True), ("off", False)):
        if fields.get(word) in known:
            return fields[word], on
    raise PaymentsError("There is no such switch.")


def _clock(books: Books) -> Html:
    ahead, renewal = books.clock.ahead, overview.next_renewal(books)
    buttons = [("hour", "+1 hour"), ("day", "+1 day"), ("week", "+1 week"), ("month", "+1 month")]
    if renewal is not None:
        buttons.append(("renewal", "To the next renewal"))
    upcoming = f" The next renewal or end is on {words.instant(renewal)}." if renewal else ""
    return tag(
        "section",
        tag("h2", "Time"),
        tag("p", words.instant(books.now()), class_="big"),
        tag(
            "p",
            f"{words.duration(ahead)} ahead of this machine." if ahead else "As on this machine.",
            upcoming,
            " It only goes forward, and what falls due in between is done.",
            class_="quiet",
        ),
        tag(
            "form",
            *(tag("button", text, name="forward", value=value) for value, text in buttons),
            method="post",
            action="/start/time",
            class_="row",
        ),
        class_="card",
        id="time",
    )


def _faults(faults: Faults) -> Html:
    switches = [
        _switch("/start/faults", kind, name, meaning, on=fault in faults.active)
        for kind, (fault, name, meaning) in FAULTS.items()
    ]
    ours = [fault for fault, _, _ in FAULTS.values()]
    others = [_fault_in_words(fault) for fault in faults.active if fault not in ours]
    return tag(
        "section",
        tag("h2", "What goes wrong"),
        tag("p", "Between the product and its calls to this server.", class_="quiet"),
        *switches,
        _others(others) if others else None,
        class_="card",
        id="faults",
    )


def _others(sentences: list[str]) -> Html:
    return joined(
        tag("h3", "Besides, as a program asked for"),
        tag("ul", *(tag("li", sentence) for sentence in sentences)),
        tag(
            "form",
            tag("button", "End everything that goes wrong"),
            method="post",
            action="/start/faults/end",
        ),
    )


def _fault_in_words(fault: Fault) -> str:
    where = "every call" if fault.operation == EVERY_OPERATION else fault.operation
    times = (
        "until it is ended" if fault.times is None else f"{words.count(fault.times, 'more time')}"
    )
    return f"{fault.kind.replace('_', ' ')} at {where}, {times}"


def _delivery(services: Services) -> Html:
    now = services.deliverer.unreliability
    state = {"paused": now.paused, "shuffle": now.shuffle, "duplicate": now.duplicate > 0}
    return tag(
        "section",
        tag("h2", "How webhooks arrive"),
        tag("p", overview.waiting(services.books), class_="quiet"),
        *(
            _switch("/start/webhooks", name, title, meaning, on=state[name])
            for name, (title, meaning) in DELIVERY.items()
        ),
        class_="card",
        id="webhooks",
    )


def _switch(action: str, name: str, title: str, meaning: str, *, on: bool) -> Html:
    verb = "off" if on else "on"
    return tag(
        "form",
        tag(
            "p",
            tag("strong", title),
            tag("span", " is on: " if on else ": ", class_="wrong" if on else None),
            meaning,
        ),
        tag(
            "button",
            "Turn ",
            verb,
            tag("span", f" {title}", class_="unseen"),
            name=verb,
            value=name,
        ),
        method="post",
        action=action,
        class_="switch",
    )

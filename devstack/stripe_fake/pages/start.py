"""The start page: its contents (see `overview`), and actions to trigger."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake.books import Books
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.faults import EVERY_OPERATION, Fault
from devstack.stripe_fake.pages import overview, words
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.routing import Fields, see, shown, submitted
from devstack.stripe_fake.periods import boundary
from devstack.stripe_fake.services import Services

HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
STEPS = {"hour": HOUR, "day": DAY, "week": WEEK}
# The faults to trigger for each API call, and their effects.
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
        newest, older = overview.customers(books)
        endpoints, waiting = overview.deliveries(books)
        now, ours = services.deliverer.unreliability, [fault for fault, _, _ in FAULTS.values()]
        active = services.faults.active
        return page(
            "start",
            now=books.now(),
            ahead=books.clock.ahead,
            renewal=overview.next_renewal(books),
            faults={name: words_of for name, (_, *words_of) in FAULTS.items()},
            faults_on=[name for name, (fault, *_) in FAULTS.items() if fault in active],
            other_faults=[_fault_in_words(each) for each in active if each not in ours],
            delivery=DELIVERY,
            delivery_on=[name for name in DELIVERY if getattr(now, name)],
            endpoints=endpoints,
            waiting=waiting,
            customers=newest,
            older=older,
            events=overview.events(books),
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
        # Overdue work runs by advancing zero seconds.
        return max(0, at - now)
    raise PaymentsError("There is nothing there to move the time to.")


def _turned(
    fields: Fields, known: dict[str, tuple[Fault, str, str]] | dict[str, tuple[str, str]]
) -> tuple[str, bool]:
    for word, on in (("on", True), ("off", False)):
        if fields.get(word) in known:
            return fields[word], on
    raise PaymentsError("There is no such switch.")


def _fault_in_words(fault: Fault) -> str:
    where = "every call" if fault.operation == EVERY_OPERATION else fault.operation
    times = (
        "until it is ended" if fault.times is None else f"{words.count(fault.times, 'more time')}"
    )
    return f"{fault.kind.replace('_', ' ')} at {where}, {times}"

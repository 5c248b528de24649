"""The parts of the page of money's health."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.money.days import Days
from aisaas.ui.admin.money.outbox import OutboxRows
from aisaas.ui.admin.money.state import Money
from aisaas.ui.admin.money.view import (
    WHICH_DAYS,
    WHICH_EVENTS,
    WHICH_ROWS,
    DayView,
    EventView,
    StuckView,
)
from aisaas.ui.admin.money.webhooks import WebhookRows

ROWS = (
    Column("User", "wrap"),
    Column("Used", "wide"),
    Column("Tokens", "number wide"),
    Column("State", "wide"),
    Column("Error", "wrap"),
    Column("Actions", "actions"),
)
EVENTS = (
    Column("Event", "wrap"),
    Column("When", "wide"),
    Column("Status", "wide"),
    Column("Error", "wrap"),
    Column("About", "wrap"),
    Column("Actions", "actions"),
)
DAYS = (
    Column("User", "wrap"),
    Column("Day", "wide"),
    Column("Ours", "number"),
    Column("Stripe's", "number"),
    Column("Drift", "number wide"),
    Column("Compared", "wide"),
    Column("Actions", "actions"),
)
RESEND = (
    "It goes out with the next batch. What is parked is compared with Stripe's sum first: what that has "
    "is marked as sent instead."
)


def unsold() -> rx.Component:
    return rx.cond(
        Money.sold,
        rx.fragment(),
        rx.el.p(
            "Stripe isn't set up, so nothing is sold and no usage is reported. What is below was "
            "recorded while it was.",
            class_name="note note-quiet area-part",
        ),
    )


def outbox() -> rx.Component:
    found = OutboxRows.shown
    return rx.fragment(
        rx.el.section(
            rx.el.h2("Usage on its way to Stripe"),
            shared.tiles(found.tiles, "Usage on its way"),
            class_name="area-part",
        ),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Rows of usage"),
                rx.cond(
                    (found.sending > 1) & Money.sold,
                    shared.ask_first(
                        "Resend all in view",
                        title="Send these rows again",
                        explanation=RESEND,
                        confirm="Resend",
                        subject=found.sendable,
                        on_confirm=OutboxRows.resend,
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box(
                "How a customer, an address or an identifier begins", OutboxRows.find
            ),
            shared.choice(WHICH_ROWS, found.which, OutboxRows.choose, "Which rows"),
            rx.cond(
                found.rows,
                shared.table(ROWS, rx.foreach(found.rows, _stuck), "Rows of usage"),
                rx.el.p("There is none.", class_name="quiet"),
            ),
            shared.turns(
                found.page, found.older, OutboxRows.newer, OutboxRows.older, "Pages of usage"
            ),
            class_name="card card-wide",
        ),
    )


def _stuck(row: StuckView) -> rx.Component:
    return shared.row(
        ROWS,
        rx.fragment(
            rx.cond(
                row.href,
                rx.el.a(row.who, href=row.href),
                rx.el.span(row.who, class_name="gone"),
            ),
            rx.el.span(row.customer, class_name="under quiet"),
        ),
        layout.when(row.at, "minute"),
        row.tokens,
        shared.badge(row.state, row.tone),
        rx.fragment(row.error, rx.el.span(row.tries, class_name="under quiet")),
        rx.el.div(
            rx.cond(
                row.resend & Money.sold,
                shared.ask_first(
                    "Resend",
                    title="Send it again",
                    explanation=RESEND,
                    confirm="Resend",
                    subject=row.id,
                    on_confirm=OutboxRows.resend,
                ),
            ),
            rx.cond(
                row.resolve,
                shared.ask_first(
                    "Resolve",
                    title=f"Resolve {row.tokens} tokens of {row.who}",
                    explanation="It is final: the row is never sent again.",
                    confirm="Resolve",
                    fields=row.fields,
                    subject=row.id,
                    on_confirm=OutboxRows.resolve,
                    danger=True,
                ),
            ),
            class_name="row-of-buttons",
        ),
        key=row.id,
    )


def webhooks() -> rx.Component:
    found = WebhookRows.shown
    return rx.fragment(
        rx.el.section(
            rx.el.h2("Events from Stripe"),
            shared.tiles(found.tiles, "Events from Stripe"),
            class_name="area-part",
        ),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Webhook events"),
                rx.cond(
                    Money.sold,
                    shared.ask_first(
                        "Fetch an event",
                        title="Fetch an event that never came",
                        explanation="Stripe shows events for 30 days. It is handled once, as if it "
                        "had come by itself.",
                        confirm="Fetch it",
                        fields=[{"name": "event", "label": "The event's id", "required": True}],
                        on_confirm=WebhookRows.replay,
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("How an event, a type or a customer begins", WebhookRows.find),
            shared.choice(WHICH_EVENTS, found.which, WebhookRows.choose, "Which events"),
            rx.cond(
                found.rows,
                shared.table(EVENTS, rx.foreach(found.rows, _event), "Webhook events"),
                rx.el.p("There is none.", class_name="quiet"),
            ),
            shared.turns(
                found.page, found.older, WebhookRows.newer, WebhookRows.older, "Pages of events"
            ),
            class_name="card card-wide",
        ),
    )


def _event(event: EventView) -> rx.Component:
    return shared.row(
        EVENTS,
        rx.fragment(rx.el.code(event.type), rx.el.span(event.id, class_name="under quiet")),
        layout.when(event.at, "minute"),
        shared.badge(event.status, event.tone),
        event.error,
        rx.foreach(event.about, _line),
        rx.cond(
            event.failed & Money.sold,
            shared.ask_first(
                "Replay",
                title=f"Handle {event.type} anew",
                explanation="It is fetched from Stripe and handled once, whoever else delivers it.",
                confirm="Replay",
                subject=event.id,
                on_confirm=WebhookRows.replay,
            ),
        ),
        key=event.id,
    )


def days() -> rx.Component:
    found = Days.shown
    return rx.fragment(
        rx.el.section(
            rx.el.h2("Our ledger and Stripe's meter"),
            shared.tiles(found.tiles, "Ledger and meter"),
            class_name="area-part",
        ),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Customers' days"),
                rx.cond(
                    Money.sold & (found.day != ""),
                    rx.el.button(
                        rx.cond(Days.comparing, "Comparing…", f"Compare everybody on {found.day}"),
                        type="button",
                        class_name="button button-small",
                        on_click=Days.compare_day,
                        custom_attrs={"aria-disabled": Days.comparing},
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("How a customer or an address begins", Days.find),
            rx.el.div(
                shared.choice(WHICH_DAYS, found.which, Days.choose, "Which days"),
                rx.el.form(
                    rx.el.label(
                        "Up to",
                        rx.el.input(
                            name="day", type="date", default_value=found.day, key=found.day
                        ),
                    ),
                    rx.el.button("Show", type="submit", class_name="button button-small"),
                    on_submit=Days.choose_day,
                    class_name="days-form",
                    aria_label="The newest day to show",
                ),
                class_name="filters",
            ),
            rx.cond(
                found.rows,
                shared.table(DAYS, rx.foreach(found.rows, _day), "Customers' days"),
                rx.el.p("There is none.", class_name="quiet"),
            ),
            shared.turns(found.page, found.older, Days.newer, Days.older, "Pages of days"),
            rx.el.p(
                "Days are UTC's, and compared by themselves an hour after their end. Drift is what "
                "Stripe has too much (+) or lacks (−), without what was settled.",
                class_name="quiet",
            ),
            class_name="card card-wide",
        ),
    )


def _day(day: DayView) -> rx.Component:
    return shared.row(
        DAYS,
        rx.fragment(day.who, rx.el.span(day.customer, class_name="under quiet")),
        day.day,
        day.ours,
        day.theirs,
        rx.fragment(
            shared.badge(day.drift, day.tone),
            rx.foreach(day.hints, _line),
        ),
        layout.when(day.checked_at, "minute"),
        rx.cond(Money.sold, _actions(day)),
        key=day.id,
    )


def _actions(day: DayView) -> rx.Component:
    return rx.el.div(
        rx.el.button(
            "Compare",
            type="button",
            class_name="button button-small",
            on_click=Days.compare(day.id),
        ),
        rx.cond(
            day.open,
            rx.fragment(
                shared.ask_first(
                    "Correct",
                    title=f"Correct {day.drift} tokens of {day.who}",
                    explanation="It is compared anew. What Stripe lacks is sent; what it has too "
                    "much is taken back, if that came within the last day.",
                    confirm="Correct",
                    subject=day.id,
                    on_confirm=Days.correct,
                ),
                shared.ask_first(
                    "Settle",
                    title=f"Mark {day.drift} tokens of {day.who} as settled",
                    explanation="For what was put right elsewhere, like by a credit note. Nothing is "
                    "sent to Stripe.",
                    confirm="Mark as settled",
                    subject=day.id,
                    on_confirm=Days.settle,
                ),
            ),
        ),
        class_name="row-of-buttons",
    )


def _line(line: rx.Var[str]) -> rx.Component:
    return rx.el.div(line)

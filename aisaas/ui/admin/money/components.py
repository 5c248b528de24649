"""The parts of the admin page about billing."""

# pyright: reportUnknownMemberType=false

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
    Column("Quota tokens", "number wide"),
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
    "The records go out with the next batch. Parked records are first compared with Stripe's total; those "
    "that Stripe already has are marked as sent."
)


def stripe_not_configured() -> rx.Component:
    return rx.cond(
        Money.sold,
        rx.fragment(),
        rx.el.p(
            "Stripe isn't set up, so no usage is reported. The records below are from when it was.",
            class_name="note note-quiet area-part",
        ),
    )


def outbox() -> rx.Component:
    found = OutboxRows.shown
    return rx.fragment(
        rx.el.section(
            rx.el.h2("Usage reported to Stripe"),
            shared.tiles(found.tiles, "Usage reported to Stripe"),
            class_name="area-part",
        ),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Usage records"),
                rx.cond(
                    (found.sending > 1) & Money.sold,
                    shared.ask_first(
                        "Resend all on this page",
                        title="Resend these records",
                        explanation=RESEND,
                        confirm="Resend",
                        subject=found.sendable,
                        on_confirm=OutboxRows.resend,
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("Search by customer ID, email, or record ID", OutboxRows.find),
            shared.choice(WHICH_ROWS, found.which, OutboxRows.choose, "Filter records"),
            shared.table(ROWS, found.rows, _stuck, "Usage records", empty="No matching records."),
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
                    title="Resend this record",
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
                    title=f"Resolve {row.tokens}{row.unit} of {row.who}",
                    explanation="This can't be undone. The record won't be sent again.",
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
                        title="Fetch a missing event",
                        explanation="Events are available from Stripe for 30 days. The event is handled "
                        "once, as if it had been delivered.",
                        confirm="Fetch event",
                        fields=[{"name": "event", "label": "Event ID", "required": True}],
                        on_confirm=WebhookRows.replay,
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("Search by event ID, type, or customer ID", WebhookRows.find),
            shared.choice(WHICH_EVENTS, found.which, WebhookRows.choose, "Filter events"),
            shared.table(EVENTS, found.rows, _event, "Webhook events", empty="No matching events."),
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
        shared.lines(event.about),
        rx.cond(
            event.failed & Money.sold,
            shared.ask_first(
                "Replay",
                title=f"Replay {event.type}",
                explanation="The event is fetched from Stripe and handled once, even if it's also delivered again.",
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
                rx.el.h2("Usage by customer and day"),
                rx.cond(
                    Money.sold & (found.day != ""),
                    rx.el.button(
                        rx.cond(
                            Days.comparing, "Comparing…", f"Compare all customers on {found.day}"
                        ),
                        type="button",
                        class_name="button button-small",
                        on_click=Days.compare_day,
                        custom_attrs={"aria-disabled": Days.comparing},
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("Search by customer ID or email", Days.find),
            rx.el.div(
                shared.choice(WHICH_DAYS, found.which, Days.choose, "Filter days"),
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
                    aria_label="Latest day to show",
                ),
                class_name="filters",
            ),
            shared.table(
                DAYS, found.rows, _day, "Usage by customer and day", empty="No matching days."
            ),
            shared.turns(found.page, found.older, Days.newer, Days.older, "Pages of days"),
            rx.el.p(
                "Days are in UTC and are compared automatically an hour after they end. Drift is what "
                "Stripe has in excess (+) or is missing (−), not counting what is settled.",
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
            shared.lines(day.hints),
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
                    title=f"Correct {day.drift}{day.unit} of {day.who}",
                    explanation="The day is compared again. Missing usage is sent to Stripe. Excess "
                    "usage is canceled if it was sent within the last day.",
                    confirm="Correct",
                    subject=day.id,
                    on_confirm=Days.correct,
                ),
                shared.ask_first(
                    "Settle",
                    title=f"Mark {day.drift}{day.unit} of {day.who} as settled",
                    explanation="Use this if you corrected it elsewhere, for example with a credit note. "
                    "Nothing is sent to Stripe.",
                    confirm="Mark as settled",
                    subject=day.id,
                    on_confirm=Days.settle,
                ),
            ),
        ),
        class_name="row-of-buttons",
    )

"""Money's health, as the page shows it. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from aisaas import formats
from aisaas.admin.outbox import TROUBLE, Resent
from aisaas.admin.reconciliation import Corrected
from aisaas.admin.webhooks import FAILED
from aisaas.billing.metering.outbox_reports import OutboxEntry, OutboxHealth, OutboxState
from aisaas.billing.metering.reconciliation_reports import DayEntry, DriftHealth
from aisaas.billing.ports import TOKEN_METER
from aisaas.billing.subscriptions.event_reports import WebhookEntry, WebhookHealth
from aisaas.db.paging import Page
from aisaas.ui import routes
from aisaas.ui.admin.view import TileView

# Keys and names of what each table can be narrowed to.
WHICH_ROWS = (
    ("stuck", "Stuck"),
    ("dead", "Rejected"),
    ("parked", "Parked"),
    ("pending", "Waiting"),
    ("waived", "Waived"),
)
WHICH_EVENTS = (("failed", "Failed"), ("all", "All"))
WHICH_DAYS = (("differing", "Differing"), ("all", "All"))
STATES_SHOWN: dict[str, Sequence[OutboxState]] = {
    "stuck": TROUBLE,
    "dead": ("dead",),
    "parked": ("parked",),
    "pending": ("pending",),
    "waived": ("waived",),
}
# A row's state: its label and tone.
STATES: dict[OutboxState, tuple[str, str]] = {
    "pending": ("Waiting", ""),
    "sent": ("Sent", "good"),
    "dead": ("Rejected", "bad"),
    "parked": ("Parked", "near"),
    "waived": ("Waived", ""),
}
EVENTS = {
    FAILED: ("Failed", "bad"),
    "done": ("Done", "good"),
    "ignored": ("Ignored", ""),
    "stale": ("Outdated", ""),
    "unknown_customer": ("Unknown customer", "near"),
    "unknown_price": ("Unknown price", "near"),
}
WAIVED = {"value": "waived", "label": "Never bill it"}
COUNTED = {"value": "counted", "label": "Stripe already counted it"}
MINUTE, HOUR, DAY = 60, 3600, 86_400
UNIT = " quota tokens"


@dataclasses.dataclass(frozen=True)
class StuckView:
    """A row of the outbox; `at` is ISO 8601, `href` empty when the account is gone."""

    id: str = ""
    at: str = ""
    who: str = ""
    href: str = ""
    customer: str = ""
    tokens: str = ""
    unit: str = ""
    state: str = ""
    tone: str = ""
    error: str = ""
    tries: str = ""
    resend: bool = False
    resolve: bool = False
    fields: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])


@dataclasses.dataclass(frozen=True)
class OutboxView:
    """`sendable` are the ids of the rows in view that can be sent again, with spaces between them,
    `sending` how many."""

    which: str = "stuck"
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    rows: list[StuckView] = dataclasses.field(default_factory=list[StuckView])
    sendable: str = ""
    sending: int = 0
    page: int = 1
    older: bool = False


@dataclasses.dataclass(frozen=True)
class EventView:
    id: str = ""
    at: str = ""
    type: str = ""
    status: str = ""
    tone: str = ""
    error: str = ""
    about: list[str] = dataclasses.field(default_factory=list[str])
    failed: bool = False


@dataclasses.dataclass(frozen=True)
class EventsView:
    which: str = "failed"
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    rows: list[EventView] = dataclasses.field(default_factory=list[EventView])
    page: int = 1
    older: bool = False


@dataclasses.dataclass(frozen=True)
class DayView:
    """`id` is the customer and the day; `checked_at` ISO 8601; `open` while something differs."""

    id: str = ""
    day: str = ""
    who: str = ""
    customer: str = ""
    ours: str = ""
    theirs: str = ""
    drift: str = ""
    unit: str = ""
    tone: str = ""
    hints: list[str] = dataclasses.field(default_factory=list[str])
    checked_at: str = ""
    open: bool = False


@dataclasses.dataclass(frozen=True)
class DaysView:
    """`day` is the newest that is shown, as the browser's field has it; empty for all."""

    which: str = "differing"
    day: str = ""
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    rows: list[DayView] = dataclasses.field(default_factory=list[DayView])
    page: int = 1
    older: bool = False


# Usage on its way ---------------------------------------------------------------------------------


def outbox_view(
    found: Page[OutboxEntry, datetime, UUID], health: OutboxHealth, which: str, number: int
) -> OutboxView:
    rows = [_stuck(entry) for entry in found.found]
    again = [row.id for row in rows if row.resend]
    return OutboxView(
        which, _outbox_tiles(health), rows, " ".join(again), len(again), number, found.older
    )


def _outbox_tiles(health: OutboxHealth) -> list[TileView]:
    oldest, rest = health.oldest_seconds, health.rest_seconds
    return [
        TileView(
            "Waiting",
            f"{health.pending:,}",
            "" if oldest is None else f"oldest: {lasting(oldest)}",
            f"Sending is paused for {lasting(rest)}" if rest else "",
        ),
        TileView("Sent", f"{health.sent_lately:,}", "in the last 24 hours"),
        TileView("Parked", f"{health.parked:,}", "Stripe may have these"),
        TileView("Rejected", f"{health.dead:,}", "Stripe doesn't have these"),
        TileView("Waived", f"{health.waived:,}", "never billed"),
    ]


def _stuck(entry: OutboxEntry) -> StuckView:
    state, tone = STATES[entry.state]
    errors = [entry.last_error or ""]
    if entry.final and entry.state in TROUBLE:
        errors.append("can no longer be sent")
    return StuckView(
        id=str(entry.id),
        at=entry.event_at.isoformat(),
        who=entry.email or "Deleted account",
        href=routes.admin_user(entry.user_id) if entry.email else "",
        customer=entry.customer,
        tokens=f"{entry.tokens:,}" if entry.micro_usd is None else _micro_usd(entry.micro_usd),
        unit=UNIT if entry.micro_usd is None else "",
        state="Correction, " + state.lower() if entry.correction else state,
        tone=tone,
        error=", ".join(filter(None, errors)) or "–",
        tries=times(entry.attempts, "try", "tries"),
        # A parked row is compared first, which may resolve it however old it is.
        resend=entry.state == "parked" or (entry.state == "dead" and not entry.final),
        resolve=entry.state in TROUBLE,
        fields=[
            {
                "name": "resolution",
                "label": "Resolution",
                "type": "select",
                "value": "waived",
                "options": [WAIVED, COUNTED] if entry.state == "parked" else [WAIVED],
            }
        ],
    )


def resent(done: Resent) -> str:
    out = times(done.resent, "record", "records") + " will be sent again."
    had = times(done.counted, "record", "records")
    return f"{out} Stripe already had {had}." if done.counted else out


# What came from the provider ----------------------------------------------------------------------


def events_view(
    found: Page[WebhookEntry, datetime, str], health: WebhookHealth, which: str, number: int
) -> EventsView:
    oldest = health.oldest_seconds
    tiles = [
        TileView(
            "Failed",
            f"{health.failed:,}",
            "" if oldest is None else f"oldest: {lasting(oldest)} ago",
        ),
        TileView("Handled", f"{health.handled_lately:,}", "in the last 24 hours"),
        TileView("Ignored", f"{health.unknown_lately:,}", "unknown customer, or outdated"),
    ]
    return EventsView(which, tiles, [_event(entry) for entry in found.found], number, found.older)


def _event(entry: WebhookEntry) -> EventView:
    status, tone = event_status(entry.status)
    failures = times(entry.failures, "failed attempt", "failed attempts") if entry.failures else ""
    return EventView(
        id=entry.id,
        at=entry.at.isoformat(),
        type=entry.type,
        status=status,
        tone=tone,
        error=", ".join(filter(None, (entry.error, failures))) or "–",
        about=[each for each in (entry.customer, entry.subscription, entry.note) if each],
        failed=entry.status == FAILED,
    )


def event_status(outcome: str) -> tuple[str, str]:
    return EVENTS.get(outcome, (outcome, ""))


# Ledger and meter ---------------------------------------------------------------------------------


def days_view(
    found: Page[DayEntry, date, str], health: DriftHealth, which: str, day: date | None, number: int
) -> DaysView:
    tiles = [
        TileView("Days with drift", f"{health.days:,}", "counted per customer"),
        TileView("Missing at Stripe", *_both(health.missing, health.missing_micro_usd)),
        TileView("Excess at Stripe", *_both(health.surplus, health.surplus_micro_usd)),
        TileView("Waiting for comparison", f"{health.due:,}", "days, within the hour"),
    ]
    rows = [_day(entry) for entry in found.found]
    return DaysView(which, day.isoformat() if day else "", tiles, rows, number, found.older)


def _day(entry: DayEntry) -> DayView:
    left = entry.drift - entry.settled
    hints: list[str] = []
    if entry.pending:
        hints.append(f"{amount(entry.pending, entry.meter_name)} waiting")
    if entry.settled:
        hints.append(f"{signed(entry.settled, entry.meter_name)} settled")
    if entry.corrected_at:
        hints.append("corrected")
    return DayView(
        id=f"{entry.customer} {entry.day.isoformat()}",
        day=formats.day(entry.day),
        who=entry.email or "Deleted account",
        customer=entry.customer,
        ours=amount(entry.ledger, entry.meter_name),
        theirs=amount(entry.meter, entry.meter_name),
        drift=signed(left, entry.meter_name),
        unit=_unit(entry.meter_name),
        tone="bad" if left else "good",
        hints=hints,
        checked_at=entry.checked_at.isoformat() if entry.checked_at else "",
        open=left != 0,
    )


def corrected(done: Corrected) -> str:
    """What was done, and what remains to be done by hand."""
    usage = f"{amount(abs(done.drift), done.meter)}{_unit(done.meter)} of usage"
    match done.remedy:
        case "sent":
            said = f"{usage} will be sent to Stripe. Compare the day again in an hour."
        case "cancelled":
            said = f"{usage} was canceled at Stripe. Compare the day again in an hour."
        case "to_credit":
            said = (
                f"Stripe can no longer cancel usage of that day. Credit {usage} in Stripe, then mark the "
                "day as settled."
            )
    late = " The billing period has ended, so invoice or credit it by hand."
    return said + late if done.late else said


def compared(drift: int, meter: str = TOKEN_METER, *, moving: bool) -> str:
    if moving:
        return "Some usage of that day is waiting or parked. Compare it again in an hour."
    if not drift:
        return "Ledger and Stripe agree."
    return f"Stripe differs by {signed(drift, meter)}{_unit(meter)}."


def amount(value: int, meter: str) -> str:
    """What a meter counts: tokens, or dollars."""
    return f"{value:,}" if meter == TOKEN_METER else _micro_usd(value)


def signed(value: int, meter: str = TOKEN_METER) -> str:
    if value == 0:
        return "0"
    return f"{'+' if value > 0 else '−'}{amount(abs(value), meter)}"


def _unit(meter: str) -> str:
    return UNIT if meter == TOKEN_METER else ""


def _micro_usd(value: int) -> str:
    return formats.exact_usd(Decimal(value) / 1_000_000)


def _both(tokens: int, micro_usd: int) -> tuple[str, str]:
    """A figure and the text below it: dollars, and tokens of subscriptions from before."""
    return _micro_usd(micro_usd), f"and {tokens:,} quota tokens" if tokens else ""


def times(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def lasting(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    if seconds < MINUTE:
        return "less than a minute"
    if seconds < HOUR:
        return times(int(seconds // MINUTE), "minute", "minutes")
    if seconds < 2 * DAY:
        return times(int(seconds // HOUR), "hour", "hours")
    return times(int(seconds // DAY), "day", "days")

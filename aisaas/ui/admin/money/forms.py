"""What a browser asks the page for, checked. Any client can send anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from uuid import UUID

from aisaas.admin.outbox import Resolution
from aisaas.errors import ActionInvalid
from aisaas.ui import payloads

# What ids of the provider are made of; whether there is such a thing, the domain knows.
_EVENT = re.compile(r"evt_[\w-]{1,200}", re.ASCII)
_CUSTOMER = re.compile(r"[\w-]{1,200}", re.ASCII)


def choice(value: object, options: Iterable[tuple[str, str]]) -> str:
    for key, _ in options:
        if value == key:
            return key
    raise ActionInvalid("That option doesn't exist.")


def reason(form: object) -> str:
    return payloads.form_field(form, "reason")


def rows(form: object) -> list[UUID]:
    """Rows of the outbox: the dialog's subject, ids with spaces between them."""
    ids = payloads.form_field(form, "subject").split()
    if not ids:
        raise ActionInvalid("Choose a record.")
    return [payloads.identifier(each) for each in ids]


def resolution(form: object) -> Resolution:
    match payloads.form_field(form, "resolution"):
        case "counted":
            return "counted"
        case "waived":
            return "waived"
        case _:
            raise ActionInvalid("Choose a resolution.")


def event(form: object) -> str:
    """The event of the row, or the one that was typed."""
    asked = payloads.form_field(form, "subject") or payloads.form_field(form, "event")
    if not _EVENT.fullmatch(asked):
        raise ActionInvalid("Enter an event ID like evt_1PgafuB7WZ01zgkW.")
    return asked


def day(form: object) -> date | None:
    """None for a field that was left empty."""
    typed = payloads.form_field(form, "day")
    return _day(typed) if typed else None


def customer_day(subject: object) -> tuple[str, date]:
    """A customer and a day, with a space between them."""
    customer, _, typed = subject.partition(" ") if isinstance(subject, str) else ("", "", "")
    if not _CUSTOMER.fullmatch(customer):
        raise ActionInvalid("Choose a customer and a day.")
    return customer, _day(typed)


def _day(typed: str) -> date:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise ActionInvalid("Choose a day.") from None

"""What the dialogs of a user's page send, checked. Any client can send anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from aisaas.accounts.people_models import OwnLimits
from aisaas.admin.users_models import AccountMail
from aisaas.errors import ActionInvalid
from aisaas.ui import payloads
from aisaas.ui.payloads import form_field

# More digits than any limit could have are no number.
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)
_USD = re.compile(r"\d{1,7}(?:\.\d{1,2})?", re.ASCII)


def user(form: object) -> UUID:
    """Whom the dialog was about: what the admin saw, whatever the page shows by now."""
    return payloads.identifier(form_field(form, "subject"))


def reason(form: object) -> str:
    return form_field(form, "reason")


def limits(form: object) -> OwnLimits:
    """An empty field is the plan's limit."""
    highest = form_field(form, "highest_cap_usd")
    if highest and not _USD.fullmatch(highest):
        raise ActionInvalid("Highest spending cap: enter an amount in USD, like 25 or 12.50.")
    return OwnLimits(
        requests_per_minute=_whole(form, "requests_per_minute", "Requests per minute"),
        requests_per_day=_whole(form, "requests_per_day", "Requests per day"),
        tokens_per_month=_whole(form, "tokens_per_month", "Quota tokens per period"),
        parallel_replies=_whole(form, "parallel_replies", "Replies at a time"),
        highest_cap_usd=Decimal(highest) if highest else None,
    )


def tokens(form: object) -> int:
    found = _whole(form, "tokens", "Quota tokens")
    if found is None:
        raise ActionInvalid("Quota tokens: enter a number.")
    return found


def last_day(form: object) -> datetime | None:
    """The end of a day (UTC); None without one."""
    typed = form_field(form, "expires")
    if not typed:
        return None
    try:
        day = datetime.strptime(typed, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ActionInvalid("Last day: choose a day or leave it empty.") from None
    return day.replace(hour=23, minute=59, second=59)


def mail(form: object) -> AccountMail:
    match form_field(form, "mail"):
        case "reset":
            return "reset"
        case "confirmation":
            return "confirmation"
        case _:
            raise ActionInvalid("That email doesn't exist.")


def own(form: object) -> bool:
    """Whether they said that they mean their own role."""
    return form_field(form, "own") == "yes"


def notice(form: object) -> UUID:
    return payloads.identifier(form_field(form, "subject"))


def _whole(form: object, name: str, label: str) -> int | None:
    typed = form_field(form, name)
    if not typed:
        return None
    if not _WHOLE.fullmatch(typed):
        raise ActionInvalid(f"{label}: enter a whole number or leave it empty.")
    return int(typed)

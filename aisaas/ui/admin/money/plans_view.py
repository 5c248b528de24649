"""Plans that differ from Stripe's, as the page shows them. Pure functions."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from uuid import UUID

from aisaas.admin.entitlement_differences import PlanCompared, PlanCorrected
from aisaas.billing.plans.models import Entitlement
from aisaas.billing.subscriptions.entitlement_store import DifferenceEntry, EntitlementHealth
from aisaas.db.paging import Page
from aisaas.ui import routes
from aisaas.ui.admin.users.view import PLANS, STATUSES
from aisaas.ui.admin.view import TileView

WHICH_PLANS = (("differing", "Differing"), ("all", "All"))
# By the kind of an actor.
BY = {"job": "the daily check", "operator": "an operator", "user": "an admin"}
NAMES = dict(PLANS)


@dataclasses.dataclass(frozen=True)
class PlanView:
    """A user whose plan differs or did; times are ISO 8601 or empty. `open` while it differs."""

    id: str = ""
    who: str = ""
    href: str = ""
    ours: str = ""
    ours_until: str = ""
    theirs: str = ""
    theirs_until: str = ""
    note: str = ""
    at: str = ""
    by: str = ""
    corrected_at: str = ""
    open: bool = False


@dataclasses.dataclass(frozen=True)
class PlansView:
    which: str = "differing"
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    rows: list[PlanView] = dataclasses.field(default_factory=list[PlanView])
    page: int = 1
    older: bool = False


def plans_view(
    found: Page[DifferenceEntry, datetime, UUID], health: EntitlementHealth, which: str, number: int
) -> PlansView:
    tiles = [
        TileView("Users with differences", f"{health.open:,}", "plan and subscription don't match"),
        TileView("Corrected", f"{health.repaired_lately:,}", "in the last 7 days"),
    ]
    return PlansView(which, tiles, [_plan(entry) for entry in found.found], number, found.older)


def _plan(entry: DifferenceEntry) -> PlanView:
    return PlanView(
        id=str(entry.user_id),
        who=entry.email,
        href=routes.admin_user(entry.user_id),
        ours=in_words(entry.ours),
        ours_until=_until(entry.ours),
        theirs=in_words(entry.theirs),
        theirs_until=_until(entry.theirs),
        note=entry.note or "",
        at=entry.found_at.isoformat(),
        by=BY.get(entry.found_by.partition(":")[0], entry.found_by),
        corrected_at=entry.corrected_at.isoformat() if entry.corrected_at else "",
        open=entry.corrected_at is None,
    )


def in_words(has: Entitlement) -> str:
    """Like `Pro, trial`."""
    words = (NAMES.get(has.plan, has.plan), STATUSES[has.status].lower())
    return ", ".join(filter(None, words))


def _until(has: Entitlement) -> str:
    return has.ends_at.isoformat() if has.ends_at else ""


def compared(found: PlanCompared) -> str:
    if not found.differs:
        return "The plan matches Stripe."
    return (
        found.note or f"They have {in_words(found.ours)}, but Stripe says {in_words(found.theirs)}."
    )


def corrected(done: PlanCorrected) -> str:
    return f"Changed from {in_words(done.before)} to {in_words(done.after)}."


def compared_all(looked: int, differing: int, unclear: int) -> str:
    people = "user was" if looked == 1 else "users were"
    said = f"{looked:,} {people} compared. {differing:,} differ."
    return f"{said} {unclear:,} couldn't be compared; see the log." if unclear else said

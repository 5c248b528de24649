"""Entries of the audit log, as the page shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from aisaas.admin.audit import MOST_PEOPLE, AuditPage, user_in
from aisaas.audit.models import AuditEntry

NOTHING = "–"
TOO_MANY = (
    f"More than {MOST_PEOPLE:,} accounts match this search, and only the first {MOST_PEOPLE:,} are "
    "included. Type more of the email address."
)


@dataclasses.dataclass(frozen=True)
class EntryView:
    """`changes` are lines like `role: user → admin`; `at` is ISO 8601."""

    id: str = ""
    at: str = ""
    who: str = ""
    action: str = ""
    subject: str = ""
    reason: str = ""
    changes: list[str] = dataclasses.field(default_factory=list[str])


@dataclasses.dataclass(frozen=True)
class AuditView:
    rows: list[EntryView] = dataclasses.field(default_factory=list[EntryView])
    page: int = 1
    older: bool = False
    # Shown above the entries; blank when the search covered everything.
    narrow: str = ""


def audit_view(found: AuditPage, number: int) -> AuditView:
    rows = [_entry(entry, found.names) for entry in found.entries]
    return AuditView(rows, number, found.older, TOO_MANY if found.narrow else "")


def _entry(entry: AuditEntry, names: Mapping[UUID, str]) -> EntryView:
    return EntryView(
        id=str(entry.id),
        at=entry.created_at.isoformat(),
        who=_named(entry.actor, names),
        action=entry.action,
        subject=_named(entry.subject, names),
        reason=entry.reason,
        changes=changes(entry.before, entry.after),
    )


def _named(name: str, names: Mapping[UUID, str]) -> str:
    user_id = user_in(name)
    return name if user_id is None else names.get(user_id, name)


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """A line for each value that differs, in the order in which they were written down."""
    old, new = before or {}, after or {}
    keys = dict.fromkeys([*old, *new])
    return [
        f"{key}: {_word(old[key])} → {_word(new.get(key))}"
        if key in old
        else f"{key}: {_word(new[key])}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _word(value: object) -> str:
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value)

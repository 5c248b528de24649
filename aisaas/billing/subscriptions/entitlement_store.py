"""The SQL of plans that differ from what the payment provider says. All of it runs as the service.

Invariant: a user has at most one open difference; it stays as found until it is corrected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import PROFILES
from aisaas.billing.plans.models import FINAL_STATUSES, Entitlement
from aisaas.billing.ports import PaidSubscription
from aisaas.billing.subscriptions import store as subscription_store
from aisaas.db.paging import Cursor, Keyset, Moment, Page

_TIMES = ("period_start", "period_end", "ends_at")


def as_json(has: Entitlement) -> dict[str, str | int | None]:
    """Times as ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(has).items()
    }


def _read(stored: Mapping[str, Any]) -> Entitlement:
    values: dict[str, Any] = dict(stored)
    for name in _TIMES:
        values[name] = datetime.fromisoformat(values[name]) if values.get(name) else None
    return Entitlement(**values)


# Subscriptions stored here -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntitlementSources:
    """A user's stored entitlement, and the customer to look up for it."""

    ours: Entitlement
    customer_ids: Sequence[str]
    subscriptions: Sequence[PaidSubscription]


async def written(session: AsyncSession, user_id: UUID) -> Entitlement | None:
    """A user's plan as the profile has it, even if it has ended; None without a user."""
    rows = await session.execute(
        text(
            f"""
            select plan, subscription_status as status, subscription_id,
              stripe_customer_id as customer_id, period_start, period_end, plan_ends_at as ends_at,
              period_tokens, next_plan
            from {PROFILES} p where id = :id
            """  # noqa: S608  # relations of ours
        ),
        {"id": user_id},
    )
    row = rows.mappings().one_or_none()
    return Entitlement(**row) if row else None


async def sources(session: AsyncSession, user_id: UUID) -> EntitlementSources | None:
    ours = await written(session, user_id)
    if ours is None:
        return None
    subscriptions = await subscription_store.subscriptions_of(session, user_id)
    customers = {each.customer_id for each in subscriptions if each.status not in FINAL_STATUSES}
    if ours.customer_id is not None:
        customers.add(ours.customer_id)
    return EntitlementSources(ours, sorted(customers), subscriptions)


async def of_others(
    session: AsyncSession, user_id: UUID, subscription_ids: Sequence[str]
) -> Sequence[str]:
    """Those of these subscriptions that belong to another user here."""
    rows = await session.execute(
        text("select id from public.subscriptions where id = any(:ids) and user_id <> :user_id"),
        {"ids": list(subscription_ids), "user_id": user_id},
    )
    return rows.scalars().all()


async def comparable(session: AsyncSession, after: UUID | None, limit: int) -> Sequence[UUID]:
    """Users the provider may know, or who have a plan regardless; by id."""
    rows = await session.execute(
        text(
            f"""
            select p.id from {PROFILES} p
            where (cast(:after as uuid) is null or p.id > cast(:after as uuid))
              and (
                p.stripe_customer_id is not null or p.plan <> 'free'
                or exists (
                  select 1 from public.subscriptions s
                  where s.user_id = p.id and s.status <> all(:final)
                )
                or exists (
                  select 1 from public.entitlement_differences d
                  where d.user_id = p.id and d.corrected_at is null
                )
              )
            order by p.id limit :limit
            """  # noqa: S608  # relations of ours
        ),
        {"after": after, "limit": limit, "final": sorted(FINAL_STATUSES)},
    )
    return rows.scalars().all()


# Differences --------------------------------------------------------------------------------------


async def found(
    session: AsyncSession,
    user_id: UUID,
    ours: Entitlement,
    theirs: Entitlement,
    *,
    note: str | None,
    found_by: str,
) -> None:
    """Note that they differ. One that is open already is as it is now, and as old as it was."""
    await session.execute(
        text(
            """
            insert into public.entitlement_differences (user_id, ours, theirs, note, found_by)
            values (:user_id, cast(:ours as jsonb), cast(:theirs as jsonb), :note, :found_by)
            on conflict (user_id) where corrected_at is null
            do update set ours = excluded.ours, theirs = excluded.theirs, note = excluded.note
            """
        ),
        {
            "user_id": user_id,
            "ours": json.dumps(as_json(ours)),
            "theirs": json.dumps(as_json(theirs)),
            "note": note,
            "found_by": found_by,
        },
    )


async def correct(
    session: AsyncSession,
    user_id: UUID,
    before: Entitlement,
    has: Entitlement,
    *,
    found_by: str,
) -> None:
    """Note a difference that ends with this transaction, or the end of the one that is open."""
    if not await agreed(session, user_id):
        await found(session, user_id, before, has, note=None, found_by=found_by)
        await agreed(session, user_id)


async def agreed(session: AsyncSession, user_id: UUID) -> bool:
    """Close the open difference; False if there was none."""
    rows = await session.execute(
        text(
            "update public.entitlement_differences set corrected_at = now()"
            " where user_id = :user_id and corrected_at is null returning 1"
        ),
        {"user_id": user_id},
    )
    return rows.first() is not None


# For admins ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntitlementHealth:
    """The number of users whose plan differs, since when, and how many were corrected in the last
    week."""

    open: int
    oldest_at: datetime | None
    repaired_lately: int


@dataclass(frozen=True, slots=True)
class DifferenceEntry:
    """What a user had, and what followed from their subscriptions at the provider. `note` says why a
    look can't correct it; `found_by` is an actor as in the audit log, or the daily look."""

    id: UUID
    user_id: UUID
    email: str
    ours: Entitlement
    theirs: Entitlement
    note: str | None
    found_by: str
    found_at: datetime
    corrected_at: datetime | None


async def health(session: AsyncSession) -> EntitlementHealth:
    rows = await session.execute(
        text(
            """
            select count(*) as open, min(found_at) as oldest_at,
              (select count(*) from public.entitlement_differences
                where corrected_at > now() - interval '7 days') as repaired_lately
            from public.entitlement_differences where corrected_at is null
            """
        )
    )
    return EntitlementHealth(**rows.mappings().one())


_PAGED: Keyset[DifferenceEntry, datetime, UUID] = Keyset(
    "d.found_at", "d.id", lambda entry: Cursor(entry.found_at, entry.id)
)


async def entries(
    session: AsyncSession,
    *,
    differing: bool,
    search: str,
    before: Moment | None,
    limit: int,
) -> Page[DifferenceEntry, datetime, UUID]:
    """Newest first, those found before `before`."""
    only = "and d.corrected_at is null" if differing else ""
    rows = await session.execute(
        text(
            f"""
            select d.id, d.user_id, p.email, d.ours, d.theirs, d.note, d.found_by, d.found_at,
              d.corrected_at
            from public.entitlement_differences d join {PROFILES} p on p.id = d.user_id
            where (:search = '' or starts_with(lower(p.email), lower(:search))
                or starts_with(p.stripe_customer_id, :search)) {only}
              and {_PAGED.behind}
            {_PAGED.page}
            """  # noqa: S608  # text of ours
        ),
        {
            "search": search,
            **_PAGED.values(before, limit),
        },
    )
    return _PAGED.cut([_entry(dict(row)) for row in rows.mappings()], limit)


def _entry(row: dict[str, Any]) -> DifferenceEntry:
    row["ours"], row["theirs"] = _read(row["ours"]), _read(row["theirs"])
    return DifferenceEntry(**row)

"""The SQL of finding accounts and acting on them, for admins. All of it runs as the service."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import devices
from aisaas.accounts.people_models import (
    AccountSummary,
    OwnLimits,
    PeoplePage,
    Person,
    Ranking,
    Role,
    Search,
    SignedInAt,
    Sort,
)
from aisaas.accounts.plans import granting
from aisaas.accounts.store import sessions_of
from aisaas.db.paging import pages_of
from aisaas.db.search import address_has, address_pattern

PAGE = 25
# Admins don't page this far; with more users they narrow the search.
MOST_COUNTED = 10_000

_PLAN = "case when p.plan_ends_at <= now() then 'free' else p.plan end"
_ENDED = "p.plan_ends_at <= now()"
_HOLDS = "(p.plan_ends_at is null or p.plan_ends_at > now())"
# Sort orders by the profile's own columns: with the id, each is an index.
_OWN: dict[Sort, str] = {"joined": "p.created_at", "email": "lower(p.email)"}
# With or without its dashes.
_ID_START = re.compile(r"[0-9a-f]{4,32}", re.ASCII)
# In an index's order, only each user's newest: reading stops when the page is full.
_SEEN = Ranking(
    """(
      select s.user_id, s.last_seen_at as amount from private.sessions s
      where not exists (
        select from private.sessions n where n.user_id = s.user_id
          and (n.last_seen_at, n.id) > (s.last_seen_at, s.id) offset 0
      )
    )""",
    {},
)


@dataclass(frozen=True, slots=True)
class Fitting:
    """A condition on profiles `p`, and its values."""

    condition: str
    values: Mapping[str, object]

    @property
    def ids(self) -> str:
        """A query for their ids, to use in another module's relation."""
        return f"select p.id from public.profiles p where {self.condition}"  # noqa: S608  # fragments of this module


async def find(session: AsyncSession, search: Search, ranking: Ranking | None = None) -> PeoplePage:
    """A page of the matching users, and their number.

    Args:
        ranking: for sorts RANKED_BY another module's data.
    """
    who = fitting(search)
    if search.sort == "seen":
        ranking = _SEEN
    total = await _count(session, f"select p.id from public.profiles p where {who.condition}", who)  # noqa: S608  # fragments of this module
    pages = pages_of(total, PAGE)
    page = min(max(search.page, 1), pages)
    ids = await _ordered(session, search, who, ranking, offset=(page - 1) * PAGE)
    rows = await session.execute(
        text(
            f"""
            select p.id, p.email, p.full_name, p.role, {_PLAN} as plan, p.subscription_status,
              p.suspended_at is not null as suspended, p.created_at,
              (select max(s.last_seen_at) from private.sessions s where s.user_id = p.id)
                as last_seen_at
            from unnest(cast(:ids as uuid[])) with ordinality f (id, place)
            join public.profiles p on p.id = f.id
            order by f.place
            """  # noqa: S608  # fragments of this module
        ),
        {"ids": ids},
    )
    return PeoplePage([Person(**row) for row in rows.mappings()], page, pages, total)


async def _count(session: AsyncSession, query: str, who: Fitting, **more: object) -> int:
    """Counts up to MOST_COUNTED, in an index's order, so that it can stop there."""
    rows = await session.execute(
        text(f"select count(*) from ({query} order by 1 limit :most) c"),  # noqa: S608  # fragments of this module
        {**who.values, **more, "most": MOST_COUNTED},
    )
    return int(rows.scalar_one())


async def _ordered(
    session: AsyncSession, search: Search, who: Fitting, ranking: Ranking | None, *, offset: int
) -> Sequence[UUID]:
    """The ids of a page, in order. Only the sort column is read for all users."""
    if ranking is not None:
        return await _ranked(session, search, who, ranking, offset=offset)
    direction, where = "desc" if search.down else "asc", who.condition
    turn = {**who.values, "offset": offset, "size": PAGE}
    if (own := _OWN.get(search.sort)) is not None:
        rows = await session.execute(
            text(
                f"select p.id from public.profiles p where {where}"  # noqa: S608  # fragments of this module
                f" order by {own} {direction}, p.id {direction} offset :offset limit :size"
            ),
            turn,
        )
        return rows.scalars().all()
    assert search.sort == "plan", search.sort
    # Users whose plan has ended are on the free one; the others come in an index's order.
    each = " union all ".join(
        f"(select {plan} as plan, p.id from public.profiles p where {where} and {holds}"  # noqa: S608
        f" order by 1 {direction}, p.id {direction} limit :offset + :size)"
        for plan, holds in (("p.plan", _HOLDS), ("'free'", _ENDED))
    )
    rows = await session.execute(
        text(
            f"select id from ({each}) f order by plan {direction}, id {direction}"  # noqa: S608
            " offset :offset limit :size"
        ),
        turn,
    )
    return rows.scalars().all()


async def _ranked(
    session: AsyncSession, search: Search, who: Fitting, ranking: Ranking, *, offset: int
) -> Sequence[UUID]:
    direction = "desc" if search.down else "asc"
    rows = await session.execute(
        text(
            f"""
            select p.id from {ranking.relation} r
            -- One after the other, until the page is full.
            cross join lateral (
              select p.id from public.profiles p where p.id = r.user_id and {who.condition} offset 0
            ) p
            order by r.amount {direction}, r.user_id {direction} offset :offset limit :size
            """  # noqa: S608
        ),
        {**who.values, **ranking.values, "offset": offset, "size": PAGE},
    )
    ids = list(rows.scalars())
    if len(ids) < PAGE:
        ids += await _unranked(session, who, ranking, offset=offset, before=len(ids))
    return ids


async def _unranked(
    session: AsyncSession, who: Fitting, ranking: Ranking, *, offset: int, before: int
) -> Sequence[UUID]:
    """Users without an amount, by id: the rest of a page whose first `before` users have one."""
    joined = (
        f"select p.id from {ranking.relation} r"  # noqa: S608
        f" join public.profiles p on p.id = r.user_id where {who.condition}"
    )
    counted = offset + before
    if before == 0 and offset > 0:
        counted = await _count(session, joined, who, **ranking.values)
    rows = await session.execute(
        text(
            f"select p.id from public.profiles p where {who.condition}"  # noqa: S608
            f" and not exists (select from {ranking.relation} r where r.user_id = p.id)"
            " order by p.id offset :offset limit :size"
        ),
        {
            **who.values,
            **ranking.values,
            "offset": max(offset - counted, 0),
            "size": PAGE - before,
        },
    )
    return rows.scalars().all()


def fitting(search: Search) -> Fitting:
    """The condition for accounts that match a search."""
    wanted: dict[str, tuple[str, object]] = {
        "plan": (_plan_is(search.plan), search.plan),
        "status": ("p.subscription_status = :status", search.status),
        "role": ("p.role = :role", search.role),
        "suspended": ("(p.suspended_at is not null) = :suspended", search.suspended),
    }
    found = {name: each for name, each in wanted.items() if each[1] is not None}
    fragments = [fragment for fragment, _ in found.values()]
    values: dict[str, Any] = {name: value for name, (_, value) in found.items()}
    typed = search.text.strip().lower()
    if typed:
        either = [address_has("p.email"), address_has("p.full_name")]
        values |= address_pattern(typed)
        digits = typed.replace("-", "")
        if _ID_START.fullmatch(digits):
            either.append("p.id between cast(:lowest as uuid) and cast(:highest as uuid)")
            values |= {"lowest": digits.ljust(32, "0"), "highest": digits.ljust(32, "f")}
        fragments.append(f"({' or '.join(either)})")
    return Fitting(" and ".join(fragments) or "true", values)


def _plan_is(plan: str | None) -> str:
    if plan == "free":
        return f"(p.plan = :plan or {_ENDED})"
    return f"(p.plan = :plan and {_HOLDS})"


async def named(session: AsyncSession, whom: str) -> UUID | None:
    """The account with this address or whole id."""
    rows = await session.execute(
        text(
            "select id from public.profiles where lower(email) = lower(:whom)"
            " union select id from public.profiles where id::text = lower(:whom)"
        ),
        {"whom": whom},
    )
    return rows.scalar_one_or_none()


_STANDING = f"""
    select p.id, p.email, p.full_name, p.role, {_PLAN} as plan, p.subscription_status,
      p.subscription_id, p.period_start, p.period_end, p.period_tokens, p.period_spent_usd,
      p.next_plan,
      p.plan_ends_at, p.overage_cap_usd,
      p.stripe_customer_id as metered_customer, p.requests_per_minute, p.requests_per_day,
      p.tokens_per_month, p.parallel_replies, p.highest_cap_usd, p.suspended_at, p.suspended_reason, p.created_at, now() as read_at
    from public.profiles p
"""  # noqa: S608  # fragments of this module


async def summary(session: AsyncSession, user_id: UUID) -> AccountSummary | None:
    rows = await session.execute(text(f"{_STANDING} where p.id = :id"), {"id": user_id})
    found = rows.mappings().one_or_none()
    return _summary(found) if found else None


async def admins(session: AsyncSession) -> Sequence[AccountSummary]:
    """Users with the admin role, including suspended ones, by address."""
    rows = await session.execute(
        text(f"{_STANDING} where p.role = 'admin' order by lower(p.email), p.id")
    )
    return [_summary(row) for row in rows.mappings()]


def _summary(found: RowMapping) -> AccountSummary:
    row: dict[str, Any] = dict(found)
    return AccountSummary(subscription=granting(row), **row)


async def live_sessions(session: AsyncSession, user_id: UUID) -> Sequence[SignedInAt]:
    return [
        SignedInAt(
            row["id"],
            devices.label(row["user_agent"]),
            row["opened_by"],
            row["created_at"],
            row["last_seen_at"],
        )
        for row in await sessions_of(session, user_id)
    ]


# Acting -----------------------------------------------------------------------------------------


async def suspend(session: AsyncSession, user_id: UUID, reason: str | None) -> None:
    """Suspend with a reason; lift it without."""
    await session.execute(
        text(
            """
            update public.profiles set suspended_reason = cast(:reason as text),
              suspended_at = case when cast(:reason as text) is not null then now() end
            where id = :id
            """
        ),
        {"id": user_id, "reason": reason},
    )


async def set_role(session: AsyncSession, user_id: UUID, role: Role) -> None:
    await session.execute(
        text("update public.profiles set role = :role where id = :id"),
        {"id": user_id, "role": role},
    )


async def set_limits(session: AsyncSession, user_id: UUID, limits: OwnLimits) -> None:
    await session.execute(
        text(
            """
            update public.profiles set requests_per_minute = :requests_per_minute,
              requests_per_day = :requests_per_day, tokens_per_month = :tokens_per_month,
              parallel_replies = :parallel_replies, highest_cap_usd = :highest_cap_usd
            where id = :id
            """
        ),
        {"id": user_id, **asdict(limits)},
    )


async def lock(session: AsyncSession, user_ids: Sequence[UUID]) -> None:
    """Lock in a fixed order: two admins who act on each other wait instead of failing."""
    await session.execute(
        text("select id from public.profiles where id = any(:ids) order by id for no key update"),
        {"ids": list(user_ids)},
    )


async def lock_roles(session: AsyncSession) -> None:
    """Make changes to admin roles exclusive until the transaction ends."""
    await session.execute(text("select pg_advisory_xact_lock(hashtext('aisaas.roles'))"))


async def other_admins(session: AsyncSession, user_id: UUID) -> int:
    """The number of other active admins."""
    rows = await session.execute(
        text(
            "select count(*) from public.profiles"
            " where role = 'admin' and suspended_at is null and id <> :id"
        ),
        {"id": user_id},
    )
    return int(rows.scalar_one())

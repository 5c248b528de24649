"""The SQL of the usage dashboard. All of it runs as the service.

Invariant: a page reads sums, never the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import PROFILES
from aisaas.billing.ledger.usage_models import (
    Direction,
    Figures,
    ProviderErrors,
    Span,
    Step,
    UserAmount,
    UserSort,
    UserUsage,
)
from aisaas.db.search import address_has, address_pattern

FIGURES = (
    "requests",
    "stopped",
    "interrupted",
    "failed",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "quota_tokens",
    "cost_usd",
    "overage_usd",
)
EPOCH = date(1970, 1, 1)
# Sums of tokens come as numeric; as bigint they are read as what they are.
_SUMS = ", ".join(
    f"sum({name}) as {name}" if name.endswith("_usd") else f"sum({name})::bigint as {name}"
    for name in FIGURES
)


# The same of `usage_by_user`, whose money is whole millionths.
_USD = {"cost_usd": "cost_micros", "overage_usd": "overage_micros"}
USER_SUMS = ", ".join(
    f"sum({_USD[name]}) * 0.000001 as {name}" if name in _USD else f"sum({name})::bigint as {name}"
    for name in FIGURES
)
USER_STORED = ", ".join(
    f"{_USD[name]} * 0.000001 as {name}" if name in _USD else name for name in FIGURES
)


def _figures(row: RowMapping) -> Figures:
    return Figures(**{name: row[name] for name in FIGURES})


# Over all users -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summed:
    """The figures of one day or hour, model, provider or plan."""

    at: datetime | None
    model: str | None
    provider: str | None
    plan: str | None
    figures: Figures


async def totals(session: AsyncSession, span: Span, step: Step) -> Sequence[Summed]:
    """The series and the shares, in one pass over the sums: each row has just one of its names."""
    rows = await session.execute(
        text(
            f"""
            select starts as at, model, provider, plan, {_SUMS}
            from private.usage_totals
            where step = :step and starts >= :start and starts < :end
            group by grouping sets ((starts), (model), (provider), (plan))
            """  # noqa: S608  # names of columns
        ),
        {"step": step, "start": span.start, "end": span.end},
    )
    return [
        Summed(row["at"], row["model"], row["provider"], row["plan"], _figures(row))
        for row in rows.mappings()
    ]


async def provider_errors(session: AsyncSession, span: Span) -> Sequence[ProviderErrors]:
    rows = await session.execute(
        text(
            """
            select provider, model, kind, sum(times)::bigint as times
            from private.provider_errors where day between :first and :last
            group by 1, 2, 3 order by 4 desc, 1, 2, 3
            """
        ),
        {"first": span.first, "last": span.last},
    )
    return [ProviderErrors(**row) for row in rows.mappings()]


async def today(session: AsyncSession) -> date:
    """By the database's clock, UTC."""
    rows = await session.execute(text("select (now() at time zone 'UTC')::date"))
    return rows.scalar_one()


async def settled_lately(session: AsyncSession) -> int:
    """Calls of the last minute."""
    rows = await session.execute(
        text(
            "select count(*) from public.usage_records where created_at > now() - interval '1 minute'"
        )
    )
    return int(rows.scalar_one())


# By user --------------------------------------------------------------------------------------------

WIDTHS = (64, 16, 4, 1)
_Ranges = tuple[tuple[int, date, date], ...]


def blocks(span: Span) -> _Ranges:
    """The fewest blocks that are exactly the span: (days, first start, last start), the widest in
    the middle."""
    return tuple(
        (width, EPOCH + timedelta(days=low), EPOCH + timedelta(days=high - width))
        for width, low, high in _cover((span.first - EPOCH).days, (span.last - EPOCH).days + 1)
    )


def _cover(low: int, high: int, widths: Sequence[int] = WIDTHS) -> list[tuple[int, int, int]]:
    """[low, high) as pieces whose ends are multiples of their width."""
    if low >= high:
        return []
    width, *narrower = widths
    first, last = -(-low // width) * width, high // width * width
    if first >= last:
        return _cover(low, high, narrower)
    return [
        *_cover(low, first, narrower),
        (width, first, last),
        *_cover(last, high, narrower),
    ]


def in_blocks(ranges: _Ranges) -> tuple[str, dict[str, object]]:
    """A condition on `usage_by_user`, and its parameters."""
    parts = [
        f"(days = {width} and starts between :from{n} and :to{n})"
        for n, (width, _, _) in enumerate(ranges)
    ]
    values: dict[str, object] = {}
    for n, (_, first, last) in enumerate(ranges):
        values |= {f"from{n}": first, f"to{n}": last}
    return f"({' or '.join(parts)})", values


async def active_users(session: AsyncSession, span: Span) -> int:
    """Who had any use. A select for each range, because each is answered by the index alone."""
    ranges = blocks(span)
    _, values = in_blocks(ranges)
    each = " union all ".join(
        f"select user_id from private.usage_by_user"  # noqa: S608
        f" where days = {width} and starts between :from{n} and :to{n}"
        for n, (width, _, _) in enumerate(ranges)
    )
    rows = await session.execute(
        text(f"select count(*) from (select 1 from ({each}) b group by user_id) u"),  # noqa: S608
        values,
    )
    return rows.scalar_one()


_SORTED: Mapping[UserSort, str] = {
    "requests": "sum(b.requests)",
    "tokens": "sum(b.prompt_tokens + b.completion_tokens)",
    "cost": "sum(b.cost_micros)",
    "overage": "sum(b.overage_micros)",
    "errors": "sum(b.interrupted + b.failed)",
}
_DIRECTIONS: Mapping[Direction, str] = {"up": "asc", "down": "desc"}


async def users(
    session: AsyncSession,
    span: Span,
    *,
    search: str,
    sort: UserSort,
    direction: Direction,
    offset: int,
    limit: int,
) -> tuple[int, Sequence[UserUsage]]:
    """The total count and one page. Only the sort column is summed for all users."""
    condition, values = in_blocks(blocks(span))
    condition, found = f"{condition}{_wanted(search, values)}", values
    if sort == "email":
        total, ids = await _by_address(session, span, condition, found, direction, offset, limit)
    else:
        ranked = await session.execute(
            text(
                f"""
                select b.user_id, count(*) over () as total
                from private.usage_by_user b
                where {condition}
                group by b.user_id
                order by {_SORTED[sort]} {_DIRECTIONS[direction]}, b.user_id
                offset :offset limit :limit
                """  # noqa: S608  # names of columns
            ),
            values | {"offset": offset, "limit": limit},
        )
        rows = ranked.all()
        ids, total = [row[0] for row in rows], int(rows[0][1]) if rows else 0
    if not ids:
        return 0, ()
    figures = await _of_users(session, blocks(span), ids)
    return total, [figures[user_id] for user_id in ids]


def _wanted(search: str, values: dict[str, object]) -> str:
    """A condition more, for users who are searched for; it adds its values."""
    if not search:
        return ""
    if (named := _as_uuid(search)) is not None:
        values["named"] = named
        return " and b.user_id = :named"
    values |= address_pattern(search)
    return (
        f" and b.user_id in (select p.id from {PROFILES} p"  # noqa: S608  # fragments of ours
        f" where {address_has('p.email')})"
    )


# Each user's sum of the measure they are ranked by.
_AMOUNTS: Mapping[UserAmount, str] = {
    "requests": "sum(requests)",
    "tokens": "sum(quota_tokens)",
    "cost": "sum(cost_micros)",
}


def ranking(
    by: UserAmount, span: Span, *, direction: Direction, among: str | None
) -> tuple[str, Mapping[str, object]]:
    """A relation `(user_id, amount)` of those who used anything in a span, in order, and its values.

    Args:
        among: a statement that finds the only ids that are wanted.
    """
    condition, values = in_blocks(blocks(span))
    if among is not None:
        condition += f" and user_id in ({among})"
    order = _DIRECTIONS[direction]
    return (
        f"(select user_id, {_AMOUNTS[by]} as amount from private.usage_by_user"  # noqa: S608
        f" where {condition} group by user_id order by 2 {order}, 1 {order})"
    ), values


async def _by_address(
    session: AsyncSession,
    span: Span,
    condition: str,
    values: Mapping[str, object],
    direction: Direction,
    offset: int,
    limit: int,
) -> tuple[int, Sequence[UUID]]:
    """Ordered by email address, through an index; users whose account is gone come last."""
    counted = await session.execute(
        text(
            f"select count(*) from (select 1 from private.usage_by_user b where {condition}"  # noqa: S608
            " group by b.user_id) u"
        ),
        values,
    )
    total = int(counted.scalar_one())
    by = _DIRECTIONS[direction]
    found = await session.execute(
        text(
            f"""
            select p.id from {PROFILES} p
            where exists (
              select from {_KEYS} join private.usage_by_user b using (days, starts)
              where b.user_id = p.id and {condition} offset 0
            )
            order by lower(p.email) {by}, p.id {by} offset :offset limit :limit
            """  # noqa: S608
        ),
        {**values, **_keys(blocks(span)), "offset": offset, "limit": limit},
    )
    ids = list(found.scalars())
    if len(ids) < limit and offset + len(ids) < total:
        ids += await _gone(session, condition, values, offset, limit - len(ids), len(ids))
    return total, ids


async def _gone(
    session: AsyncSession,
    condition: str,
    values: Mapping[str, object],
    offset: int,
    limit: int,
    before: int,
) -> Sequence[UUID]:
    """Users without an account: the rest of the page at `offset`, which already has `before` rows."""
    rows = await session.execute(
        text(
            f"""
            with used as materialized (
              select b.user_id, p.id from private.usage_by_user b
              left join {PROFILES} p on p.id = b.user_id
              where {condition} group by 1, 2
            )
            select user_id from used where id is null order by user_id
            offset greatest(0, :offset + :before - (select count(id) from used)) limit :limit
            """  # noqa: S608
        ),
        {**values, "offset": offset, "before": before, "limit": limit},
    )
    return rows.scalars().all()


# The whole keys of the rows of some blocks but for the user: (days, starts).
_KEYS = "unnest(cast(:widths as smallint[]), cast(:starts as date[])) k (days, starts)"


def _keys(ranges: _Ranges) -> dict[str, object]:
    keys = [
        (width, first + timedelta(days=day))
        for width, first, last in ranges
        for day in range(0, (last - first).days + 1, width)
    ]
    return {"widths": [width for width, _ in keys], "starts": [starts for _, starts in keys]}


async def _of_users(
    session: AsyncSession, ranges: _Ranges, ids: Sequence[UUID]
) -> Mapping[UUID, UserUsage]:
    """By the whole key of every row, however many days there are."""
    rows = await session.execute(
        text(
            f"""
            select s.*, p.email, p.plan from (
              select b.user_id, {USER_SUMS}
              from {_KEYS}
                cross join unnest(cast(:ids as uuid[])) i (user_id)
                join private.usage_by_user b using (days, starts, user_id)
              group by b.user_id
            ) s left join {PROFILES} p on p.id = s.user_id
            """  # noqa: S608  # names of columns
        ),
        {**_keys(ranges), "ids": list(ids)},
    )
    return {
        row["user_id"]: UserUsage(row["user_id"], row["email"], row["plan"], _figures(row))
        for row in rows.mappings()
    }


def _as_uuid(words: str) -> UUID | None:
    try:
        return UUID(words)
    except ValueError:
        return None


# Export ---------------------------------------------------------------------------------------------


async def users_after(
    session: AsyncSession, span: Span, last: UUID | None, limit: int
) -> Sequence[UserUsage]:
    """Users in the order of their ids, those behind `last`."""
    within, values = in_blocks(blocks(span))
    behind = "" if last is None else "and user_id > :last"
    rows = await session.execute(
        text(
            f"""
            select s.*, p.email, p.plan from (
              select user_id, {USER_SUMS} from private.usage_by_user
              where {within} {behind}
              group by user_id order by user_id limit :limit
            ) s left join {PROFILES} p on p.id = s.user_id order by s.user_id
            """  # noqa: S608  # names of columns
        ),
        {**values, "last": last, "limit": limit} if last else {**values, "limit": limit},
    )
    return [
        UserUsage(row["user_id"], row["email"], row["plan"], _figures(row))
        for row in rows.mappings()
    ]


async def first_day(session: AsyncSession) -> date | None:
    """The ledger's first day; None while it is empty."""
    rows = await session.execute(
        text("select (min(created_at) at time zone 'UTC')::date from public.usage_records")
    )
    return rows.scalar_one()

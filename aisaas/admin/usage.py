"""What all users use, earn and cost, as admins and operators see it.

Read from sums that the ledger maintains itself (docs/decisions/0014): a page costs the same however long
the ledger is, and is always current. `compare` checks the sums against the ledger.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import get_args
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.admin_access import Actor, admin_read
from aisaas.billing.ledger import usage_comparison
from aisaas.billing.ledger import usage_reports as store
from aisaas.billing.ledger.usage_models import (
    MOST_HOURLY_DAYS,
    Burn,
    By,
    Difference,
    Direction,
    Earned,
    Figures,
    Live,
    Point,
    ProviderErrors,
    RefusedFor,
    Report,
    Share,
    Span,
    Spent,
    Step,
    UserPage,
    UserSort,
)
from aisaas.billing.reservations import reports as reservation_reports
from aisaas.billing.subscriptions.reports import subscription_changes
from aisaas.controls.spending_caps import CapScope
from aisaas.controls.store import spending_caps
from aisaas.db.paging import pages_of
from aisaas.db.service import ServiceDatabase

PAGE_USERS = 25
# Users of an export that are read at once.
EXPORTED = 10_000
# Most differences reported per table and day.
MAX_DIFFERENCES = 20
YEAR_DAYS = 365
MICRO_USD = Decimal("0.000001")
HOURS = 24

Cell = str | int | Decimal
_Name = Callable[[store.Summed], str | None]
# By plan and day.
_ByDay = Mapping[str, Mapping[date, Decimal]]
_Totals = tuple[Sequence[store.Summed], _ByDay, Sequence[ProviderErrors], Sequence[Burn]]


class UsageReports:
    """Reads only. Every method raises NotFound for a user who isn't an admin, and Unavailable while
    the database does not answer."""

    def __init__(
        self,
        database: ServiceDatabase,
        *,
        base_usd: Mapping[str, Decimal],
        caps: Mapping[CapScope, Decimal],
    ) -> None:
        """Args:
        base_usd: what a month of each paid plan costs.
        caps: daily, from the settings; an admin's override takes precedence.
        """
        self._database = database
        self._base_usd = base_usd
        self._caps = caps

    # Pages

    async def today(self, reader: Actor) -> date:
        """By the database's clock, UTC."""
        async with self._reading(reader) as session:
            return await store.today(session)

    async def report(self, reader: Actor, span: Span, *, step: Step = "day") -> Report:
        """Everything about a span except its users.

        Raises:
            ValueError: too long to be shown by the hour.
        """
        if step == "hour" and span.days > MOST_HOURLY_DAYS:
            raise ValueError(f"By the hour, a range can have at most {MOST_HOURLY_DAYS} days.")
        # The slowest queries run concurrently; they needn't see the same moment.
        (summed, earned, errors, burn), active, refusals = await asyncio.gather(
            self._totals(reader, span, step),
            self._active_users(reader, span),
            self._refusals(reader, span),
        )
        by_plan = {plan: sum(on.values(), Decimal(0)) for plan, on in earned.items()}
        plans = _shares(summed, lambda each: each.plan, by_plan)
        return Report(
            span=span,
            step=step,
            total=Earned(
                sum((each.figures for each in summed if each.plan is not None), Figures()),
                sum(by_plan.values(), Decimal(0)),
            ),
            active_users=active,
            series=_series(span, step, summed, earned),
            models=_shares(summed, lambda each: each.model),
            providers=_shares(summed, lambda each: each.provider),
            plans=plans,
            refusals=refusals,
            errors=errors,
            burn=burn,
        )

    async def users(
        self,
        reader: Actor,
        span: Span,
        *,
        search: str = "",
        sort: UserSort = "cost",
        direction: Direction = "down",
        page: int = 1,
    ) -> UserPage:
        """Users with any usage. `search` is part of an address, or a whole user id. A page number
        beyond the last shows the last."""
        if sort not in get_args(UserSort) or direction not in get_args(Direction):
            raise ValueError("That sort order doesn't exist.")
        page = max(page, 1)
        async with self._reading(reader) as session:
            total, found = await store.users(
                session,
                span,
                search=search,
                sort=sort,
                direction=direction,
                offset=(page - 1) * PAGE_USERS,
                limit=PAGE_USERS,
            )
        pages = pages_of(total, PAGE_USERS)
        if page > 1 and not found:
            begin = await self.users(reader, span, search=search, sort=sort, direction=direction)
            if begin.pages == 1:
                return begin
            return await self.users(
                reader, span, search=search, sort=sort, direction=direction, page=begin.pages
            )
        return UserPage(found, page, pages, total)

    async def live(self, reader: Actor) -> Live:
        """Current activity."""
        async with self._reading(reader) as session:
            now = await reservation_reports.now(session)
            requests = await store.settled_lately(session)
            caps = await self._caps_of_now(session)
        return Live(
            at=now.at,
            running=now.running,
            requests_a_minute=requests,
            refusals_a_minute=now.refusals,
            free=Spent(now.free_spent, now.free_reserved, caps["free"]),
            total=Spent(now.total_spent, now.total_reserved, caps["total"]),
        )

    # Export

    async def rows(self, reader: Actor, span: Span, *, by: By) -> AsyncIterator[Mapping[str, Cell]]:
        """One row per user, model, day or hour, with the same columns in each; many users are read in
        batches. The reader's access is checked before the first row."""
        if by == "user":
            async for row in self._user_rows(reader, span):
                yield row
            return
        async with self._reading(reader) as session:
            step: Step = "hour" if by == "hour" else "day"
            summed = await store.totals(session, span, step)
        for each in summed:
            if by == "model" and each.model is not None:
                yield {"model": each.model, **_cells(each.figures)}
        if by != "model":
            for each in sorted((s for s in summed if s.at), key=lambda s: s.at or span.start):
                assert each.at is not None
                at = each.at.astimezone(UTC)
                named = f"{at:%Y-%m-%d}" if by == "day" else f"{at:%Y-%m-%dT%H:%MZ}"
                yield {by: named, **_cells(each.figures)}

    async def _user_rows(self, reader: Actor, span: Span) -> AsyncIterator[Mapping[str, Cell]]:
        last: UUID | None = None
        while True:
            async with self._reading(reader) as session:
                found = await store.users_after(session, span, last, EXPORTED)
            for each in found:
                named = {
                    "user": str(each.user_id),
                    "email": each.email or "",
                    "plan": each.plan or "",
                }
                yield {**named, **_cells(each.figures)}
            if len(found) < EXPORTED:
                return
            last = found[-1].user_id

    # Checking

    async def first_day(self, reader: Actor) -> date | None:
        """The ledger's first day; None while it is empty."""
        async with self._reading(reader) as session:
            return await store.first_day(session)

    async def compare(self, reader: Actor, span: Span) -> AsyncGenerator[Difference]:
        """Where the sums of a span differ from the ledger, to the last digit.

        A table and a day at a time, each in its own transaction, while the product keeps running. At
        most MAX_DIFFERENCES of each.
        """
        for number in range(span.days):
            for table in usage_comparison.OF_A_DAY:
                day = span.first + timedelta(days=number)
                async with self._reading(reader) as session:
                    found = await usage_comparison.compare_day(session, table, day, MAX_DIFFERENCES)
                for each in found:
                    yield each
        for width in store.WIDTHS[:-1]:
            for starts in usage_comparison.blocks_around(span, width):
                async with self._reading(reader) as session:
                    found = await usage_comparison.compare_block(
                        session, width, starts, MAX_DIFFERENCES
                    )
                for each in found:
                    yield each

    # How

    async def _totals(self, reader: Actor, span: Span, step: Step) -> _Totals:
        async with self._reading(reader) as session:
            summed = await store.totals(session, span, step)
            earned = await self._subscriptions(session, span)
            errors = await store.provider_errors(session, span)
            days = await reservation_reports.free_tier_days(session, span)
            caps = await self._caps_of_now(session)
        free = [Spent(each.spent_usd, each.reserved_usd, caps["free"]) for each in days]
        burn = [Burn(each.day, spent) for each, spent in zip(days, free, strict=True)]
        return summed, earned, errors, burn

    async def _active_users(self, reader: Actor, span: Span) -> int:
        async with self._reading(reader) as session:
            return await store.active_users(session, span)

    async def _refusals(self, reader: Actor, span: Span) -> Sequence[RefusedFor]:
        async with self._reading(reader) as session:
            return await reservation_reports.refusals(session, span)

    async def _subscriptions(self, session: AsyncSession, span: Span) -> _ByDay:
        """What base prices earned, by plan and day, up to today."""
        changes = await subscription_changes(session, span, list(self._base_usd))
        today = min(await store.today(session), span.last)
        more: dict[str, dict[date, int]] = defaultdict(dict)
        for each in changes:
            more[each.plan][each.day] = each.more
        earned: dict[str, dict[date, Decimal]] = {}
        for plan, changed in more.items():
            a_day = (self._base_usd[plan] * 12 / YEAR_DAYS).quantize(MICRO_USD)
            count, days = 0, dict[date, Decimal]()
            for number in range((today - span.first).days + 1):
                day = span.first + timedelta(days=number)
                count += changed.get(day, 0)
                days[day] = count * a_day
            earned[plan] = days
        return earned

    async def _caps_of_now(self, session: AsyncSession) -> Mapping[str, Decimal]:
        return {**self._caps, **{cap.scope: cap.usd for cap in await spending_caps(session)}}

    def _reading(self, reader: Actor) -> AbstractAsyncContextManager[AsyncSession]:
        return admin_read(self._database, reader)


def _shares(
    summed: Sequence[store.Summed], name: _Name, earned: Mapping[str, Decimal] | None = None
) -> Sequence[Share]:
    """The most expensive first. Includes plans with revenue but no usage."""
    figures = {found: each.figures for each in summed if (found := name(each)) is not None}
    based = earned or {}
    names = {*figures, *(plan for plan, usd in based.items() if usd)}
    shares = [
        Share(found, Earned(figures.get(found, Figures()), based.get(found, Decimal(0))))
        for found in names
    ]
    return sorted(shares, key=lambda share: (-share.earned.figures.cost_usd, share.name))


def _series(
    span: Span,
    step: Step,
    summed: Sequence[store.Summed],
    earned: _ByDay,
) -> Sequence[Point]:
    figures = {each.at: each.figures for each in summed if each.at is not None}
    hours = 1 if step == "hour" else HOURS
    points: list[Point] = []
    for number in range(span.days * HOURS // hours):
        at: datetime = span.start + timedelta(hours=number * hours)
        based = sum((days.get(at.date(), Decimal(0)) for days in earned.values()), Decimal(0))
        points.append(Point(at, Earned(figures.get(at, Figures()), based * hours / HOURS)))
    return points


def _cells(figures: Figures) -> Mapping[str, Cell]:
    return {name: getattr(figures, name) for name in store.FIGURES}

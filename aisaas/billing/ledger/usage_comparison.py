"""The SQL that compares the sums with the ledger, a day at a time. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.usage_models import Difference, Span, Step
from aisaas.billing.ledger.usage_reports import EPOCH, FIGURES, USER_STORED, USER_SUMS, WIDTHS


def _compared(names: Sequence[str], ledger: str, sums: str) -> str:
    """Rows where the two disagree, as two arrays of text."""
    array = "array[" + ", ".join(f"{{0}}.{name}::text" for name in names) + "]"
    return f"""
        select coalesce(l.key, s.key) as key,
          case when l.key is not null then {array.format("l")} end as ledger,
          case when s.key is not null then {array.format("s")} end as sums
        from ({ledger}) l full join ({sums}) s on s.key = l.key
        where {" or ".join(f"l.{name} is distinct from s.{name}" for name in names)}
        order by 1 limit :most
        """  # noqa: S608  # names of columns


def _lines(names: Sequence[str], key: str) -> str:
    """The ledger's lines of a time, summed by a key."""
    sums = ", ".join(_LINE_SUMS[name] for name in names)
    return (
        f"select {key} as key, {sums} from public.usage_records"  # noqa: S608
        " where created_at >= :start and created_at < :end group by 1"
    )


_LINE_SUMS = {name: f"sum({name}) as {name}" for name in FIGURES} | {
    "requests": "count(*) as requests",
    **{
        outcome: f"count(*) filter (where outcome = '{outcome}') as {outcome}"
        for outcome in ("done", "stopped", "interrupted", "failed")
    },
}
_DAY_FIGURES = (
    *("requests", "done", "stopped", "interrupted", "failed"),
    *("prompt_tokens", "completion_tokens", "quota_tokens", "cost_usd"),
)
_NAMED = "model, provider, plan, purpose"
_STORED = ", ".join(FIGURES)


def _total_key(step: Step, starts: str) -> str:
    return f"concat_ws(' ', '{step}', {starts}, {_NAMED})"


def _totals_compared(step: Step) -> str:
    return _compared(
        FIGURES,
        _lines(FIGURES, _total_key(step, f"date_trunc('{step}', created_at, 'UTC')")),
        f"select {_total_key(step, 'starts')} as key, {_STORED} from private.usage_totals"  # noqa: S608
        f" where step = '{step}' and starts >= :start and starts < :end",
    )


_DAY_KEY = "concat_ws(' ', {day}, user_id, period_key, model, plan, purpose)"
# By what is compared, how.
OF_A_DAY: Mapping[str, str] = {
    "usage_totals by hour": _totals_compared("hour"),
    "usage_totals by day": _totals_compared("day"),
    "usage_by_user of 1 day": _compared(
        FIGURES,
        _lines(FIGURES, "concat_ws(' ', (created_at at time zone 'UTC')::date, user_id)"),
        f"select concat_ws(' ', starts, user_id) as key, {USER_STORED} from private.usage_by_user"  # noqa: S608
        " where days = 1 and starts = :day",
    ),
    "usage_days": _compared(
        _DAY_FIGURES,
        _lines(_DAY_FIGURES, _DAY_KEY.format(day="(created_at at time zone 'UTC')::date")),
        f"select {_DAY_KEY.format(day='day')} as key, {', '.join(_DAY_FIGURES)}"  # noqa: S608
        " from public.usage_days where day = :day",
    ),
}


def _block_compared(width: int, of: int) -> str:
    return _compared(
        FIGURES,
        f"select concat_ws(' ', :day, user_id) as key, {USER_SUMS} from private.usage_by_user"  # noqa: S608
        f" where days = {of} and starts >= :day and starts < :day + {width} group by user_id",
        f"select concat_ws(' ', starts, user_id) as key, {USER_STORED} from private.usage_by_user"  # noqa: S608
        f" where days = {width} and starts = :day",
    )


async def compare_day(
    session: AsyncSession, table: str, day: date, most: int
) -> Sequence[Difference]:
    """A day's sums in one of OF_A_DAY against the ledger. The statement sees both at one moment."""
    span = Span(day, day)
    values = {"day": day, "start": span.start, "end": span.end}
    names = _DAY_FIGURES if table == "usage_days" else FIGURES
    return await _differences(session, table, names, OF_A_DAY[table], values, most)


async def compare_block(
    session: AsyncSession, width: int, starts: date, most: int
) -> Sequence[Difference]:
    """A block of several days against the narrower blocks that it is made of."""
    narrower = WIDTHS[WIDTHS.index(width) + 1]
    return await _differences(
        session,
        f"usage_by_user of {width} days",
        FIGURES,
        _block_compared(width, narrower),
        {"day": starts},
        most,
    )


def blocks_around(span: Span, width: int) -> Sequence[date]:
    """Where the blocks of a width begin that have any day of the span."""
    low = (span.first - EPOCH).days // width * width
    high = (span.last - EPOCH).days
    return [EPOCH + timedelta(days=day) for day in range(low, high + 1, width)]


async def _differences(
    session: AsyncSession,
    table: str,
    names: Sequence[str],
    query: str,
    values: Mapping[str, object],
    most: int,
) -> Sequence[Difference]:
    rows = await session.execute(text(query), {**values, "most": most})
    found: list[Difference] = []
    for row in rows.mappings():
        ledger, sums = _difference(names, row["ledger"], row["sums"])
        found.append(Difference(table, row["key"], ledger, sums))
    return found


def _difference(
    names: Sequence[str], ledger: Sequence[str] | None, sums: Sequence[str] | None
) -> tuple[str, str]:
    """Only what differs, by name."""
    other = [n for n in range(len(names)) if ledger is None or sums is None or ledger[n] != sums[n]]

    def said(side: Sequence[str] | None) -> str:
        return "no row" if side is None else ", ".join(f"{names[n]} {side[n]}" for n in other)

    return said(ledger), said(sums)

"""The SQL of kill switches, spending caps, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, LiteralString

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from aisaas.billing.notices.alert_delivery_store import CapUse
from aisaas.billing.notices.relations import SPENDING_LINES
from aisaas.billing.reservations.relations import SPEND_DAYS
from aisaas.controls.models import AddedModel, Controls, KillSwitch, ModelOverride, SpendingCap
from aisaas.db.engine import PipelinedQuery, Row


async def engage(
    session: AsyncSession, scope: str, reason: str, *, by: str, stop_running: bool
) -> Literal["engaged", "widened", "as before"]:
    """An engaged switch can be widened to running calls, never narrowed."""
    rows = await session.execute(
        text(
            """
            insert into private.kill_switches as k (scope, reason, engaged_by, stop_running)
            values (:scope, :reason, :by, :stop_running)
            on conflict (scope) do update
              set stop_running = true, reason = excluded.reason, engaged_by = excluded.engaged_by
              where excluded.stop_running and not k.stop_running
            returning xmax = 0 as new
            """
        ),
        {"scope": scope, "reason": reason, "by": by, "stop_running": stop_running},
    )
    new = rows.scalar_one_or_none()
    if new is None:
        return "as before"
    return "engaged" if new else "widened"


async def lift(session: AsyncSession, scope: str) -> bool:
    """True when the switch was engaged."""
    row = await session.execute(
        text("delete from private.kill_switches where scope = :scope returning 1"),
        {"scope": scope},
    )
    return row.first() is not None


async def engaged(session: AsyncSession) -> Sequence[KillSwitch]:
    return (await session.scalars(select(KillSwitch).order_by(col(KillSwitch.scope)))).all()


def engaged_scopes() -> PipelinedQuery[dict[str, bool]]:
    """Scopes, and whether what runs is stopped as well."""
    query: LiteralString = "select scope, stop_running from private.kill_switches"
    return PipelinedQuery(
        ((query, {}),), lambda answers: {row["scope"]: row["stop_running"] for row in answers[0]}
    )


def controls() -> PipelinedQuery[Controls]:
    """What every call obeys."""
    query: LiteralString = """
        select
          coalesce((select array_agg(k.scope) from private.kill_switches k), '{}') as switches,
          coalesce((select max(o.revision) from private.model_overrides o), 0) as models_revision
        """

    def read(answers: Sequence[Sequence[Row]]) -> Controls:
        (row,) = answers[0]
        return Controls(frozenset(row["switches"]), row["models_revision"])

    return PipelinedQuery(((query, {}),), read)


def counts() -> PipelinedQuery[Row]:
    """For monitoring across all users and processes."""
    query: LiteralString = "select count(*) as switches_engaged from private.kill_switches"
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])


# Caps ---------------------------------------------------------------------------------------------


async def spending_caps(session: AsyncSession) -> Sequence[SpendingCap]:
    return (await session.scalars(select(SpendingCap))).all()


async def cap_uses(session: AsyncSession, caps: Mapping[str, Decimal]) -> Sequence[CapUse]:
    """Today's uses, and for a while yesterday's: spending in a day's last moment counts, too."""
    rows = await session.execute(
        text(
            f"""
            select d.day, d.scope, u.cap_usd, d.spent_usd, d.reserved_usd,
              d.refusing, coalesce(max(a.percent), 0) as recorded_percent
            from {SPEND_DAYS} d
              join unnest(cast(:scopes as text[]), cast(:usd as numeric[])) s (scope, usd)
                on s.scope = d.scope
              left join private.spending_caps c on c.scope = d.scope
              cross join lateral (select cast(coalesce(c.usd, s.usd) as numeric(12, 6))) u (cap_usd)
              left join {SPENDING_LINES} a
                on a.day = d.day and a.scope = d.scope and a.cap_usd = u.cap_usd
            where d.day in (
              (now() at time zone 'UTC')::date, ((now() - interval '2 min') at time zone 'UTC')::date
            )
            group by d.day, d.scope, u.cap_usd, d.spent_usd, d.reserved_usd, d.refusing
            """  # noqa: S608  # relations of ours
        ),
        {"scopes": list(caps), "usd": list(caps.values())},
    )
    return [CapUse(**row) for row in rows.mappings()]


async def set_cap(session: AsyncSession, scope: str, usd: Decimal, *, changed_by: str) -> None:
    await session.execute(
        text(
            """
            insert into private.spending_caps (scope, usd, changed_by) values (:scope, :usd, :by)
            on conflict (scope) do update
              set usd = excluded.usd, changed_at = now(), changed_by = excluded.changed_by
            """
        ),
        {"scope": scope, "usd": usd, "by": changed_by},
    )


async def drop_cap(session: AsyncSession, scope: str) -> None:
    await session.execute(
        text("delete from private.spending_caps where scope = :scope"), {"scope": scope}
    )


# Models -------------------------------------------------------------------------------------------


async def model_overrides(session: AsyncSession) -> dict[str, ModelOverride]:
    """By model."""
    rows = await session.scalars(select(ModelOverride))
    return {row.model: row for row in rows}


async def lock_model_overrides(session: AsyncSession) -> None:
    """Block other writers until the transaction ends; reads continue."""
    await session.execute(text("lock table private.model_overrides in share row exclusive mode"))


async def next_model_revision(session: AsyncSession) -> tuple[int, datetime]:
    """The number of a change, and its time."""
    rows = await session.execute(text("select nextval('private.model_revisions'), now()"))
    revision, now = rows.one()
    return revision, now


async def put_model_override(session: AsyncSession, row: ModelOverride) -> None:
    await session.execute(
        text(
            """
            insert into private.model_overrides (model, enabled, plans, weight, input_usd,
              output_usd, cached_input_usd, price_version, price, changed_at, changed_by, revision,
              retired, successor)
            values (:model, :enabled, cast(:plans as text[]), :weight, :input_usd, :output_usd,
              :cached_input_usd, :price_version, :price, :changed_at, :changed_by, :revision,
              :retired, :successor)
            on conflict (model) do update set enabled = excluded.enabled, plans = excluded.plans,
              weight = excluded.weight, input_usd = excluded.input_usd,
              output_usd = excluded.output_usd, cached_input_usd = excluded.cached_input_usd,
              price_version = excluded.price_version, price = excluded.price,
              changed_at = excluded.changed_at,
              changed_by = excluded.changed_by, revision = excluded.revision,
              retired = excluded.retired, successor = excluded.successor
            """
        ),
        row.model_dump() | {"price": None if row.price is None else Jsonb(row.price)},
    )


async def added_models(session: AsyncSession) -> Sequence[AddedModel]:
    """In the order in which they were added."""
    by_time = select(AddedModel).order_by(col(AddedModel.added_at), col(AddedModel.model))
    return (await session.scalars(by_time)).all()


async def put_added_model(session: AsyncSession, row: AddedModel) -> None:
    """Adds a model, or re-adds one that was removed before."""
    await session.execute(
        text(
            """
            insert into private.added_models (model, label, provider, upstream, context_window,
              max_output, plans, fallback, added_at, added_by)
            values (:model, :label, :provider, :upstream, :context_window, :max_output,
              cast(:plans as text[]), :fallback, :added_at, :added_by)
            on conflict (model) do update set label = excluded.label,
              provider = excluded.provider, upstream = excluded.upstream,
              context_window = excluded.context_window, max_output = excluded.max_output,
              plans = excluded.plans, fallback = excluded.fallback, added_at = excluded.added_at,
              added_by = excluded.added_by, removed_at = null
            """
        ),
        row.model_dump(exclude={"removed_at"}),
    )


async def remove_added_model(session: AsyncSession, model: str) -> None:
    await session.execute(
        text("update private.added_models set removed_at = now() where model = :model"),
        {"model": model},
    )

"""All of the admin's SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, LiteralString
from uuid import UUID

from sqlalchemy import text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from aisaas.admin.models import AuditEntry, KillSwitch, ModelOverride, SpendingCap
from aisaas.db.engine import Question


async def engage(
    session: AsyncSession, scope: str, reason: str, *, by: str, stop_running: bool
) -> Literal["engaged", "widened", "as before"]:
    """An engaged switch is widened by what runs, never narrowed."""
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


def engaged_scopes() -> Question[dict[str, bool]]:
    """Scopes, and whether what runs is stopped as well."""
    query: LiteralString = "select scope, stop_running from private.kill_switches"
    return Question(
        ((query, {}),), lambda answers: {row["scope"]: row["stop_running"] for row in answers[0]}
    )


async def audit(
    session: AsyncSession,
    *,
    actor: str,
    action: str,
    subject: str,
    before: object,
    after: object,
    reason: str,
) -> None:
    await session.execute(
        text(
            "insert into public.audit_log (actor, action, subject, before, after, reason)"
            " values (:actor, :action, :subject, cast(:before as jsonb), cast(:after as jsonb),"
            " :reason)"
        ),
        {
            "actor": actor,
            "action": action,
            "subject": subject,
            "before": json.dumps(before),
            "after": json.dumps(after),
            "reason": reason,
        },
    )


async def lock_user(session: AsyncSession, user_id: UUID) -> datetime | None:
    """The database's present, or None without such a user; they are there until the transaction
    ends."""
    rows = await session.execute(
        text("select now() from public.profiles where id = :id for key share"), {"id": user_id}
    )
    return rows.scalar_one_or_none()


async def user_by_email(session: AsyncSession, email: str) -> UUID | None:
    rows = await session.execute(
        text("select id from public.profiles where lower(email) = lower(:email)"), {"email": email}
    )
    return rows.scalar_one_or_none()


async def grant_credits(
    session: AsyncSession,
    user_id: UUID,
    tokens: int,
    *,
    reason: str,
    actor: str,
    expires_at: datetime | None,
) -> UUID:
    rows = await session.execute(
        text(
            "insert into public.credit_grants (user_id, tokens, reason, granted_by, expires_at)"
            " values (:user_id, :tokens, :reason, :actor, :expires_at) returning id"
        ),
        {
            "user_id": user_id,
            "tokens": tokens,
            "reason": reason,
            "actor": actor,
            "expires_at": expires_at,
        },
    )
    return rows.scalar_one()


async def hold_admin(session: AsyncSession, user_id: UUID) -> bool:
    """Whether they are an admin in good standing; they stay one until the transaction ends."""
    rows = await session.execute(
        text(
            "select 1 from public.profiles"
            " where id = :id and role = 'admin' and suspended_at is null for share"
        ),
        {"id": user_id},
    )
    return rows.first() is not None


async def audit_entries(
    session: AsyncSession, *, search: str, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[AuditEntry]:
    """Newest first, those older than `before`."""
    wanted = select(AuditEntry)
    if search:
        pattern = f"%{literally(search)}%"
        people = text(
            "select 'user:' || id from public.profiles where email ilike :pattern"
        ).bindparams(pattern=pattern)
        named = (await session.scalars(people)).all()
        wanted = wanted.where(
            col(AuditEntry.actor).ilike(pattern)
            | col(AuditEntry.action).ilike(pattern)
            | col(AuditEntry.subject).ilike(pattern)
            | col(AuditEntry.reason).ilike(pattern)
            | col(AuditEntry.actor).in_(named)
            | col(AuditEntry.subject).in_(named)
        )
    if before is not None:
        place = tuple_(col(AuditEntry.created_at), col(AuditEntry.id))
        wanted = wanted.where(place < before)
    newest = (col(AuditEntry.created_at).desc(), col(AuditEntry.id).desc())
    return (await session.scalars(wanted.order_by(*newest).limit(limit))).all()


async def names_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """The addresses of those of them that have an account."""
    rows = await session.execute(
        text("select id, email from public.profiles where id = any(:ids)"), {"ids": list(user_ids)}
    )
    return {row[0]: row[1] for row in rows}


def literally(words: str) -> str:
    """For a pattern of `like`: nothing in it is a wildcard."""
    return words.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


# Caps ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpentToday:
    """USD of today (UTC) by the database's clock."""

    scope: str
    spent_usd: Decimal
    reserved_usd: Decimal
    refusing: bool


async def spending_caps(session: AsyncSession) -> Sequence[SpendingCap]:
    return (await session.scalars(select(SpendingCap))).all()


async def spent_today(session: AsyncSession) -> Sequence[SpentToday]:
    rows = await session.execute(
        text(
            "select scope, spent_usd, reserved_usd, refused_at is not null as refusing"
            " from public.spend_days where day = (now() at time zone 'UTC')::date"
        )
    )
    return [SpentToday(**row) for row in rows.mappings()]


async def lock_spend_days(session: AsyncSession) -> None:
    """Today's rows, in the order in which reservations take them, until the transaction ends. A cap
    that is changed has refused nobody yet."""
    for scope in ("free", "total"):
        await session.execute(
            text(
                """
                insert into public.spend_days (day, scope)
                values ((now() at time zone 'UTC')::date, :scope)
                on conflict (day, scope) do update set refused_at = null
                """
            ),
            {"scope": scope},
        )


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
    """Nobody else changes any until the transaction ends; everybody reads."""
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
              output_usd, cached_input_usd, price_version, changed_at, changed_by, revision)
            values (:model, :enabled, cast(:plans as text[]), :weight, :input_usd, :output_usd,
              :cached_input_usd, :price_version, :changed_at, :changed_by, :revision)
            on conflict (model) do update set enabled = excluded.enabled, plans = excluded.plans,
              weight = excluded.weight, input_usd = excluded.input_usd,
              output_usd = excluded.output_usd, cached_input_usd = excluded.cached_input_usd,
              price_version = excluded.price_version, changed_at = excluded.changed_at,
              changed_by = excluded.changed_by, revision = excluded.revision
            """
        ),
        row.model_dump(),
    )

"""All of the admin's SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from aisaas.controls.models import AddedModel, AuditEntry, KillSwitch, ModelOverride, SpendingCap
from aisaas.db.engine import Question

# Accounts whose entries an audit search looks for; beyond that, more of the address has to be typed.
MOST_PEOPLE = 1_000
# Shorter words have no trigram, by which an index could find them in the middle of a text.
SHORTEST_INSIDE = 3


def literally(words: str) -> str:
    """For a pattern of `like`: nothing in it is a wildcard."""
    return words.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def address_has(column: LiteralString) -> LiteralString:
    """A condition: a text has the words of `address_pattern` in it, found by an index."""
    return f"lower({column}) like :words"


def address_pattern(words: str) -> dict[str, object]:
    """The value of `address_has`: anywhere in the text, or at its beginning if it is short."""
    found = literally(words.lower())
    return {"words": f"%{found}%" if len(words) >= SHORTEST_INSIDE else f"{found}%"}


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


_ENTRY = "a.id, a.actor, a.action, a.subject, a.before, a.after, a.reason, a.created_at"
_NEWEST = "order by a.created_at desc, a.id desc limit :limit"
_BEFORE = "(cast(:at as timestamptz) is null or (a.created_at, a.id) < (:at, cast(:id as uuid)))"
# As the index has it; nobody types the separator, so a search stays within one of them.
_WORDS = "(a.actor || chr(10) || a.action || chr(10) || a.subject || chr(10) || a.reason)"
_ALL_ENTRIES = text(f"select {_ENTRY} from public.audit_log a where {_BEFORE} {_NEWEST}")  # noqa: S608  # fragments of this module
# Each way to find entries is answered by an index of its own, and yields no more than a page.
_PEOPLE = f"""
    select p.id from public.profiles p where {address_has("p.email")}
    order by lower(p.email), p.id limit :people
    """  # noqa: S608  # fragments of this module
# One's entries are found first and ordered then: reading all from the newest on, as if some of one's
# had to come soon, takes long where there are none.
_ENTRIES_BY = f"""
    select * from (
      select {_ENTRY} from public.audit_log a where a.{{side}} = people.name and {_BEFORE} offset 0
    ) a {_NEWEST}
    """  # noqa: S608  # fragments of this module
_FOUND_ENTRIES = text(
    f"""
    with people as materialized (select 'user:' || id as name from ({_PEOPLE}) p), found as (
      (select {_ENTRY} from public.audit_log a
        where {_WORDS} ilike :pattern and {_BEFORE} {_NEWEST})
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="actor")}) a
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="subject")}) a
    )
    select * from found a {_NEWEST}
    """  # noqa: S608  # fragments of this module
)
_PEOPLE_COUNTED = text(f"select count(*) from ({_PEOPLE}) p")  # noqa: S608  # a fragment of this module


async def audit_entries(
    session: AsyncSession, *, search: str, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[AuditEntry]:
    """Newest first, those older than `before`. Of the accounts whose address fits, the first
    MOST_PEOPLE are looked for."""
    values: dict[str, object] = {
        "limit": limit,
        "at": before[0] if before else None,
        "id": before[1] if before else None,
    }
    if not search:
        rows = await session.execute(_ALL_ENTRIES, values)
    else:
        values |= {"pattern": f"%{literally(search)}%", "people": MOST_PEOPLE}
        rows = await session.execute(_FOUND_ENTRIES, values | address_pattern(search))
    return [AuditEntry(**row) for row in rows.mappings()]


async def too_many_people(session: AsyncSession, search: str) -> bool:
    """Whether more accounts fit than are looked for."""
    values = address_pattern(search) | {"people": MOST_PEOPLE + 1}
    return int((await session.execute(_PEOPLE_COUNTED, values)).scalar_one()) > MOST_PEOPLE


async def names_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """The addresses of those of them that have an account."""
    rows = await session.execute(
        text("select id, email from public.profiles where id = any(:ids)"), {"ids": list(user_ids)}
    )
    return {row[0]: row[1] for row in rows}


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
    """A model that was removed before is there again."""
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

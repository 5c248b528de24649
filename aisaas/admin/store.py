"""All of the admin's SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from aisaas.admin.models import KillSwitch


async def engage(session: AsyncSession, scope: str, reason: str) -> bool:
    """True when the switch was not engaged before."""
    row = await session.execute(
        text(
            "insert into private.kill_switches (scope, reason) values (:scope, :reason)"
            " on conflict (scope) do nothing returning 1"
        ),
        {"scope": scope, "reason": reason},
    )
    return row.first() is not None


async def lift(session: AsyncSession, scope: str) -> bool:
    """True when the switch was engaged."""
    row = await session.execute(
        text("delete from private.kill_switches where scope = :scope returning 1"),
        {"scope": scope},
    )
    return row.first() is not None


async def engaged(session: AsyncSession) -> Sequence[KillSwitch]:
    return (await session.scalars(select(KillSwitch).order_by(col(KillSwitch.scope)))).all()


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

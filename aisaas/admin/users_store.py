"""The SQL of looking at users and acting on them. All of it runs as the service.

Invariant: no statement here reads `messages.content` or a conversation's title.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import devices
from aisaas.accounts.store import granting, sessions_of
from aisaas.admin.users_models import (
    Credit,
    Done,
    FailedReply,
    Found,
    FoundPage,
    HeldSubscription,
    OwnLimits,
    Refused,
    Role,
    Search,
    SentMail,
    SignedInAt,
    Sort,
    Spent,
    Standing,
    UseOfDay,
)
from aisaas.billing.ledger.usage_models import Span
from aisaas.billing.ledger.usage_reports import blocks, in_blocks
from aisaas.db.search import address_has, address_pattern

PAGE = 25
# Nobody turns so many pages; whoever has more users narrows the search.
MOST_COUNTED = 10_000
DAYS = 30
LINES = 30
# Replies that are looked through for those that failed.
LOOKED_THROUGH = 2_000

_PLAN = "case when p.plan_ends_at <= now() then 'free' else p.plan end"
_ENDED = "p.plan_ends_at <= now()"
_HOLDS = "(p.plan_ends_at is null or p.plan_ends_at > now())"
# What a list is ordered by, where it is the profile's own: with the id, an index's columns.
_OWN: dict[Sort, str] = {"joined": "p.created_at", "email": "lower(p.email)"}
# What they used lately, summed by blocks of days; whoever used nothing comes last.
_USED: dict[Sort, str] = {
    "requests": "sum(requests)",
    "tokens": "sum(quota_tokens)",
    "cost": "sum(cost_micros)",
}
# With or without its dashes.
_ID_START = re.compile(r"[0-9a-f]{4,32}", re.ASCII)


async def find(session: AsyncSession, search: Search) -> FoundPage:
    """A page of those who fit, and how many there are."""
    where, values = _conditions(search)
    total = await _count(session, f"select p.id from public.profiles p where {where}", values)  # noqa: S608  # fragments of this module
    pages = max(-(-total // PAGE), 1)
    page = min(max(search.page, 1), pages)
    ids = await _ranked(session, search, where, values, offset=(page - 1) * PAGE)
    rows = await session.execute(
        text(
            f"""
            select p.id, p.email, p.full_name, p.role, {_PLAN} as plan, p.subscription_status,
              p.suspended_at is not null as suspended, p.created_at,
              (select max(s.last_seen_at) from private.sessions s where s.user_id = p.id)
                as last_seen_at,
              u.requests, u.quota_tokens, u.cost_usd
            from unnest(cast(:ids as uuid[])) with ordinality f (id, place)
            join public.profiles p on p.id = f.id
            cross join lateral (
              select coalesce(sum(d.requests), 0)::bigint as requests,
                coalesce(sum(d.quota_tokens), 0)::bigint as quota_tokens,
                coalesce(sum(d.cost_usd), 0) as cost_usd
              from public.usage_days d
              where d.user_id = p.id and d.day > (now() at time zone 'UTC')::date - :days
            ) u
            order by f.place
            """  # noqa: S608  # fragments of this module
        ),
        {"ids": ids, "days": DAYS},
    )
    return FoundPage([Found(**row) for row in rows.mappings()], page, pages, total)


async def _count(session: AsyncSession, query: str, values: dict[str, Any]) -> int:
    """Up to MOST_COUNTED; in the order of an index, so that it ends there."""
    rows = await session.execute(
        text(f"select count(*) from ({query} order by 1 limit :most) c"),  # noqa: S608  # fragments of this module
        values | {"most": MOST_COUNTED},
    )
    return int(rows.scalar_one())


async def _ranked(
    session: AsyncSession, search: Search, where: str, values: dict[str, Any], *, offset: int
) -> Sequence[UUID]:
    """The ids of a page, in order. Only what is ordered by is looked at for everybody."""
    direction = "desc" if search.down else "asc"
    turn = {"offset": offset, "size": PAGE}
    if (own := _OWN.get(search.sort)) is not None:
        rows = await session.execute(
            text(
                f"select p.id from public.profiles p where {where}"  # noqa: S608  # fragments of this module
                f" order by {own} {direction}, p.id {direction} offset :offset limit :size"
            ),
            values | turn,
        )
        return rows.scalars().all()
    if search.sort == "plan":
        # Those whose plan has ended are on the free one; the others are in an index's order.
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
            values | turn,
        )
        return rows.scalars().all()
    by, ranking = await _ranking(session, search, where, direction)
    rows = await session.execute(
        text(
            f"""
            select p.id from {ranking} r
            -- One after the other, until the page is full.
            cross join lateral (
              select p.id from public.profiles p where p.id = r.user_id and {where} offset 0
            ) p
            order by r.amount {direction}, r.user_id {direction} offset :offset limit :size
            """  # noqa: S608
        ),
        values | by | turn,
    )
    ids = list(rows.scalars())
    if len(ids) < PAGE:
        ids += await _unranked(session, ranking, where, values | by, offset=offset, before=len(ids))
    return ids


async def _ranking(
    session: AsyncSession, search: Search, where: str, direction: str
) -> tuple[dict[str, Any], str]:
    """Values, and a table of `user_id` and `amount`; whoever isn't in it has none."""
    if search.sort == "seen":
        # In an index's order, of each user the newest alone: what a page needs ends the reading.
        return (
            {},
            """(
          select s.user_id, s.last_seen_at as amount from private.sessions s
          where not exists (
            select from private.sessions n where n.user_id = s.user_id
              and (n.last_seen_at, n.id) > (s.last_seen_at, s.id) offset 0
          )
        )""",
        )
    today = (await session.execute(text("select (now() at time zone 'UTC')::date"))).scalar_one()
    condition, values = in_blocks(blocks(Span(today - timedelta(days=DAYS - 1), today)))
    if search.text.strip():
        # A search finds few, so that only those are summed.
        condition += f" and user_id in (select p.id from public.profiles p where {where})"  # noqa: S608
    return values, (
        f"(select user_id, {_USED[search.sort]} as amount from private.usage_by_user"  # noqa: S608
        f" where {condition} group by user_id order by 2 {direction}, 1 {direction})"
    )


async def _unranked(
    session: AsyncSession,
    ranking: str,
    where: str,
    values: dict[str, Any],
    *,
    offset: int,
    before: int,
) -> Sequence[UUID]:
    """Those without an amount, by id: what is left of a page whose first `before` have one."""
    joined = (
        f"select p.id from {ranking} r join public.profiles p on p.id = r.user_id where {where}"  # noqa: S608
    )
    counted = offset + before
    if before == 0 and offset > 0:
        counted = await _count(session, joined, values)
    rows = await session.execute(
        text(
            f"select p.id from public.profiles p where {where}"  # noqa: S608
            f" and not exists (select from {ranking} r where r.user_id = p.id)"
            " order by p.id offset :offset limit :size"
        ),
        values | {"offset": max(offset - counted, 0), "size": PAGE - before},
    )
    return rows.scalars().all()


def _conditions(search: Search) -> tuple[str, dict[str, Any]]:
    """Fragments that are written here, and the values they name."""
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
    return " and ".join(fragments) or "true", values


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


async def standing(session: AsyncSession, user_id: UUID) -> Standing | None:
    rows = await session.execute(text(f"{_STANDING} where p.id = :id"), {"id": user_id})
    found = rows.mappings().one_or_none()
    return _standing(found) if found else None


async def admins(session: AsyncSession) -> Sequence[Standing]:
    """Those who have the role, suspended ones too, in the order of their addresses."""
    rows = await session.execute(
        text(f"{_STANDING} where p.role = 'admin' order by lower(p.email), p.id")
    )
    return [_standing(row) for row in rows.mappings()]


def _standing(found: RowMapping) -> Standing:
    row: dict[str, Any] = dict(found)
    return Standing(subscription=granting(row), **row)


async def days(session: AsyncSession, user_id: UUID) -> tuple[date, Sequence[UseOfDay]]:
    """The database's today, and the last DAYS days on which something was used."""
    today = (await session.execute(text("select (now() at time zone 'UTC')::date"))).scalar_one()
    rows = await session.execute(
        text(
            """
            select day, sum(requests)::bigint as requests,
              sum(prompt_tokens)::bigint as prompt_tokens,
              sum(completion_tokens)::bigint as completion_tokens,
              sum(quota_tokens)::bigint as quota_tokens, sum(cost_usd) as cost_usd
            from public.usage_days
            where user_id = :id and day > cast(:today as date) - :days
            group by day order by day desc
            """
        ),
        {"id": user_id, "today": today, "days": DAYS},
    )
    return today, [UseOfDay(**row) for row in rows.mappings()]


async def spent(session: AsyncSession, user_id: UUID, period_key: str) -> Spent:
    rows = await session.execute(
        text(
            """
            select coalesce(sum(cost_usd) filter (where period_key = :key), 0) as period_usd,
              coalesce(sum(cost_usd), 0) as ever_usd,
              coalesce(sum(requests), 0)::bigint as ever_requests
            from public.usage_days where user_id = :id
            """
        ),
        {"id": user_id, "key": period_key},
    )
    return Spent(**rows.mappings().one())


async def refused(session: AsyncSession, user_id: UUID) -> Sequence[Refused]:
    rows = await session.execute(
        text(
            """
            select code, minute, times, model from public.refusals
            where user_id = :id and minute > now() - make_interval(days => :days)
            order by minute desc, code limit :lines
            """
        ),
        {"id": user_id, "days": DAYS, "lines": LINES},
    )
    return [Refused(**row) for row in rows.mappings()]


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


async def subscriptions(session: AsyncSession, user_id: UUID) -> Sequence[HeldSubscription]:
    rows = await session.execute(
        text(
            """
            select id, stripe_customer_id as customer_id, status, plan,
              current_period_start as period_start, current_period_end as period_end, cancel_at,
              trial_end, created_at, coalesce((
                select sum(w.usd) from private.write_offs w
                where w.user_id = s.user_id and w.subscription_id = s.id
              ), 0) as written_off_usd
            from public.subscriptions s where user_id = :id order by created_at desc, id limit :lines
            """
        ),
        {"id": user_id, "lines": LINES},
    )
    return [HeldSubscription(**row) for row in rows.mappings()]


async def failed_replies(session: AsyncSession, user_id: UUID) -> Sequence[FailedReply]:
    """By way of their reservations: those are indexed by user, and messages only by conversation."""
    rows = await session.execute(
        text(
            """
            with latest as (
              select message_id, model from public.reservations
              where user_id = :id and purpose = 'reply' and message_id is not null
                and created_at > now() - make_interval(days => :days)
              order by created_at desc limit :through
            )
            select m.id as message_id, m.conversation_id, coalesce(m.model, l.model) as model,
              m.answered_by, m.status, m.error_code as code, m.created_at as at
            from latest l join public.messages m on m.id = l.message_id
            where m.status in ('failed', 'interrupted') or m.error_code is not null
            order by m.created_at desc limit :lines
            """
        ),
        {"id": user_id, "days": DAYS, "through": LOOKED_THROUGH, "lines": LINES},
    )
    return [FailedReply(**row) for row in rows.mappings()]


async def credits_of(session: AsyncSession, user_id: UUID) -> Sequence[Credit]:
    rows = await session.execute(
        text(
            """
            select id, tokens, spent, reason, granted_by, expires_at, created_at,
              spent >= tokens or coalesce(expires_at <= now(), false) as over
            from public.credit_grants where user_id = :id order by created_at desc, id limit :lines
            """
        ),
        {"id": user_id, "lines": LINES},
    )
    return [Credit(**row) for row in rows.mappings()]


# What somebody gets as an admin isn't about them.
_THEIR_OWN = "user_id = :id and left(key, 6) <> 'admin:'"


async def mails(session: AsyncSession, user_id: UUID) -> Sequence[SentMail]:
    rows = await session.execute(
        text(
            f"""
            select id, kind, state, attempts, last_error, created_at, sent_at
            from public.billing_notices where {_THEIR_OWN}
            order by created_at desc, id limit :lines
            """  # noqa: S608  # a fragment of this module
        ),
        {"id": user_id, "lines": LINES},
    )
    return [SentMail(**row) for row in rows.mappings()]


async def done(session: AsyncSession, user_id: UUID) -> Sequence[Done]:
    rows = await session.execute(
        text(
            """
            select a.id, a.actor, a.action, a.before, a.after, a.reason, a.created_at as at,
              (
                select p.email from public.profiles p
                where p.id = case when a.actor ~ '^user:[0-9a-f-]{36}$'
                  then cast(substr(a.actor, 6) as uuid) end
              ) as actor_email
            from public.audit_log a
            where a.subject = :subject order by a.created_at desc, a.id limit :lines
            """
        ),
        {"subject": subject_of(user_id), "lines": LINES},
    )
    return [Done(**row) for row in rows.mappings()]


def subject_of(user_id: UUID) -> str:
    """How the audit log calls a user something is done to."""
    return f"user:{user_id}"


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
    """Always in one order: two admins who act on each other wait instead of failing."""
    await session.execute(
        text("select id from public.profiles where id = any(:ids) order by id for no key update"),
        {"ids": list(user_ids)},
    )


async def lock_roles(session: AsyncSession) -> None:
    """Whoever changes who is an admin does it alone, until the transaction ends."""
    await session.execute(text("select pg_advisory_xact_lock(hashtext('aisaas.roles'))"))


async def other_admins(session: AsyncSession, user_id: UUID) -> int:
    """How many admins there are besides, who can act."""
    rows = await session.execute(
        text(
            "select count(*) from public.profiles"
            " where role = 'admin' and suspended_at is null and id <> :id"
        ),
        {"id": user_id},
    )
    return int(rows.scalar_one())


async def mail_again(session: AsyncSession, user_id: UUID, notice_id: UUID) -> SentMail | None:
    """Write down that a mail shall go out once more; the new one, or None without an old one.

    It is a notice of its own, so what became of the first stays, and mail programs don't take it
    for the same mail.
    """
    rows = await session.execute(
        text(
            f"""
            insert into public.billing_notices (user_id, kind, key, values)
            select user_id, kind, :key, values from public.billing_notices
            where id = :notice and {_THEIR_OWN}
            returning id, kind, state, attempts, last_error, created_at, sent_at
            """  # noqa: S608  # a fragment of this module
        ),
        {"id": user_id, "notice": notice_id, "key": f"again:{notice_id}:{uuid4()}"},
    )
    found = rows.mappings().one_or_none()
    return SentMail(**found) if found else None


async def state_of_mail(session: AsyncSession, user_id: UUID, notice_id: UUID) -> str | None:
    rows = await session.execute(
        text(f"select state from public.billing_notices where id = :notice and {_THEIR_OWN}"),  # noqa: S608  # a fragment of this module
        {"id": user_id, "notice": notice_id},
    )
    return rows.scalar_one_or_none()

"""Crossing 80, 90 and 100 % of what is included, or of the cap, is noted once in a period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from aisaas.billing.reservations.models import ReservationRequest
from aisaas.billing.reservations.quota import book
from aisaas.billing.reservations.usage_alerts import crossed
from aisaas.errors import QuotaExceeded
from aisaas.wiring import Services
from tests.billing.conftest import Billing, Sql, charge, claim
from tests.services import new_principal


@pytest.mark.parametrize(
    ("before", "after", "limit", "percent"),
    [
        (0, 79, 100, None),
        (79, 80, 100, 80),
        (80, 89, 100, None),
        (0, 95, 100, 90),
        (99, 100, 100, 100),
        (100, 400, 100, None),
        (0, 8, 9, 80),
        (7, 7, 9, None),
        # Of nothing there is no part.
        (0, 5, 0, None),
    ],
)
def test_highest_line_that_was_crossed_is_reported(
    before: int, after: int, limit: int, percent: int | None
) -> None:
    assert crossed(before, after, limit) == percent


@pytest.fixture
async def member(services: Services) -> UUID:
    return (await new_principal(services)).user_id


async def _use(billing: Billing, of: ReservationRequest, tokens: int) -> None:
    held = replace(of, request_id=uuid4(), max_tokens=tokens, min_tokens=tokens)
    await billing.quota().reserve(held)
    async with billing.service.transaction() as session:
        await book(session, charge(held, tokens))


def _noted(sql: Sql, user_id: UUID) -> Sequence[object]:
    rows = sql(
        "select kind from billing_notices where user_id = %s order by created_at, kind", user_id
    )
    return [kind for (kind,) in rows]


async def test_each_line_is_reported_once_in_a_period(
    billing: Billing, sql: Sql, member: UUID
) -> None:
    mine = claim(member, prompt=0, limit=100, overage=50, free=False)
    for tokens in (79, 1, 5, 6, 9, 39, 1, 10):
        await _use(billing, mine, tokens)
    # 100 are included and 50 more are paid for: 140 is 80 % of those.
    assert _noted(sql, member) == [
        "allowance_80",
        "allowance_90",
        "allowance_100",
        "cap_80",
        "cap_100",
    ]


async def test_one_long_reply_tells_of_the_allowance_and_of_the_cap(
    billing: Billing, sql: Sql, member: UUID
) -> None:
    await _use(billing, claim(member, prompt=0, limit=100, overage=50, free=False), 146)
    assert _noted(sql, member) == ["allowance_100", "cap_90"]
    ((values,),) = sql(
        "select values from billing_notices where kind = 'cap_90' and user_id = %s", member
    )
    assert isinstance(values, dict)
    reported = {name: values[name] for name in ("plan", "used", "included", "beyond", "overage")}
    assert reported == {"plan": "pro", "used": 146, "included": 100, "beyond": 46, "overage": 50}


async def test_credits_are_no_part_of_the_cap(billing: Billing, sql: Sql, member: UUID) -> None:
    sql(
        "insert into credit_grants (user_id, tokens, reason, granted_by) values (%s, 60, 'sorry', 'me')",
        member,
    )
    await _use(billing, claim(member, prompt=0, limit=100, overage=50, free=False), 195)
    assert _noted(sql, member) == ["allowance_100"]
    await _use(billing, claim(member, prompt=0, limit=100, overage=50, free=False), 6)
    assert _noted(sql, member) == ["allowance_100", "cap_80"]


async def test_alert_that_was_rolled_back_is_reported_by_the_next_reply(
    billing: Billing, sql: Sql, member: UUID
) -> None:
    mine = claim(member, prompt=0, max_tokens=85, limit=100)
    await billing.quota().reserve(mine)
    async with billing.service.transaction() as session:
        await book(session, charge(mine, 85))
        await session.rollback()
    assert _noted(sql, member) == []
    async with billing.service.transaction() as session:
        await book(session, charge(mine, 85))
    assert _noted(sql, member) == ["allowance_80"]


async def test_account_that_is_gone_settles_without_an_alert(
    billing: Billing, sql: Sql, member: UUID
) -> None:
    mine = claim(member, prompt=0, max_tokens=100, limit=100)
    await billing.quota().reserve(mine)
    sql("delete from auth.users where id = %s", member)
    async with billing.service.transaction() as session:
        assert await book(session, charge(mine, 100)) is not None
    assert _noted(sql, member) == []
    with pytest.raises(QuotaExceeded):
        await _use(billing, claim(member, prompt=0, limit=100), 1)

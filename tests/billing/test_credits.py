"""Credits that an admin gives: audited, with a reason, and part of the allowance at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from aisaas.errors import NotFound
from aisaas.wiring import Services
from tests.services import Database, new_principal


async def test_grant_counts_at_once_and_says_who_gave_it_and_why(
    services: Services, database: Database
) -> None:
    ada = await new_principal(services)
    before = await services.quota.allowance(ada.billing)
    end = datetime.now(UTC) + timedelta(days=30)
    grant = await services.credits.grant(
        ada.user_id, 5_000, actor="admin:eve", reason=" an outage ", expires_at=end
    )
    after = await services.quota.allowance(ada.billing)
    assert (after.credits, after.left) == (5_000, before.left + 5_000)
    assert database(
        "select id, tokens, spent, reason, granted_by, expires_at from credit_grants"
        " where user_id = %s",
        ada.user_id,
    ) == [(grant, 5_000, 0, "an outage", "admin:eve", end)]
    ((actor, action, noted, reason),) = database(
        "select actor, action, after, reason from audit_log"
        " where subject = %s and action = 'credits.grant'",
        f"user:{ada.user_id}",
    )
    assert (actor, action, reason) == ("admin:eve", "credits.grant", "an outage")
    assert noted == {"grant": str(grant), "tokens": 5_000, "expires_at": end.isoformat()}


@pytest.mark.parametrize(
    ("tokens", "reason", "end", "complaint"),
    [
        (0, "why not", None, "from 1 to"),
        (-5, "why not", None, "from 1 to"),
        (10**12, "why not", None, "from 1 to"),
        (10, "  ", None, "needs a reason"),
        (10, "late", datetime(2020, 1, 1, tzinfo=UTC), "in the past"),
        (10, "where", datetime(2099, 1, 1), "time zone"),  # noqa: DTZ001
    ],
)
async def test_grant_that_makes_no_sense_leaves_nothing(
    services: Services,
    database: Database,
    tokens: int,
    reason: str,
    end: datetime | None,
    complaint: str,
) -> None:
    ada = await new_principal(services)
    with pytest.raises(ValueError, match=complaint):
        await services.credits.grant(
            ada.user_id, tokens, actor="tests", reason=reason, expires_at=end
        )
    assert database("select 1 from credit_grants where user_id = %s", ada.user_id) == []
    assert (
        database(
            "select 1 from audit_log where subject = %s and action = 'credits.grant'",
            f"user:{ada.user_id}",
        )
        == []
    )


async def test_nobody_gets_credits_who_is_not_there(services: Services) -> None:
    with pytest.raises(NotFound):
        await services.credits.grant(uuid4(), 10, actor="tests", reason="a slip")
    with pytest.raises(NotFound):
        await services.credits.user_by_email("nobody@example.com")


async def test_account_is_found_by_its_address_in_any_case(services: Services) -> None:
    ada = await new_principal(services)
    assert await services.credits.user_by_email(ada.email.upper()) == ada.user_id

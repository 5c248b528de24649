"""Stripe's events as admins see them, and failed ones replayed, once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from aisaas.admin.webhooks import PAGE_ENTRIES
from aisaas.billing.ports import EXTRA_USAGE_METER
from aisaas.errors import ActionInvalid, NotFound, Unavailable
from aisaas.wiring import Services
from tests.metering.provider import Provider, Sql
from tests.services import Member, new_principal

WHY = "the database was away"
DISPUTE = "charge.dispute.created"


@pytest.fixture
async def event(provider: Provider) -> str:
    """Of an event that the provider has sent, and that failed here."""
    customer = await provider.customer()
    ((event_id,),) = provider.books(
        "select id from objects where kind = 'event' and body like ?", f'%"{customer}"%'
    )
    fail(provider.sql, event_id)
    return event_id


def fail(sql: Sql, event_id: str, kind: str = "customer.created") -> None:
    sql(
        "insert into webhook_failures (event_id, type, attempts, last_error)"
        " values (%s, %s, 3, 'database')",
        event_id,
        kind,
    )


def audited(sql: Sql, event_id: str) -> list[tuple[object, ...]]:
    return sql(
        "select actor, action, reason from audit_log where subject = %s", f"event:{event_id}"
    )


async def test_failed_event_is_handled_anew_once(
    services: Services, admin: Member, event: str, sql: Sql
) -> None:
    webhooks = services.money.webhooks
    (shown,) = (await webhooks.page(admin.principal, failed=True, search=event)).found
    assert (shown.status, shown.failures, shown.error) == ("failed", 3, "database")
    outcomes = await asyncio.gather(
        webhooks.replay(admin.principal, event, reason=WHY),
        webhooks.replay("operator:tests", event, reason=WHY),
        return_exceptions=True,
    )
    assert sorted(str(type(outcome).__name__) for outcome in outcomes) == ["ActionInvalid", "str"]
    assert len(audited(sql, event)) == 1
    (shown,) = (await webhooks.page(admin.principal, search=event)).found
    # The failure is still shown.
    assert (shown.status, shown.failures, shown.error) == ("ignored", 3, "database")
    assert not (await webhooks.page(admin.principal, failed=True, search=event)).found


async def test_problem_of_the_meter_is_fetched_anew(
    services: Services, provider: Provider, admin: Member
) -> None:
    meter_error = {"event_name": EXTRA_USAGE_METER, "identifiers": [uuid4().hex]}
    (await provider.control.post("/meter-errors", json=meter_error)).raise_for_status()
    rows = provider.books("select id from objects where kind = 'v2.core.event'")
    event_id = rows[-1][0]
    fail(provider.sql, event_id, "v1.billing.meter.error_report_triggered")
    assert await services.money.webhooks.replay(admin.principal, event_id, reason=WHY) == "done"
    assert provider.sql(
        "select user_id from billing_notices where key = %s", f"meter_problem:{event_id}"
    ) == [(None,)]


async def test_while_the_provider_is_away_the_failure_stays(
    services: Services, provider: Provider, admin: Member, event: str
) -> None:
    await provider.fault("server_error", "*", times=None)
    with pytest.raises(Unavailable):
        await services.money.webhooks.replay(admin.principal, event, reason=WHY)
    assert (await services.money.webhooks.page(admin.principal, failed=True, search=event)).found
    assert not audited(provider.sql, event)


async def test_event_that_the_provider_does_not_show_is_reported(
    services: Services, admin: Member, sql: Sql
) -> None:
    gone = f"evt_{uuid4().hex}"
    fail(sql, gone)
    with pytest.raises(ActionInvalid, match="30 days"):
        await services.money.webhooks.replay(admin.principal, gone, reason=WHY)


async def test_pages_show_failed_and_handled_events_once_in_order(
    services: Services, admin: Member, sql: Sql
) -> None:
    mark = f"tests.{uuid4().hex}"
    sql(
        "insert into processed_webhook_events (id, type)"
        " select 'evt_' || gen_random_uuid(), %s from generate_series(1, %s)",
        mark,
        PAGE_ENTRIES,
    )
    for _ in range(3):
        fail(sql, f"evt_{uuid4().hex}", mark)
    webhooks = services.money.webhooks
    first = await webhooks.page(admin.principal, search=mark)
    second = await webhooks.page(admin.principal, search=mark, before=first.end)
    assert (first.older, second.older) == (True, False)
    assert len({entry.id for entry in (*first.found, *second.found)}) == PAGE_ENTRIES + 3
    assert {entry.status for entry in first.found} == {"failed", "done"}
    health = await webhooks.health(admin.principal)
    assert health.failed >= 3
    assert health.handled_lately >= PAGE_ENTRIES


async def test_only_admins_with_a_reason_replay(
    services: Services, admin: Member, event: str, sql: Sql
) -> None:
    webhooks, someone = services.money.webhooks, await new_principal(services)
    with pytest.raises(NotFound):
        await webhooks.page(someone)
    with pytest.raises(NotFound):
        await webhooks.health(someone)
    with pytest.raises(ActionInvalid):
        await webhooks.replay(admin.principal, event, reason=" ")
    sql("update profiles set role = 'user' where id = %s", admin.principal.user_id)
    with pytest.raises(NotFound):
        await webhooks.replay(admin.principal, event, reason=WHY)
    assert not audited(sql, event)
    # A replay that isn't allowed is no failure of the event.
    assert sql("select attempts from webhook_failures where event_id = %s", event) == [(3,)]

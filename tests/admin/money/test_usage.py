"""Rows that are stuck on their way to the meter: shown, resent, and resolved once, with an audit line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from aisaas.admin.outbox import PAGE_ENTRIES, Resent
from aisaas.billing.metering.outbox import Outbox
from aisaas.errors import ActionInvalid, NotFound, Unavailable
from aisaas.wiring import Services
from tests.metering.provider import READ, Provider, Sql
from tests.services import Member, new_principal

WHY = "the meter was mended"
DAY = 86_400


def noon(days_ago: int) -> float:
    """Seconds since noon (UTC) of a day."""
    now = datetime.now(UTC)
    then = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    return (now - then).total_seconds()


def kill(provider: Provider, identifier: str, attempts: int = 1) -> UUID:
    """The meter refused it."""
    ((row,),) = provider.sql(
        "update usage_outbox set state = 'dead', last_error = 'archived: no meter', attempts = %s,"
        " first_sent_at = now() - interval '1 hour', failures = 1 where identifier = %s returning id",
        attempts,
        identifier,
    )
    return UUID(str(row))


def park(provider: Provider, identifier: str) -> UUID:
    """Its sender never recorded the outcome, a day ago."""
    ((row,),) = provider.sql(
        "update usage_outbox set state = 'parked', sent_at = null, attempts = 3,"
        " first_sent_at = now() - interval '24 hours' where identifier = %s returning id",
        identifier,
    )
    return UUID(str(row))


def settle(provider: Provider, customer: str) -> None:
    """The meter has had time to show what was sent."""
    provider.sql(
        "update usage_outbox set sent_at = now() - interval '2 hours'"
        " where stripe_customer_id = %s and state = 'sent'",
        customer,
    )


def audited(sql: Sql, row: UUID) -> list[tuple[object, ...]]:
    return sql(
        "select actor, action, before ->> 'state', after ->> 'state', reason from audit_log"
        " where subject = %s order by created_at",
        f"usage:{row}",
    )


async def test_it_says_how_far_behind_usage_is(
    services: Services, provider: Provider, admin: Member
) -> None:
    before = await services.money.usage.health(admin.principal)
    customer = await provider.customer()
    dead, parked, _ = provider.seed(customer, [1, 2, 3], age_seconds=7200)
    kill(provider, dead)
    park(provider, parked)
    health = await services.money.usage.health(admin.principal)
    assert (health.pending, health.parked) == (before.pending + 1, before.parked + 1)
    assert (health.dead, health.waived) == (before.dead + 1, before.waived)
    assert health.oldest_seconds == pytest.approx(7200, abs=60)
    assert health.rest_seconds == 0


async def test_pages_show_each_row_once_and_a_search_finds_whose_it_is(
    services: Services, provider: Provider, admin: Member
) -> None:
    customer = await provider.customer()
    # At one instant, so that only their ids keep them apart.
    identifiers = provider.seed(customer, [7] * (PAGE_ENTRIES + 3))
    for identifier in identifiers:
        kill(provider, identifier)
    first = await services.money.usage.page(admin.principal, ["dead"], search=customer)
    second = await services.money.usage.page(
        admin.principal, ["dead"], search=customer, before=first.end
    )
    assert (first.older, second.older) == (True, False)
    shown = [row.identifier for row in (*first.found, *second.found)]
    assert sorted(shown) == sorted(identifiers)
    (one,) = (await services.money.usage.page(admin.principal, search=identifiers[0])).found
    assert (one.customer, one.tokens, one.state, one.final) == (customer, 7, "dead", False)
    assert one.last_error == "archived: no meter"
    none = await services.money.usage.page(admin.principal, ["parked"], search=customer)
    assert not none.found


async def test_dead_letter_is_sent_again_and_counts_once(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    (identifier,) = provider.seed(customer, [40])
    row = kill(provider, identifier)
    assert await services.money.usage.resend(admin.principal, [row], reason=WHY) == Resent(1, 0)
    await provider.drain([outbox], [customer])
    assert await provider.meter([customer]) == 40
    name = f"user:{admin.principal.user_id}"
    assert audited(provider.sql, row) == [(name, "usage.resend", "dead", "pending", WHY)]


async def test_dead_letter_that_may_have_arrived_before_it_was_refused_is_parked_first(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    (identifier,) = provider.seed(customer, [40])
    row = kill(provider, identifier, attempts=2)
    provider.age(identifier, "first_sent_at", 24)
    await services.money.usage.resend(admin.principal, [row], reason=WHY)
    await outbox.deliver_due()
    assert provider.states([customer]) == {"parked": 1}


async def test_parked_row_that_the_meter_has_is_not_sent_again(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    _, parked = provider.seed(customer, [10, 20], age_seconds=noon(3))
    await provider.drain([outbox], [customer])
    settle(provider, customer)
    row = park(provider, parked)
    provider.forget()
    assert await services.money.usage.resend(admin.principal, [row], reason=WHY) == Resent(0, 1)
    await outbox.deliver_due()
    assert await provider.meter([customer]) == 30


async def test_parked_row_that_the_meter_lacks_goes_out_again(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    (parked,) = provider.seed(customer, [20], age_seconds=noon(3))
    row = park(provider, parked)
    assert await services.money.usage.resend(admin.principal, [row], reason=WHY) == Resent(1, 0)
    await provider.drain([outbox], [customer])
    assert await provider.meter([customer]) == 20


async def test_where_the_sums_do_not_tell_an_admin_decides(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    first, second = provider.seed(customer, [10, 20], age_seconds=noon(3))
    # The meter has one of the two.
    await provider.drain([outbox], [customer])
    provider.books("delete from meter_events where identifier = ?", first)
    rows = park(provider, first), park(provider, second)
    usage = services.money.usage
    assert await usage.resolve(admin.principal, [rows[1]], "counted", reason=WHY) == 1
    settle(provider, customer)
    assert await usage.resend(admin.principal, [rows[0]], reason=WHY) == Resent(1, 0)
    await provider.drain([outbox], [customer])
    assert provider.states([customer]) == {"sent": 2}
    assert await provider.meter([customer]) == 30
    name = f"user:{admin.principal.user_id}"
    assert audited(provider.sql, rows[1]) == [(name, "usage.resolve", "parked", "sent", WHY)]


async def test_parked_rows_stay_while_others_of_the_day_are_on_their_way(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    parked, _ = provider.seed(customer, [10, 20], age_seconds=noon(3))
    row = park(provider, parked)
    await outbox.deliver_due()
    with pytest.raises(ActionInvalid):
        await services.money.usage.resend(admin.principal, [row], reason=WHY)
    assert provider.states([customer]) == {"parked": 1, "sent": 1}
    assert not audited(provider.sql, row)


async def test_parked_rows_stay_while_the_provider_is_away(
    services: Services, provider: Provider, admin: Member
) -> None:
    customer = await provider.customer()
    (parked,) = provider.seed(customer, [10], age_seconds=noon(3))
    row = park(provider, parked)
    await provider.fault("server_error", READ, times=None)
    with pytest.raises(Unavailable):
        await services.money.usage.resend(admin.principal, [row], reason=WHY)
    assert provider.states([customer]) == {"parked": 1}


async def test_what_the_meter_takes_no_more_is_not_sent_but_can_be_waived(
    services: Services, provider: Provider, admin: Member
) -> None:
    customer = await provider.customer()
    old, gone = provider.seed(customer, [10, 20])
    rows = [kill(provider, old), kill(provider, gone)]
    provider.age(old, "event_at", 36 * 24)
    provider.sql("update usage_outbox set last_error = 'customer_deleted' where id = %s", rows[1])
    usage = services.money.usage
    assert all(row.final for row in (await usage.page(admin.principal, search=customer)).found)
    with pytest.raises(ActionInvalid):
        await usage.resend(admin.principal, rows, reason=WHY)
    # A dead row was refused: nobody can say that it was counted.
    with pytest.raises(ActionInvalid):
        await usage.resolve(admin.principal, rows, "counted", reason=WHY)
    assert await usage.resolve(admin.principal, rows, "waived", reason=WHY) == 2
    assert provider.states([customer]) == {"waived": 2}


async def test_what_is_waived_is_missing_nowhere(
    services: Services, provider: Provider, outbox: Outbox, admin: Member
) -> None:
    customer = await provider.customer()
    _, bad = provider.seed(customer, [10, 20], age_seconds=noon(3))
    row = kill(provider, bad)
    await provider.drain([outbox], [customer])
    settle(provider, customer)
    assert services.metering is not None
    reconciliation = services.metering.reconciliation
    await reconciliation.run_once()
    drifts = "select drift, next_check_at is null from meter_reconciliations where stripe_customer_id = %s"
    assert provider.sql(drifts, customer) == [(-20, False)]
    await services.money.usage.resolve(admin.principal, [row], "waived", reason=WHY)
    # It is compared again at once.
    await reconciliation.run_once()
    assert provider.sql(drifts, customer) == [(0, True)]


async def test_two_admins_at_once_decide_once(
    services: Services, provider: Provider, admin: Member
) -> None:
    customer = await provider.customer()
    (bad,) = provider.seed(customer, [10])
    row, usage = kill(provider, bad), services.money.usage
    outcomes = await asyncio.gather(
        usage.resend(admin.principal, [row], reason=WHY),
        usage.resolve("operator:tests", [row], "waived", reason="lost"),
        usage.resend("operator:tests", [row], reason="again"),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, ActionInvalid) for outcome in outcomes) == 2
    assert len(audited(provider.sql, row)) == 1


async def test_only_admins_with_a_reason_act(
    services: Services, provider: Provider, sql: Sql, admin: Member
) -> None:
    customer = await provider.customer()
    (bad,) = provider.seed(customer, [10])
    row, usage = kill(provider, bad), services.money.usage
    someone = await new_principal(services)
    with pytest.raises(NotFound):
        await usage.health(someone)
    with pytest.raises(NotFound):
        await usage.page(someone)
    with pytest.raises(NotFound):
        await usage.resolve(someone, [row], "waived", reason=WHY)
    with pytest.raises(ActionInvalid):
        await usage.resend(admin.principal, [row], reason="  ")
    with pytest.raises(ActionInvalid):
        await usage.resend(admin.principal, [uuid4()], reason=WHY)
    sql("update profiles set role = 'user' where id = %s", admin.principal.user_id)
    with pytest.raises(NotFound):
        await usage.resend(admin.principal, [row], reason=WHY)
    assert provider.states([customer]) == {"dead": 1}

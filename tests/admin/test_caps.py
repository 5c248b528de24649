"""The day's caps, changed while calls go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from decimal import Decimal
from uuid import uuid4

import pytest

from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.reservations.models import ReservationRequest
from aisaas.billing.reservations.quota import book
from aisaas.callers import Caller
from aisaas.controls.spending_caps import CapScope, CapToday
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, NotFound, SpendingPaused
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.billing.conftest import charge, claim, model
from tests.services import Database, new_principal

OPERATOR = "operator:tests"


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """Caps are everybody's."""
    yield
    database("delete from private.spending_caps where scope in ('free', 'total')")


async def _cap(services: Services, scope: CapScope) -> CapToday:
    return next(cap for cap in await services.caps.of_operator() if cap.scope == scope)


async def _outcome(services: Services, wanted: ReservationRequest) -> str:
    try:
        await services.quota.reserve(wanted)
    except SpendingPaused:
        return "refused"
    return "held"


def _half_a_dollar(*, free: bool = True) -> ReservationRequest:
    return claim(uuid4(), free=free, of=model(usd="1000"))


@pytest.mark.parametrize("scope", ["free", "total"])
async def test_cap_that_is_lowered_holds_for_the_next_call_and_the_settings_come_back(
    services: Services, scope: CapScope
) -> None:
    before = await _cap(services, scope)
    assert (before.usd, before.changed_by) == (Decimal(1000), None)
    now = before.spent_usd + before.reserved_usd
    assert await services.caps.set(scope, now + 1, actor=OPERATOR, reason="a quiet day")
    claims = [_half_a_dollar() for _ in range(3)]
    outcomes = [await _outcome(services, each) for each in claims]
    assert outcomes == ["held", "held", "refused"]
    found = await _cap(services, scope)
    assert (found.usd, found.changed_by, found.refusing) == (now + 1, OPERATOR, True)
    assert found.left_usd == 0
    assert await services.caps.set(scope, None, actor=OPERATOR, reason="as it was")
    last = _half_a_dollar()
    assert await _outcome(services, last) == "held"
    assert (await _cap(services, scope)).usd == Decimal(1000)
    for each in (*claims[:2], last):
        await services.quota.release(each.request_id)


async def test_cap_below_what_is_spent_lets_nothing_through_and_running_calls_still_settle(
    services: Services, service: ServiceDatabase
) -> None:
    held = [_half_a_dollar() for _ in range(4)]
    for each in held:
        await services.quota.reserve(each)
    spent = await _cap(services, "free")
    early, late = ([_half_a_dollar() for _ in range(20)] for _ in range(2))
    *outcomes, _ = await asyncio.gather(
        *(_outcome(services, each) for each in early),
        services.caps.set("free", Decimal("0.01"), actor=OPERATOR, reason="too much"),
    )
    # Requests after the change are refused, whatever raced with it.
    asked = await asyncio.gather(*(_outcome(services, each) for each in late))
    assert Counter(asked) == {"refused": 20}
    through = [each for each, said in zip(early, outcomes, strict=True) if said == "held"]
    for each in (*held, *through):
        async with service.transaction() as session:
            booked = await book(session, charge(each, 100))
            assert booked is not None
            assert booked.cost_usd == Decimal("0.1")
    found = await _cap(services, "free")
    assert found.reserved_usd == spent.reserved_usd - 2
    assert found.spent_usd == spent.spent_usd + (4 + len(through)) * Decimal("0.1")


async def test_a_change_waits_for_calls_that_go_by_the_cap_before(
    services: Services, service: ServiceDatabase
) -> None:
    async with service.transaction() as session:
        # As a reservation does: it has read the cap and holds the day until it commits.
        await reservations_store.lock_spend_days(session)
        change = asyncio.create_task(
            services.caps.set("total", Decimal(1), actor=OPERATOR, reason="a race")
        )
        done, _ = await asyncio.wait({change}, timeout=0.3)
        assert not done
    assert await change


async def test_who_changed_what_and_why_is_written_once(
    services: Services, database: Database
) -> None:
    admin = await new_admin(services, database)
    why = f"a drill {uuid4()}"
    for _ in range(2):
        await services.caps.set("free", Decimal("12.5"), actor=admin.principal, reason=why)
    rows = database(
        "select actor, action, subject, before, after from audit_log where reason = %s", why
    )
    assert rows == [
        (
            f"user:{admin.principal.user_id}",
            "cap.set",
            "cap:free",
            {"usd": "1000", "by": "settings"},
            {"usd": "12.5", "by": "admin"},
        )
    ]
    assert (await services.caps.today(admin.principal))[0].changed_by == rows[0][0]


@pytest.mark.parametrize("usd", ["-1", "1000000", "NaN", "Infinity", "0.0000001", "1e30"])
async def test_what_no_cap_can_be_is_refused(
    services: Services, database: Database, usd: str
) -> None:
    with pytest.raises(ActionInvalid):
        await services.caps.set("free", Decimal(usd), actor=OPERATOR, reason="a try")
    assert not database("select 1 from private.spending_caps where scope = 'free'")


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501, "a\x00b"])
async def test_without_a_reason_nothing_changes(services: Services, reason: str) -> None:
    with pytest.raises(ActionInvalid, match="reason"):
        await services.caps.set("free", Decimal(1), actor=OPERATOR, reason=reason)
    assert (await _cap(services, "free")).changed_by is None


async def _former(services: Services, database: Database) -> Caller:
    former = (await new_admin(services, database)).principal
    database("update profiles set role = 'user' where id = %s", former.user_id)
    return former


async def test_nobody_else_looks_or_changes(services: Services, database: Database) -> None:
    member, former = await new_principal(services), await _former(services, database)
    with pytest.raises(NotFound):
        await services.caps.today(member)
    for actor in (member, former):
        with pytest.raises(NotFound):
            await services.caps.set("free", Decimal(1), actor=actor, reason="a try")
    assert (await _cap(services, "free")).changed_by is None

"""The audit log, as admins read it."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from aisaas.accounts.admin_access import Intent
from aisaas.admin.audit import PAGE_ENTRIES
from aisaas.db.paging import Moment
from aisaas.db.service import ServiceDatabase
from aisaas.errors import NotFound
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Database, Member, new_member


@pytest.fixture
async def admin(services: Services, database: Database) -> Member:
    return await new_admin(services, database)


async def test_it_says_who_did_what_to_whom_and_why(
    services: Services, database: Database, admin: Member
) -> None:
    other = await new_member(services)
    ids = admin.principal.user_id, other.principal.user_id
    await services.credits.grant(ids[1], 500, actor=f"user:{ids[0]}", reason="a lost afternoon")
    page = await services.audit.page(admin.principal, search=other.principal.email)
    (entry,) = page.entries
    assert (entry.actor, entry.subject) == (f"user:{ids[0]}", f"user:{ids[1]}")
    assert (entry.action, entry.reason) == ("credits.grant", "a lost afternoon")
    assert entry.after is not None
    assert entry.after["tokens"] == 500
    assert page.names == {m.principal.user_id: m.principal.email for m in (admin, other)}


async def test_pages_show_every_entry_once_the_newest_first(
    services: Services, database: Database, admin: Member
) -> None:
    word = uuid4().hex
    added = PAGE_ENTRIES * 2 + 3
    # At one instant, as one transaction writes them: their ids keep them apart.
    database(
        "insert into audit_log (actor, action, subject, reason)"
        " select 'operator:tests', 'test', 'nothing', %s from generate_series(1, %s)",
        word,
        added,
    )
    seen: list[UUID] = []
    before: Moment | None = None
    for older in (True, True, False):
        page = await services.audit.page(admin.principal, search=word, before=before)
        assert page.older is older
        seen += [entry.id for entry in page.entries]
        before = page.end
    assert len(seen) == len(set(seen)) == added


@pytest.mark.parametrize("wild", ["%", "_", "\\"])
async def test_a_search_means_what_it_says(
    services: Services, database: Database, admin: Member, wild: str
) -> None:
    reason = f"{uuid4().hex} {wild} "
    database(
        "insert into audit_log (actor, action, subject, reason)"
        " values ('operator:tests', 'test', 'nothing', %s)",
        reason,
    )
    found = await services.audit.page(admin.principal, search=reason)
    assert [entry.reason for entry in found.entries] == [reason]
    assert not (await services.audit.page(admin.principal, search=f"{wild}{uuid4().hex}")).entries


async def test_nobody_else_reads_it(services: Services) -> None:
    member = await new_member(services)
    with pytest.raises(NotFound):
        await services.audit.page(member.principal)


@pytest.mark.parametrize(
    "change", ["role = 'user'", "suspended_at = now()"], ids=["removed", "suspended"]
)
async def test_former_admin_can_no_longer_act(
    services: Services, service: ServiceDatabase, database: Database, admin: Member, change: str
) -> None:
    async with service.transaction() as session:
        act = await Intent.of(admin.principal, "a test").within(session)
    assert act.actor == f"user:{admin.principal.user_id}"
    database(f"update profiles set {change} where id = %s", admin.principal.user_id)
    async with service.transaction() as session:
        with pytest.raises(NotFound):
            await Intent.of(admin.principal, "a test").within(session)


async def test_a_role_is_not_taken_away_in_the_middle_of_an_action(
    service: ServiceDatabase, database: Database, admin: Member
) -> None:
    async with service.transaction() as session:
        await Intent.of(admin.principal, "a test").within(session)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            database(
                "select 1 from profiles where id = %s for no key update nowait",
                admin.principal.user_id,
            )

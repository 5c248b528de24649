"""Admins, for tests."""

from __future__ import annotations

from aisaas.wiring import Services
from tests.services import Database, Member, new_member


async def new_admin(services: Services, database: Database) -> Member:
    member = await new_member(services)
    database("update profiles set role = 'admin' where id = %s", member.principal.user_id)
    return Member(await services.callers.resolve(member.cookie), member.cookie)


async def new_user(services: Services, database: Database) -> Member:
    """Who is no admin, also as the first account of an install."""
    member = await new_member(services)
    database("update profiles set role = 'user' where id = %s", member.principal.user_id)
    return Member(await services.callers.resolve(member.cookie), member.cookie)

"""What admins and operators did, for admins to read. Each action writes its own line, in its own
transaction; no database role may do more than insert and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from aisaas.accounts import store as accounts_store
from aisaas.accounts.admin_access import admin_read
from aisaas.accounts.models import Principal
from aisaas.audit import store as audit_store
from aisaas.audit.models import AuditEntry
from aisaas.db.paging import Moment
from aisaas.db.service import ServiceDatabase

PAGE_ENTRIES = 50
# Most accounts whose entries a search includes; beyond that, the admin types more of the address.
MOST_PEOPLE = 1_000


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Newest first. `names` are the addresses of the mentioned accounts that exist. With `narrow`, more
    accounts match than the search covers: the page has the entries of only some of them."""

    entries: Sequence[AuditEntry]
    names: Mapping[UUID, str]
    end: Moment | None
    older: bool
    narrow: bool = False


def user_in(name: str) -> UUID | None:
    """The account of an actor or a subject like `user:<id>`."""
    kind, _, user_id = name.partition(":")
    return UUID(user_id) if kind == "user" else None


class AuditLog:
    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def page(
        self, principal: Principal, *, search: str = "", before: Moment | None = None
    ) -> AuditPage:
        """`search` is looked for in actor, action, subject, reason, and the accounts' addresses.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, principal) as session:
            found = await audit_store.audit_entries(
                session,
                search=search,
                people=accounts_store.ids_by_address(search, most=MOST_PEOPLE),
                before=before,
                limit=PAGE_ENTRIES,
            )
            people = {
                user_id
                for entry in found.found
                for user_id in map(user_in, (entry.actor, entry.subject))
                if user_id is not None
            }
            names = await accounts_store.names_of(session, people)
            narrow = bool(search) and await accounts_store.more_fit(
                session, search, than=MOST_PEOPLE
            )
        return AuditPage(found.found, names, found.end, older=found.older, narrow=narrow)

"""Who may look and act as an admin. Pages that hide themselves are manners; this is the rule.

To somebody who is no admin there is nothing here: the same answer as for an address that leads nowhere.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import Principal
from aisaas.admin import store
from aisaas.errors import NotFound

NOTHING_HERE = "There is nothing at this address."


def require_admin(principal: Principal) -> None:
    """For looking: the principal was read for this very request.

    Raises:
        NotFound: no admin.
    """
    if not principal.is_admin:
        raise NotFound(NOTHING_HERE)


async def acting(session: AsyncSession, actor: Principal | str) -> str:
    """For acting: the name under which the audit log has it.

    A principal's role is read again and held until the transaction ends, so nothing is done by
    somebody who stopped being an admin before it commits. A string is an operator at the command
    line, like `operator:ada`; who has that has the database as well.

    Raises:
        NotFound: no admin, or not any more.
    """
    if isinstance(actor, str):
        return actor
    if not await store.hold_admin(session, actor.user_id):
        raise NotFound(NOTHING_HERE)
    return f"user:{actor.user_id}"

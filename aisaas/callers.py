"""Who is calling, and what billing and the operators say of them: one round trip.

Each domain reads its own (docs/decisions/0036).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from aisaas.accounts.live import LiveSessions
from aisaas.accounts.models import Principal
from aisaas.billing.plans import store as plans_store
from aisaas.billing.plans.models import BillingAccount
from aisaas.controls import store as controls_store
from aisaas.controls.models import Controls
from aisaas.db.engine import PipelinedQuery, both
from aisaas.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Caller(Principal):
    """A principal who may use models or pay: with their billing account, and the operators' controls."""

    billing: BillingAccount
    controls: Controls


class Callers:
    """The callers of this instance."""

    def __init__(self, live: LiveSessions) -> None:
        self._live = live

    async def resolve(self, cookie_header: str | None) -> Caller:
        """Who is calling, as of now.

        Raises:
            Unauthenticated: no session, or one that is over.
            Unavailable: it can't be determined.
        """
        principal, (account, controls) = await self._live.principal_and(cookie_header, _along)
        if account is None:
            # The session ended between the two statements.
            raise Unauthenticated
        own = {each.name: getattr(principal, each.name) for each in fields(Principal)}
        return Caller(**own, billing=account, controls=controls)


def _along(token_hash: bytes) -> PipelinedQuery[tuple[BillingAccount | None, Controls]]:
    return both(
        plans_store.callers_account(token_hash),
        controls_store.controls(),
        lambda account, controls: (account, controls),
    )

"""The kill switch: stops new calls for everything, a plan, a model or a provider.

Guards read it with the principal, from the database, on every call: it takes effect at once, over
all processes, and losing Redis does not lift it.
"""

from __future__ import annotations

from collections.abc import Sequence

from aisaas.admin import store
from aisaas.admin.models import KillSwitch
from aisaas.db.service import ServiceDatabase

EVERYTHING = "all"


def scopes_of(*, plan: str, model: str, provider: str) -> frozenset[str]:
    """The switches any of which stops this call."""
    return frozenset({EVERYTHING, f"plan:{plan}", f"model:{model}", f"provider:{provider}"})


class KillSwitches:
    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def engage(self, scope: str, *, actor: str, reason: str) -> bool:
        """True when it was not engaged before."""
        return await self._turn(scope, on=True, actor=actor, reason=reason)

    async def lift(self, scope: str, *, actor: str, reason: str) -> bool:
        """True when it was engaged."""
        return await self._turn(scope, on=False, actor=actor, reason=reason)

    async def _turn(self, scope: str, *, on: bool, actor: str, reason: str) -> bool:
        async with self._database.transaction() as session:
            if on:
                changed = await store.engage(session, scope, reason)
            else:
                changed = await store.lift(session, scope)
            if changed:
                await store.audit(
                    session,
                    actor=actor,
                    action="kill_switch.engage" if on else "kill_switch.lift",
                    subject=scope,
                    before={"engaged": not on},
                    after={"engaged": on},
                    reason=reason,
                )
            return changed

    async def engaged(self) -> Sequence[KillSwitch]:
        async with self._database.transaction() as session:
            return await store.engaged(session)

"""The kill switch: stops new calls for everything, a plan, a model or a provider; and, on request,
running calls.

Guards read it with the caller, from the database, on every call: it takes effect at once in all
processes, and losing Redis does not lift it. A running call is stopped by its own process
(jobs/enforce_kill_switches.py): a signal wakes it, and it also checks every second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from aisaas.accounts.admin_access import Act, Actor, admin_write, require_admin
from aisaas.accounts.models import Principal
from aisaas.controls import store as controls_store
from aisaas.controls.models import KillSwitch
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, Unavailable
from aisaas.signals import Signals

log = logging.getLogger(__name__)

EVERYTHING = "all"
SWITCHED = "kill-switches"


def scopes_of(*, plan: str, model: str, provider: str) -> frozenset[str]:
    """The switches that each stop this call."""
    return frozenset({EVERYTHING, f"plan:{plan}", f"model:{model}", f"provider:{provider}"})


@dataclass(frozen=True, slots=True)
class EngagedScopes:
    """The scopes blocked for new calls, and those where running calls stop, too."""

    barred: frozenset[str]
    stopping: frozenset[str]


class KillSwitches:
    """Args: `scopes`: everything that can be stopped now; a mistyped scope is refused."""

    def __init__(
        self, database: ServiceDatabase, signals: Signals, scopes: Callable[[], Collection[str]]
    ) -> None:
        self._database = database
        self._signals = signals
        self._scopes = scopes
        self._switched = asyncio.Event()

    @property
    def scopes(self) -> Sequence[str]:
        return tuple(dict.fromkeys((EVERYTHING, *self._scopes())))

    async def engage(
        self, scope: str, *, actor: Actor, reason: str, stop_running: bool = False
    ) -> bool:
        """False when it was engaged like that, or further, already.

        Raises:
            ActionInvalid: nothing there has this scope, or there is no reason.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        if scope not in self.scopes:
            raise ActionInvalid(f"Can't stop {scope!r}. Choose one of: {self._listed()}.")
        async with admin_write(self._database, actor, reason) as act:
            outcome = await controls_store.engage(
                act.session, scope, act.reason, by=act.actor, stop_running=stop_running
            )
            if outcome == "as before":
                return False
            running = {"running": "stopped"} if stop_running else {}
            await _note(
                act, "engage", scope, outcome == "engaged", after={"engaged": True} | running
            )
        await self._tell(scope)
        return True

    async def lift(self, scope: str, *, actor: Actor, reason: str) -> bool:
        """True when it was engaged.

        Raises:
            ActionInvalid: there is no reason.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        async with admin_write(self._database, actor, reason) as act:
            if not await controls_store.lift(act.session, scope):
                return False
            await _note(act, "lift", scope, False, after={"engaged": False})
        await self._tell(scope)
        return True

    async def seen_by(self, principal: Principal) -> Sequence[KillSwitch]:
        """The engaged switches, for an admin.

        Raises:
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        require_admin(principal)
        try:
            return await self.engaged()
        except DependencyError as error:
            raise Unavailable from error

    async def engaged(self) -> Sequence[KillSwitch]:
        """The same for an operator with database access. Raises DependencyError without it."""
        async with self._database.transaction() as session:
            return await controls_store.engaged(session)

    async def engaged_scopes(self) -> EngagedScopes:
        """Raises DependencyError without the database."""
        found = await self._database.ask(controls_store.engaged_scopes(), durable=False)
        return EngagedScopes(
            frozenset(found), frozenset(scope for scope, stopping in found.items() if stopping)
        )

    async def listen(self) -> None:
        """Changes made in other processes. Runs until cancelled."""
        async for _ in self._signals.receive(SWITCHED):
            self._switched.set()

    async def change(self, *, within: float) -> None:
        """Return at the next change, or after `within` seconds without one. For one waiter."""
        try:
            async with asyncio.timeout(within):
                await self._switched.wait()
        except TimeoutError:
            return
        self._switched.clear()

    async def _tell(self, scope: str) -> None:
        self._switched.set()
        try:
            await self._signals.send(SWITCHED, scope)
        except DependencyError:
            log.warning("the switch for %s applies at the next check: Redis is away", scope)

    def _listed(self) -> str:
        return ", ".join(self.scopes)


async def _note(
    act: Act, verb: Literal["engage", "lift"], scope: str, new: bool, *, after: object
) -> None:
    before = {"engaged": (verb == "lift") or not new}
    await act.note(f"kill_switch.{verb}", scope, before=before, after=after)

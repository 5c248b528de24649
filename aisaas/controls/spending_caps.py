"""What may be spent a day, by the free tier and in total: the settings' word until an admin says
otherwise. The reservation reads it from the database, so a change needs no restart.

Invariant: once `set` has returned, no call was let through by the cap before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

from aisaas.accounts.admin_access import Actor, admin_write, require_admin
from aisaas.accounts.models import Principal
from aisaas.billing.reservations.reports import SpentToday, spent_today
from aisaas.billing.reservations.store import lock_spend_days
from aisaas.controls import store as controls_store
from aisaas.controls.models import SpendingCap
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, Unavailable

CapScope = Literal["free", "total"]
SCOPES: tuple[CapScope, ...] = get_args(CapScope)
# Below a million, to a millionth: what the column holds.
MOST_USD = Decimal("999999")
SMALLEST_USD = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class CapToday:
    """A cap and today's spending (UTC), in USD. `changed_at` and `changed_by` are None when the cap
    comes from the settings. `refusing` when it has refused a request since the day or the cap
    began."""

    scope: CapScope
    usd: Decimal
    settings_usd: Decimal
    changed_at: datetime | None
    changed_by: str | None
    spent_usd: Decimal
    reserved_usd: Decimal
    refusing: bool

    @property
    def left_usd(self) -> Decimal:
        return max(self.usd - self.spent_usd - self.reserved_usd, Decimal(0))


class Caps:
    """Args: what the settings say, by scope."""

    def __init__(self, database: ServiceDatabase, settings: Mapping[CapScope, Decimal]) -> None:
        self._database = database
        self._settings = settings

    async def today(self, principal: Principal) -> Sequence[CapToday]:
        """All of them, for an admin.

        Raises:
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        require_admin(principal)
        return await self.of_operator()

    async def of_operator(self) -> Sequence[CapToday]:
        """The same for an operator with database access."""
        try:
            async with self._database.transaction() as session:
                caps = {cap.scope: cap for cap in await controls_store.spending_caps(session)}
                days = {day.scope: day for day in await spent_today(session)}
        except DependencyError as error:
            raise Unavailable from error
        return [self._today(scope, caps.get(scope), days.get(scope)) for scope in SCOPES]

    async def set(self, scope: CapScope, usd: Decimal | None, *, actor: Actor, reason: str) -> bool:
        """Change a cap, or go back to the settings' with None; False when it is like that already.

        Raises:
            ActionInvalid: no amount that a cap can be, or no reason.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        if scope not in SCOPES:
            raise ActionInvalid("That cap doesn't exist.")
        if usd is not None:
            _check(usd)
        async with admin_write(self._database, actor, reason) as act:
            # As a reservation takes it: those under way end first, those to come see the new cap.
            await lock_spend_days(act.session)
            before = {cap.scope: cap.usd for cap in await controls_store.spending_caps(act.session)}
            if before.get(scope) == usd:
                return False
            if usd is None:
                await controls_store.drop_cap(act.session, scope)
            else:
                await controls_store.set_cap(act.session, scope, usd, changed_by=act.actor)
            await act.note(
                "cap.set",
                f"cap:{scope}",
                before=self._said(scope, before.get(scope)),
                after=self._said(scope, usd),
            )
        return True

    def _said(self, scope: CapScope, usd: Decimal | None) -> dict[str, object]:
        held = self._settings[scope] if usd is None else usd
        return {"usd": f"{held:f}", "by": "settings" if usd is None else "admin"}

    def _today(self, scope: CapScope, cap: SpendingCap | None, day: SpentToday | None) -> CapToday:
        return CapToday(
            scope=scope,
            usd=cap.usd if cap else self._settings[scope],
            settings_usd=self._settings[scope],
            changed_at=cap.changed_at if cap else None,
            changed_by=cap.changed_by if cap else None,
            spent_usd=day.spent_usd if day else Decimal(0),
            reserved_usd=day.reserved_usd if day else Decimal(0),
            refusing=day.refusing if day else False,
        )


def _check(usd: Decimal) -> None:
    if not usd.is_finite() or not 0 <= usd <= MOST_USD:
        raise ActionInvalid(f"Enter a cap from $0 to ${MOST_USD:,}.")
    if usd != usd.quantize(SMALLEST_USD):
        raise ActionInvalid("A cap can have at most six decimal places.")

"""Who this tab belongs to: resolved from the cookie on the server, in every handler.

The state behind a tab outlives a sign-out and a sign-in, so it is bound to a user. Invariant: before
a state is shown to a browser, `OwnerOnly` has compared it with the cookie, and emptied it when
they differ; a handler that meets another user's state refuses.
"""

from __future__ import annotations

import dataclasses

import reflex as rx
from reflex.middleware.middleware import Middleware
from reflex.state import BaseState, StateUpdate
from reflex_base.event import Event, EventSpec

from aisaas import formats
from aisaas.accounts import pictures
from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import PlanPrice
from aisaas.billing.reservations.models import Allowance
from aisaas.callers import Caller
from aisaas.errors import Refusal, Suspended, Unauthenticated
from aisaas.ui import amounts, routes, sockets
from aisaas.ui.billing.view import DatedView, NearView, due_view, near_view
from aisaas.ui.reflex_patches.state_tree import empty
from aisaas.wiring import services

_HYDRATES = frozenset({"hydrate", "hydrate_and_load"})


@dataclasses.dataclass(frozen=True)
class MeterView:
    """The allowance, as the meter shows it. Tokens; `resets_at` is ISO 8601."""

    name: str = "Tokens used"
    used: int = 0
    limit: int = 0
    percent: int = 0
    level: str = "calm"
    label: str = ""
    resets_at: str = ""


def meter_view(allowance: Allowance, price: PlanPrice | None = None) -> MeterView:
    """The allowance that remains at no extra cost; once that is used, how much of the cap is."""
    if price is not None and amounts.costs_extra(allowance):
        spent, cap = amounts.spent(allowance), amounts.cap(allowance, price)
        shown = _meter(allowance, allowance.beyond, allowance.overage)
        label = f"{formats.usd(spent)} of your {formats.usd(cap)} cap"
        return dataclasses.replace(shown, name="Spending cap used", label=label)
    used, limit = max(allowance.used, 0), amounts.without_extra(allowance)
    shown = _meter(allowance, used, limit)
    return dataclasses.replace(shown, label=f"{used:,} of {limit:,} tokens")


def _meter(allowance: Allowance, used: int, limit: int) -> MeterView:
    found = amounts.gauge(used, limit)
    return MeterView(
        # A meter's value may not lie above its maximum.
        used=min(used, limit),
        limit=limit,
        percent=found.percent,
        level=found.level,
        resets_at=allowance.period_end.isoformat(),
    )


class Session(rx.State):
    """The signed-in user, as far as the browser needs to know them."""

    ready: bool = False
    owner: str = ""
    name: str = ""
    email: str = ""
    # The address of a picture they put here, and what stands in its place without one.
    picture: str = ""
    initials: str = ""
    admin: bool = False
    meter: MeterView = MeterView()
    near: NearView = NearView()
    due: DatedView = DatedView()

    @rx.event
    async def leave_if_signed_in(self) -> EventSpec | None:
        """Auth pages are not for signed-in users."""
        try:
            await principal_of(self)
        except Suspended:
            return rx.redirect(routes.SUSPENDED, replace=True)
        except Refusal:
            return None
        return rx.redirect(routes.DASHBOARD, replace=True)

    @rx.event
    async def leave_unless_suspended(self) -> EventSpec | None:
        """Only suspended users see the "account suspended" page."""
        try:
            await principal_of(self)
        except Suspended:
            return None
        except Unauthenticated:
            return rx.redirect(routes.login_for(routes.SUSPENDED), replace=True)
        except Refusal:
            # Unknown right now; the page's own actions report the outage.
            return None
        return rx.redirect(routes.CHAT, replace=True)


async def principal_of(state: rx.State, *, also_suspended: bool = False) -> Principal:
    """The user making the request, from the cookie of this tab's connection.

    Args:
        state: of the tab that asks.
        also_suspended: allow suspended users, too, who may still see and pay their bills.

    Raises:
        Unauthenticated: not signed in, or this tab's state belongs to another user.
        Suspended: their account is suspended.
    """
    principal = await services().accounts.principal(state.router.headers.cookie)
    await _check(state, principal, also_suspended=also_suspended)
    return principal


async def caller_of(state: rx.State, *, also_suspended: bool = False) -> Caller:
    """The same with their billing account and the operators' controls: for handlers that use models,
    or show a plan."""
    caller = await services().callers.resolve(state.router.headers.cookie)
    await _check(state, caller, also_suspended=also_suspended)
    return caller


async def _check(state: rx.State, principal: Principal, *, also_suspended: bool) -> None:
    session = await state.get_state(Session)
    if session.owner and session.owner != str(principal.user_id):
        raise Unauthenticated
    sockets.signed_in(state.router.session.session_id, principal.user_id)
    if principal.suspended and not also_suspended:
        raise Suspended


def own_picture(principal: Principal) -> str:
    """Pictures from other hosts aren't shown: loading one would tell its host who is here, and
    when."""
    address = principal.avatar_url or ""
    return address if address.startswith(f"{pictures.ADDRESS}/") else ""


def initials(name: str) -> str:
    """Of the first and the last word; of an address, the first letter."""
    words = [word for word in name.partition("@")[0].split() if word[0].isalnum()]
    return "".join(word[0].upper() for word in dict.fromkeys((*words[:1], *words[-1:])))


async def show_account(state: rx.State, caller: Caller, allowance: Allowance | None = None) -> None:
    """Bind the state to `caller` and show their name and allowance, which is asked for unless
    it was read already."""
    session = await state.get_state(Session)
    session.owner = str(caller.user_id)
    session.name = caller.full_name or caller.email
    session.email = caller.email
    session.picture = own_picture(caller)
    session.initials = initials(session.name)
    session.admin = caller.is_admin
    plan = services().quota.plan_of(caller.billing)
    found = allowance or await services().quota.allowance(caller.billing)
    session.meter = meter_view(found, plan.price)
    session.near = near_view(found, plan)
    session.due = due_view(caller.billing, plan)
    session.ready = True


class OwnerOnly(Middleware):
    """Empties a tab's state when the cookie names another user, before any of it is sent."""

    async def preprocess(self, app: rx.App, state: BaseState, event: Event) -> StateUpdate | None:
        if event.name.rsplit(".", 1)[-1] in _HYDRATES:
            session = await state.get_state(Session)
            if session.owner and session.owner != await _owner_by_cookie(state):
                empty(state)
        return None


async def _owner_by_cookie(state: BaseState) -> str:
    try:
        principal = await services().accounts.principal(state.router.headers.cookie)
    except Refusal:
        return ""
    return str(principal.user_id)

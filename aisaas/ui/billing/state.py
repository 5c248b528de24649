"""The billing page's state: translates between the browser and `checkout`, and decides nothing.

No plan is ever granted here. A page that comes back from paying waits until the database says so.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from typing import TypeVar
from uuid import UUID, uuid4

import reflex as rx
from reflex.event import EventSpec, EventType

from aisaas.billing.plans.terms import plans
from aisaas.billing.subscriptions.checkout import Billing as Found
from aisaas.callers import Caller
from aisaas.errors import BillingInvalid, Unavailable
from aisaas.ui import notices, payloads, routes
from aisaas.ui.billing import bills, offers, view
from aisaas.ui.session import caller_of, show_account
from aisaas.wiring import services

T = TypeVar("T")

# How long an open page waits for changes. In case no signal arrives it also polls: soon after it
# was shown, then less and less often.
WATCH_SECONDS = 120.0
LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 15.0
# Stages of a plan that was just paid for.
WAITING, DONE, LATE = "waiting", "done", "late"


class Billing(rx.State):
    ready: bool = False
    plan: view.PlanView = view.PlanView()
    usage: view.UsageView = view.UsageView()
    cap: view.CapView = view.CapView()
    # Said beside the field; `cap_saved` counts since the page was loaded.
    cap_problem: str = ""
    cap_saved: int = 0
    estimate: bills.BillView = bills.BillView()
    preview: bills.BillView = bills.BillView(stage=bills.LOADING)
    choices: list[offers.OfferView] = []  # noqa: RUF012
    invoices: bills.InvoicesView = bills.InvoicesView()
    arriving: str = ""
    # The plan that is to arrive, where it is known, and the newest look-out: older ones end.
    _awaited: str = ""
    _watch: str = ""

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> list[EventType[()]]:
        caller = await caller_of(self, also_suspended=True)
        # Clear the message about an arrived plan; keep waiting for a pending one.
        self.arriving = WAITING if self.arriving == WAITING else ""
        self.cap_problem, self.cap_saved = "", 0
        await show_billing(self, caller)
        await notices.clear(self)
        return [Billing.ask_provider, Billing.watch]

    @rx.event(background=True)
    @notices.handle_background_errors
    async def ask_provider(self) -> None:
        async with self:
            caller = await caller_of(self, also_suspended=True)
        preview, invoices = await _provider_views(caller)
        async with self:
            self.preview, self.invoices = preview, invoices

    @rx.event(background=True)
    @notices.handle_background_errors
    async def watch(self) -> list[EventType[()]]:
        async with self:
            caller = await caller_of(self, also_suspended=True)
            mine = self._watch = uuid4().hex
        changed = await watch_for_change(self, caller.user_id, mine)
        return [Billing.ask_provider, Billing.watch] if changed else []

    @rx.event
    @notices.handle_errors
    async def await_plan(self) -> EventType[()]:
        await expect_plan(self, await caller_of(self, also_suspended=True))
        return Billing.watch

    @rx.event(background=True)
    @notices.handle_background_errors
    async def choose(self, plan: str) -> EventSpec:
        async with self:
            await notices.clear(self)
            caller = await caller_of(self, also_suspended=True)
        return rx.redirect(
            await services().checkout.subscribe(caller.billing, payloads.plan_id(plan))
        )

    @rx.event(background=True)
    @notices.handle_background_errors
    async def switch(self, plan: str) -> EventType[()]:
        async with self:
            await notices.clear(self)
            caller = await caller_of(self, also_suspended=True)
            self.arriving = ""
        wanted = payloads.plan_id(plan)
        now = await services().checkout.switch(caller.billing, wanted)
        async with self:
            caller = await caller_of(self, also_suspended=True)
            if now:
                await expect_plan(self, caller, wanted)
            else:
                await show_billing(self, caller)
        return Billing.watch if now else Billing.ask_provider

    @rx.event(background=True)
    @notices.handle_background_errors
    async def keep_plan(self) -> EventType[()]:
        async with self:
            await notices.clear(self)
            caller = await caller_of(self, also_suspended=True)
        await services().checkout.keep_plan(caller.billing)
        async with self:
            await show_billing(self, await caller_of(self, also_suspended=True))
        return Billing.ask_provider

    @rx.event(background=True)
    @notices.handle_background_errors
    async def open_portal(self) -> EventSpec:
        async with self:
            await notices.clear(self)
            caller = await caller_of(self, also_suspended=True)
        return rx.redirect(await services().checkout.portal(caller.billing))

    @rx.event
    @notices.handle_errors
    async def save_cap(self, usd: str) -> None:
        caller = await caller_of(self)
        try:
            await set_cap(self, caller, payloads.usd(usd))
        except BillingInvalid as refused:
            self.cap_problem = refused.sentence

    @rx.event
    @notices.handle_errors
    async def reset_cap(self) -> None:
        await set_cap(self, await caller_of(self), None)


async def show_billing(page: Billing, caller: Caller) -> None:
    found = await services().checkout.billing(caller.billing)
    await services().live_catalogue.up_to(caller.controls.models_revision)
    await show_account(page, caller, found.allowance)
    shown = {
        "plan": view.plan_view(found, caller.billing, _models),
        "usage": view.usage_view(found),
        "cap": view.cap_view(found),
        "estimate": bills.estimate_view(found),
        "choices": _choices(found, caller),
        "ready": True,
    }
    for name, value in shown.items():
        # An equal value is not sent again.
        if getattr(page, name) != value:
            setattr(page, name, value)
    if page.arriving == WAITING and _has_arrived(page, caller):
        page.arriving = DONE


async def expect_plan(page: Billing, caller: Caller, plan: str = "") -> None:
    """Show that a plan was paid for until it is active. Without `plan`: any paid plan."""
    page.arriving, page._awaited = WAITING, plan
    await show_billing(page, caller)


async def watch_for_change(page: Billing, user_id: UUID, mine: str) -> bool:
    """Keep the page true while it is open; returns whether the plan is another than before."""
    end, look = asyncio.get_running_loop().time() + WATCH_SECONDS, LOOK_SECONDS
    while asyncio.get_running_loop().time() < end:
        await services().billing_changes.next(user_id, within=look)
        look = min(2 * look, LONGEST_LOOK_SECONDS)
        async with page:
            if page._watch != mine or page.router.url.path.rstrip("/") != routes.BILLING:
                return False
            before = page.plan
            try:
                await show_billing(page, await caller_of(page, also_suspended=True))
            except Unavailable:
                # A background refresh; the next one may succeed.
                continue
            if page.plan != before:
                return True
    async with page:
        if page._watch == mine and page.arriving == WAITING:
            page.arriving = LATE
    return False


async def set_cap(page: Billing, caller: Caller, usd: Decimal | None) -> None:
    await services().checkout.set_cap(caller.billing, usd)
    page.cap_problem = ""
    page.cap_saved += 1
    await notices.clear(page)
    await show_billing(page, await caller_of(page, also_suspended=True))


async def _provider_views(caller: Caller) -> tuple[bills.BillView, bills.InvoicesView]:
    checkout = services().checkout
    preview, invoices = await asyncio.gather(
        _or_away(checkout.preview(caller.billing)), _or_away(checkout.invoices(caller.billing))
    )
    return bills.preview_view(preview), bills.invoices_view(invoices)


async def _or_away(asked: Awaitable[T]) -> T | Unavailable:
    try:
        return await asked
    except Unavailable as away:
        return away


def _has_arrived(page: Billing, caller: Caller) -> bool:
    account = caller.billing
    paid = account.subscription is not None and account.subscription_status != offers.PAST_DUE
    return paid and page._awaited in ("", account.plan)


def _choices(found: Found, caller: Caller) -> list[offers.OfferView]:
    return offers.offer_views(found, caller.billing, plans(services().settings), _models)


def _models(plan: str) -> list[str]:
    return [model.label for model in services().catalogue.for_plan(plan)]

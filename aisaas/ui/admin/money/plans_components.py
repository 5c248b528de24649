"""The part of the page that is about users' plans."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.money.plans import Plans
from aisaas.ui.admin.money.plans_view import WHICH_PLANS, PlanView
from aisaas.ui.admin.money.state import Money

PLANS = (
    Column("User", "wrap"),
    Column("Has", "wide"),
    Column("Stripe says", "wide"),
    Column("Found", "wide"),
    Column("Corrected", "wide"),
    Column("Actions", "actions"),
)


def plans() -> rx.Component:
    found = Plans.shown
    return rx.fragment(
        rx.el.section(
            rx.el.h2("Plans and Stripe subscriptions"),
            shared.tiles(found.tiles, "Plans and subscriptions"),
            class_name="area-part",
        ),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Plans that differ"),
                rx.cond(
                    Money.sold,
                    rx.el.button(
                        rx.cond(Plans.comparing, "Comparing…", "Compare all users"),
                        type="button",
                        class_name="button button-small",
                        on_click=Plans.compare_all,
                        custom_attrs={"aria-disabled": Plans.comparing},
                    ),
                ),
                class_name="card-head",
            ),
            shared.search_box("Search by email or customer ID", Plans.find),
            shared.choice(WHICH_PLANS, found.which, Plans.choose, "Filter plans"),
            shared.table(PLANS, found.rows, _plan, "Plans that differ", empty="No differences."),
            shared.turns(
                found.page, found.older, Plans.newer, Plans.older, "Pages of plans that differ"
            ),
            rx.el.p(
                "Webhooks keep plans up to date. All subscriptions are also checked once a day; "
                "differences are corrected automatically and listed here.",
                class_name="quiet",
            ),
            class_name="card card-wide",
        ),
    )


def _plan(plan: PlanView) -> rx.Component:
    return shared.row(
        PLANS,
        rx.fragment(
            rx.el.a(plan.who, href=plan.href),
            rx.cond(plan.note, rx.el.span(plan.note, class_name="under quiet")),
        ),
        _side(plan.ours, plan.ours_until),
        _side(plan.theirs, plan.theirs_until),
        rx.fragment(
            layout.when(plan.at, "minute"),
            rx.el.span("by ", plan.by, class_name="under quiet"),
        ),
        rx.cond(
            plan.open,
            shared.badge("Differs", "bad"),
            layout.when(plan.corrected_at, "minute"),
        ),
        rx.cond(plan.open & Money.sold, _actions(plan)),
        key=plan.id + plan.at,
    )


def _side(has: rx.Var[str] | str, until: rx.Var[str] | str) -> rx.Component:
    return rx.fragment(
        has,
        rx.cond(
            until,
            rx.el.div("until ", layout.when(until, "date"), class_name="quiet"),
        ),
    )


def _actions(plan: PlanView) -> rx.Component:
    return rx.el.div(
        rx.el.button(
            "Compare",
            type="button",
            class_name="button button-small",
            on_click=Plans.compare(plan.id),
        ),
        shared.ask_first(
            "Correct",
            title=f"Correct the plan of {plan.who}",
            explanation="Their subscriptions are read from Stripe again, and the plan is set to match, "
            "even if Stripe has changed since this list was made.",
            confirm="Correct",
            subject=plan.id,
            on_confirm=Plans.correct,
        ),
        class_name="row-of-buttons",
    )

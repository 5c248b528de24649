"""What jobs have set aside: shown, and retried."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.billing.job_failures.reports import FailedItem
from aisaas.errors import ActionInvalid
from aisaas.ui import layout, notices, payloads
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.money import forms
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services

# What each job does, for people.
JOBS = {
    "recover_replies": "Recovering replies",
    "deliver_notices": "Sending email",
    "alert_spending": "Sending alerts",
    "reconcile_usage": "Comparing ledger and meter",
    "synchronise_subscriptions": "Checking subscriptions",
    "subscription_tasks": "Ending subscriptions",
}
COLUMNS = (
    Column("Job", "wrap"),
    Column("Last try", "wide"),
    Column("Item", "wrap"),
    Column("Error", "wrap"),
    Column("Actions", "actions"),
)


@dataclasses.dataclass(frozen=True)
class FailedView:
    """`id` is the job and the item; `at` is ISO 8601."""

    id: str = ""
    job: str = ""
    item: str = ""
    about: str = ""
    error: str = ""
    tries: str = ""
    at: str = ""


class FailedJobs(rx.State):
    rows: list[FailedView] = []  # noqa: RUF012
    more: bool = False

    async def _begin(self, principal: Principal) -> None:
        page = await services().money.failed_jobs.page(principal)
        self.rows = [_view(each) for each in page.found]
        self.more = page.more

    @rx.event
    @notices.handle_errors
    async def retry(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        job, _, item = payloads.form_field(form, "subject").partition(" ")
        if not job or not item:
            raise ActionInvalid("Choose an item.")
        await services().money.failed_jobs.retry(
            principal, job[:100], item[:400], reason=forms.reason(form)
        )
        await self._begin(principal)
        await notices.clear(self)
        await done(self, "The item is due again.")


def _view(each: FailedItem) -> FailedView:
    return FailedView(
        id=f"{each.job} {each.item}",
        job=JOBS.get(each.job, each.job),
        item=each.item,
        about=each.about,
        error=each.last_error or "–",
        tries=f"{each.attempts:,} {'try' if each.attempts == 1 else 'tries'}",
        at=each.last_at.isoformat(),
    )


def failed() -> rx.Component:
    return rx.el.section(
        rx.el.div(rx.el.h2("Failed jobs"), class_name="card-head"),
        shared.table(COLUMNS, FailedJobs.rows, _row, "Failed jobs", empty="No failed jobs."),
        rx.cond(
            FailedJobs.more,
            rx.el.p("Older items aren't shown. Retry these first.", class_name="quiet"),
        ),
        rx.el.p(
            "A job retries an item several times, then sets it aside and continues with the others. "
            "Fix the cause, then retry the item here.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _row(row: FailedView) -> rx.Component:
    return shared.row(
        COLUMNS,
        row.job,
        layout.when(row.at, "minute"),
        rx.fragment(
            rx.el.code(row.item),
            rx.cond(row.about, rx.el.span(row.about, class_name="under quiet")),
        ),
        rx.fragment(row.error, rx.el.span(row.tries, class_name="under quiet")),
        shared.ask_first(
            "Retry",
            title="Retry this item",
            explanation="The job runs it again within a few minutes.",
            confirm="Retry",
            subject=row.id,
            on_confirm=FailedJobs.retry,
        ),
        key=row.id,
    )

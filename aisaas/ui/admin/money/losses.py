"""Usage that a provider may bill but no customer is charged for."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import reflex as rx

from aisaas import formats
from aisaas.accounts.models import Principal
from aisaas.billing.ledger.loss_reports import UsageLost
from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.wiring import services

REASONS = {
    "report": "Reported more than we counted",
    "overrun": "Sent more than was granted",
    "reservation": "Counted more than was reserved",
    "failed": "Failed, so the call was free",
}
PURPOSES = {"reply": "Reply", "title": "Title"}
COLUMNS = (
    Column("Model", "wrap"),
    Column("Time", "wide"),
    Column("Reason", "wrap"),
    Column("Reported", "number"),
    Column("Counted", "number"),
    Column("Reserved", "number"),
    Column("Charged", "number"),
    Column("Loss", "number"),
)


@dataclasses.dataclass(frozen=True)
class LossView:
    """Counts are tokens; `at` is ISO 8601."""

    id: str = ""
    model: str = ""
    provider: str = ""
    at: str = ""
    reason: str = ""
    purpose: str = ""
    reported: str = ""
    counted: str = ""
    reserved: str = ""
    charged: str = ""
    tokens: str = ""
    usd: str = ""


class Losses(rx.State):
    rows: list[LossView] = []  # noqa: RUF012
    more: bool = False

    async def _begin(self, principal: Principal) -> None:
        page = await services().money.losses.page(principal)
        self.rows = [_view(each) for each in page.found]
        self.more = page.more


def _view(each: UsageLost) -> LossView:
    return LossView(
        id=str(each.id),
        model=each.model,
        provider=each.provider,
        at=each.at.isoformat(),
        reason=REASONS[each.reason],
        purpose=PURPOSES[each.purpose],
        reported="–" if each.reported_tokens is None else f"{each.reported_tokens:,}",
        counted=f"{each.counted_tokens:,}",
        reserved=f"{each.reserved_tokens:,}",
        charged=f"{each.charged_tokens:,}",
        tokens=formats.count(each.lost_tokens, "token"),
        usd=formats.exact_usd(each.lost_usd),
    )


def losses() -> rx.Component:
    return rx.el.section(
        rx.el.div(rx.el.h2("Uncharged usage"), class_name="card-head"),
        shared.table(COLUMNS, Losses.rows, _row, "Uncharged usage", empty="No uncharged usage."),
        rx.cond(Losses.more, rx.el.p("Older calls aren't shown.", class_name="quiet")),
        rx.el.p(
            "Customers never pay more than was reserved for a call. What a provider may bill beyond "
            "that is your loss. Compare these calls with the provider's invoice.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _row(row: LossView) -> rx.Component:
    return shared.row(
        COLUMNS,
        rx.fragment(row.model, rx.el.span(row.provider, class_name="under quiet")),
        layout.when(row.at, "minute"),
        rx.fragment(row.reason, rx.el.span(row.purpose, class_name="under quiet")),
        row.reported,
        row.counted,
        row.reserved,
        row.charged,
        rx.fragment(row.usd, rx.el.span(row.tokens, class_name="under quiet")),
        key=row.id,
    )

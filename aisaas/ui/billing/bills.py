"""From upcoming and existing bills to what the page shows. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from aisaas.billing.ports import Invoice, InvoicePreview
from aisaas.billing.subscriptions.checkout import Billing
from aisaas.errors import Unavailable
from aisaas.formats import count, money, usd
from aisaas.ui.billing.offers import PAST_DUE

# Stages of a request to the payment provider after the page is shown; WAITS: for a payment.
LOADING, SHOWN, NONE, AWAY, WAITS = "loading", "shown", "none", "away", "waits"
INVOICE_STATUSES = {
    "draft": "Draft",
    "open": "Unpaid",
    "paid": "Paid",
    "uncollectible": "Uncollectible",
    "void": "Void",
}


@dataclasses.dataclass(frozen=True)
class LineView:
    label: str
    amount: str


@dataclasses.dataclass(frozen=True)
class BillView:
    """A bill to come: our own estimate, or the provider's preview in one of its stages."""

    stage: str = NONE
    lines: list[LineView] = dataclasses.field(default_factory=list[LineView])
    total: str = ""
    due_at: str = ""


@dataclasses.dataclass(frozen=True)
class InvoiceView:
    id: str
    at: str
    number: str
    amount: str
    status: str
    url: str
    pdf: str


@dataclasses.dataclass(frozen=True)
class InvoicesView:
    stage: str = LOADING
    rows: list[InvoiceView] = dataclasses.field(default_factory=list[InvoiceView])


def estimate_view(found: Billing) -> BillView:
    estimate, plan = found.estimate, found.plan
    if found.status == PAST_DUE:
        # The next bill depends on whether the open one is paid.
        return BillView(stage=WAITS)
    if estimate is None:
        return BillView()
    monthly = f"{estimate.plan.label}, monthly"
    base = monthly if estimate.base_usd else f"{plan.label} (ending, no renewal)"
    return BillView(
        stage=SHOWN,
        lines=[
            LineView(base, usd(estimate.base_usd)),
            LineView(
                f"Extra usage: {count(estimate.overage_tokens, 'token')}", usd(estimate.overage_usd)
            ),
        ],
        total=usd(estimate.total_usd),
        due_at=estimate.due_at.isoformat(),
    )


def preview_view(preview: InvoicePreview | Unavailable | None) -> BillView:
    if isinstance(preview, Unavailable):
        return BillView(stage=AWAY)
    if preview is None:
        return BillView()
    return BillView(
        stage=SHOWN,
        lines=[
            LineView(line.description, money(line.amount, preview.currency))
            for line in preview.lines
        ],
        total=money(preview.total, preview.currency),
        due_at=preview.due_at.isoformat() if preview.due_at else "",
    )


def invoices_view(invoices: Sequence[Invoice] | Unavailable) -> InvoicesView:
    if isinstance(invoices, Unavailable):
        return InvoicesView(AWAY)
    return InvoicesView(SHOWN, [_invoice(each) for each in invoices])


def _invoice(invoice: Invoice) -> InvoiceView:
    return InvoiceView(
        id=invoice.id,
        at=invoice.created_at.isoformat(),
        number=invoice.number or "No number",
        amount=money(invoice.total, invoice.currency),
        status=INVOICE_STATUSES.get(invoice.status, invoice.status.capitalize()),
        url=invoice.url or "",
        pdf=invoice.pdf_url or "",
    )

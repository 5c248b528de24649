"""An invoice's life: drafted, finalised, paid or retried, voided.

Invariant: a draft's lines follow its parts and the usage until it is finalised; after that only its
payment changes. Its number is assigned when it is finalised, without gaps.
"""

from typing import Literal

from devstack.stripe_fake import charges, discounts, invoice_lines, payment_methods, standing
from devstack.stripe_fake.agenda import DUE, waiting
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.expand import INCLUDABLE
from devstack.stripe_fake.invoice_lines import Part
from devstack.stripe_fake.operations import listed
from devstack.stripe_fake.periods import DAY

KIND = "invoice"
Outcome = Literal["paid", "failed", "action"]
# For so long a draft waits for usage that comes late.
DRAFT_SECONDS = 3600
# From one try to the next.
RETRY_SECONDS: tuple[int, ...] = (3 * DAY, 5 * DAY, 7 * DAY)


def draft(
    books: Books,
    subscription: Object,
    reason: str,
    parts: list[Part],
    period: tuple[int, int],
) -> Object:
    """A new one, stored but without an event yet: see `announce`. `reason` as in Stripe's list."""
    invoice = sketch(books, subscription, reason, parts, period)
    finalizes = books.now() + DRAFT_SECONDS
    invoice |= {"automatically_finalizes_at": finalizes, DUE: finalizes}
    return books.add(invoice)


def announce(books: Books, invoice: Object) -> None:
    books.emit("invoice.created", invoice)


def sketch(
    books: Books,
    subscription: Object,
    reason: str,
    parts: list[Part],
    period: tuple[int, int],
) -> Object:
    """The invoice as it would be now, without storing it."""
    customer = books.need("customer", subscription["customer"])
    invoice: Object = {
        "id": books.new_id("in"),
        "object": KIND,
        **dict.fromkeys(("automatically_finalizes_at", "custom_fields", "customer_account")),
        **dict.fromkeys(("default_payment_method", "default_source", "description", "due_date")),
        **dict.fromkeys(("effective_at", "footer", "hosted_invoice_url", "invoice_pdf")),
        **dict.fromkeys(("next_payment_attempt", "number", "receipt_number")),
        **dict.fromkeys(("amount_overpaid", "amount_paid", "amount_shipping", "attempt_count"), 0),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "account_country": "US",
        "account_name": "Test",
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": subscription["automatic_tax"]
        | {"provider": None, "status": "complete" if _taxed(subscription) else None},
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": books.now(),
        "currency": subscription["currency"],
        "customer": customer["id"],
        **{f"customer_{name}": customer[name] for name in ("address", "email", "name", "phone")},
        **{f"customer_{name}": customer[name] for name in ("shipping", "tax_exempt")},
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": subscription["discounts"],
        "issuer": {"account": None, "type": "self"},
        "livemode": False,
        "metadata": {},
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": subscription["metadata"],
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "payment_settings": dict.fromkeys(
            ("default_mandate", "payment_method_options", "payment_method_types")
        ),
        "period_end": period[1],
        "period_start": period[0],
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(
            ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
        ),
        "test_clock": customer["test_clock"],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "_parts": parts,
        "_subscription": subscription["id"],
        "_tries": 0,
        DUE: None,
    }
    return _work_out(books, invoice)


def finalize(books: Books, invoice: Object) -> None:
    """The last look at the usage, then a number. One that asks for nothing is paid at once."""
    if invoice["status"] != "draft":
        raise PaymentsError("This invoice is already finalized.", code="invoice_not_editable")
    _work_out(books, invoice)
    now, page = books.now(), f"{books.base_url}/invoice/{invoice['id']}"
    invoice |= {
        "automatically_finalizes_at": None,
        "effective_at": now,
        "hosted_invoice_url": page,
        "invoice_pdf": f"{page}/print",
        "number": _settle(books, invoice),
        "status": "open",
        DUE: None,
    }
    invoice["status_transitions"]["finalized_at"] = now
    books.emit("invoice.finalized", books.save(invoice))
    discounts.use_up(books, invoice)
    if invoice["amount_due"] == 0:
        _paid(books, invoice, 0)


def pay(
    books: Books,
    invoice: Object,
    payment_method: Object | None = None,
    *,
    authenticated: bool = False,
) -> Outcome:
    """Charge the amount due now; by default with the subscription's method, or else the customer's.

    `action`: the card's owner has to authenticate first; then call again with `authenticated`.
    """
    if invoice["status"] == "draft":
        finalize(books, invoice)
    if invoice["status"] == "paid":
        return "paid"
    if invoice["status"] != "open":
        raise PaymentsError(f"An invoice that is {invoice['status']} cannot be paid.")
    method = payment_method or method_of(books, invoice)
    if method is not None and payment_methods.needs_action(method):
        if not authenticated:
            books.emit("invoice.payment_action_required", invoice)
            return "action"
        books.save(method | {"_authenticated": True})
    invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
    if method is not None and charges.charge(books, invoice, method, invoice["amount_remaining"]):
        _paid(books, invoice, invoice["amount_remaining"])
        return "paid"
    books.emit("invoice.payment_failed", books.save(invoice))
    return "failed"


def collect(books: Books, invoice: Object) -> Outcome:
    """An automatic attempt: a failure is retried, and finally given up."""
    if invoice["status"] == "draft":
        finalize(books, invoice)
    outcome = pay(books, invoice)
    if outcome == "paid":
        return outcome
    tries: int = invoice["_tries"]
    last = tries >= len(RETRY_SECONDS)
    following = None if last else books.now() + RETRY_SECONDS[tries]
    invoice |= {"_tries": tries + 1, "next_payment_attempt": following, DUE: following}
    books.save(invoice)
    if last:
        stop(books, invoice["_subscription"], "open", "draft")
        standing.given_up(books, invoice)
    else:
        standing.after_failure(books, invoice)
    return outcome


def void(books: Books, invoice: Object) -> None:
    if invoice["status"] not in {"open", "uncollectible"}:
        raise PaymentsError(
            f"You can only void an open invoice; this one is {invoice['status']}.",
            code="invoice_not_editable",
        )
    invoice["status_transitions"]["voided_at"] = books.now()
    invoice |= {"status": "void", "auto_advance": False, "next_payment_attempt": None, DUE: None}
    books.emit("invoice.voided", books.save(invoice))


def stop(books: Books, subscription: str, *statuses: str) -> None:
    """Stop automatic collection of its invoices of a status."""
    for status in statuses:
        for invoice in books.all(KIND, _subscription=subscription, status=status):
            idle = {"auto_advance": False, "next_payment_attempt": None, DUE: None}
            books.save(invoice | idle | {"automatically_finalizes_at": None})


def method_of(books: Books, invoice: Object) -> Object | None:
    """What it is paid with by default."""
    subscription = books.get(standing.KIND, invoice["_subscription"])
    customer = books.need("customer", invoice["customer"])
    chosen = (subscription or {}).get("default_payment_method")
    given = chosen or customer["invoice_settings"]["default_payment_method"]
    return books.get(payment_methods.KIND, given) if given else None


def _paid(books: Books, invoice: Object, amount: int) -> None:
    invoice["status_transitions"]["paid_at"] = books.now()
    invoice |= {
        "amount_paid": amount,
        "amount_remaining": 0,
        "attempted": True,
        "next_payment_attempt": None,
        "status": "paid",
        DUE: None,
    }
    books.save(invoice)
    books.emit("invoice.paid", invoice)
    books.emit("invoice.payment_succeeded", invoice)
    standing.after_payment(books, invoice)


def _work_out(books: Books, invoice: Object) -> Object:
    """Lines and sums as they are now. What the customer has to their credit is used up first."""
    listed_lines = invoice_lines.lines(books, invoice)
    subtotal = sum(line["amount"] for line in listed_lines)
    off = discounts.amounts(books, invoice, subtotal)
    total = subtotal - sum(each["amount"] for each in off)
    balance: int = books.need("customer", invoice["customer"])["balance"]
    due = max(total + balance, 0)
    invoice |= {
        "amount_due": due,
        "amount_remaining": due,
        "ending_balance": None,
        "lines": listed(listed_lines, f"/v1/invoices/{invoice['id']}/lines"),
        "starting_balance": balance,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": total,
        "total_discount_amounts": off,
        "total_excluding_tax": total,
    }
    return invoice


def _settle(books: Books, invoice: Object) -> str:
    """Book its changes to the customer's balance; returns the invoice's number."""
    customer = books.need("customer", invoice["customer"])
    ending = min(invoice["total"] + invoice["starting_balance"], 0)
    invoice["ending_balance"] = ending
    sequence = customer["next_invoice_sequence"]
    former = customer["balance"]
    customer |= {"balance": ending, "next_invoice_sequence": sequence + 1}
    books.save(customer)
    if former != ending:
        books.emit("customer.updated", customer, {"balance": former})
    return f"{customer['invoice_prefix']}-{sequence:04}"


def _taxed(subscription: Object) -> bool:
    return subscription["automatic_tax"]["enabled"]


def _act(books: Books, invoice: Object, _at: int) -> None:
    collect(books, invoice)


def payments(books: Books, invoice: Object) -> Object:
    """The charges that were tried for it."""
    tried = books.all(charges.KIND, customer=invoice["customer"], _invoice=invoice["id"])
    return listed([_payment(each) for each in reversed(tried)], "/v1/invoice_payments")


def _payment(charge: Object) -> Object:
    paid: bool = charge["paid"]
    return {
        "id": f"inpay_{charge['id'].partition('_')[2]}",
        "object": "invoice_payment",
        "amount_paid": charge["amount_captured"],
        "amount_requested": charge["amount"],
        "created": charge["created"],
        "currency": charge["currency"],
        "invoice": charge["_invoice"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": charge["payment_intent"], "type": "payment_intent"},
        "status": "paid" if paid else "open",
        "status_transitions": {"canceled_at": None, "paid_at": charge["created"] if paid else None},
    }


INCLUDABLE[(KIND, "payments")] = payments
WAITING = waiting(KIND, _act)

"""A subscription as it begins, in the shape of Stripe's API."""

from collections.abc import Mapping

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.standing import KIND


def mode(books: Books, kind: str) -> Object:
    flexible = {"proration_discounts": "included"} if kind == "flexible" else None
    return {"flexible": flexible, "type": kind, "updated_at": books.now()}


def new(
    books: Books,
    customer: Object,
    currency: str,
    metadata: Mapping[str, str],
    trial_end: int | None,
    billing_mode: str,
) -> Object:
    """Without items; in trial until `trial_end`, or else still to be paid for."""
    now = books.now()
    trial = trial_end is not None
    return {
        "id": books.new_id("sub"),
        "object": KIND,
        **dict.fromkeys(("application", "application_fee_percent", "billing_cycle_anchor_config")),
        **dict.fromkeys(("billing_thresholds", "cancel_at", "canceled_at", "customer_account")),
        **dict.fromkeys(("days_until_due", "default_source", "description", "ended_at")),
        **dict.fromkeys(("next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection")),
        **dict.fromkeys(("payment_settings", "pending_setup_intent", "pending_update", "schedule")),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": trial_end or now,
        "billing_mode": mode(books, billing_mode),
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "livemode": False,
        "metadata": dict(metadata),
        "start_date": now,
        "status": "trialing" if trial else "incomplete",
        "test_clock": customer["test_clock"],
        "trial_end": trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": now if trial else None,
        "_pending": [],
        "_trial_told": None,
        "_upcoming_told": None,
    }

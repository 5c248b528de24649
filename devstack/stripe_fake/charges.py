"""Card charges, refunds and disputes."""

from typing import Literal

from stripe.params._charge_list_params import ChargeListParams
from stripe.params._charge_retrieve_params import ChargeRetrieveParams
from stripe.params._refund_create_params import RefundCreateParams

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param, missing_resource
from devstack.stripe_fake.operations import Call, Operation, listing, only, retrieving

KIND = "charge"
# The card fields that a charge shows.
CARD = (
    *("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4"),
    *("regulated_status", "wallet"),
)
FAILURE = "generic_decline"
FAILURE_MESSAGE = "Your card was declined."
EVIDENCE_SECONDS = 7 * 24 * 3600


def charge(books: Books, invoice: Object, method: Object, amount: int) -> bool:
    """Charge a card for an invoice; whether it succeeded. A failed charge is kept too."""
    succeeded = method["_behaviour"] != "fails_when_charged"
    made: Object = {
        "id": books.new_id("ch"),
        "object": KIND,
        "amount": amount,
        "amount_captured": amount if succeeded else 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "captured": succeeded,
        "created": books.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": "Subscription update" if invoice["_subscription"] else None,
        "disputed": False,
        "failure_code": None if succeeded else "card_declined",
        "failure_message": None if succeeded else FAILURE_MESSAGE,
        "livemode": False,
        "metadata": {},
        "outcome": {
            "network_status": "approved_by_network" if succeeded else "declined_by_network",
            "reason": None if succeeded else FAILURE,
            "risk_level": "normal",
            "seller_message": "Payment complete." if succeeded else "The bank declined the card.",
            "type": "authorized" if succeeded else "issuer_declined",
        },
        "paid": succeeded,
        "payment_intent": books.new_id("pi"),
        "payment_method": method["id"],
        "payment_method_details": {
            "card": {name: method["card"][name] for name in CARD},
            "type": "card",
        },
        "receipt_email": invoice["customer_email"],
        "receipt_url": None,
        "refunded": False,
        "status": "succeeded" if succeeded else "failed",
        "_invoice": invoice["id"],
    }
    books.add(made)
    books.emit("charge.succeeded" if succeeded else "charge.failed", made)
    return succeeded


def refund(call: Call) -> Object:
    """Refunds the rest of a charge, or a part of it."""
    params, books = only(call, "amount", "charge", "payment_intent"), call.books
    charged = _charged(call)
    left = charged["amount_captured"] - charged["amount_refunded"]
    amount = params.get("amount", left)
    if not 0 < amount <= left:
        raise PaymentsError(
            f"Charge {charged['id']} has already been refunded."
            if left == 0
            else f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            code="charge_already_refunded" if left == 0 else None,
            param="amount",
        )
    made: Object = {
        "id": books.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charged["id"],
        "created": books.now(),
        "currency": charged["currency"],
        "customer": charged["customer"],
        "metadata": {},
        "payment_intent": charged["payment_intent"],
        "reason": None,
        "status": "succeeded",
    }
    books.add(made)
    former = {name: charged[name] for name in ("amount_refunded", "refunded")}
    refunded = charged["amount_refunded"] + amount
    charged |= {"amount_refunded": refunded, "refunded": refunded == charged["amount_captured"]}
    books.emit("charge.refunded", books.save(charged), former)
    books.emit("refund.created", made)
    return made


def _charged(call: Call) -> Object:
    """The charge that is to be refunded, by its id or by its payment intent's."""
    params, books = call.params, call.books
    if intent := params.get("payment_intent"):
        for charged in books.all(KIND, payment_intent=intent):
            return charged
        raise missing_resource("payment_intent", intent, "payment_intent")
    if not params.get("charge"):
        raise missing_param("charge")
    return books.need(KIND, params["charge"], "charge")


def open_dispute(books: Books, charged: Object, reason: str = "fraudulent") -> Object:
    """The card's owner wants the money back. Raises `PaymentsError` if it was never paid."""
    if charged["status"] != "succeeded" or charged["disputed"]:
        raise PaymentsError("This charge cannot be disputed.", code="charge_disputed")
    dispute: Object = {
        "id": books.new_id("du"),
        "object": "dispute",
        "amount": charged["amount"],
        "balance_transactions": [],
        "charge": charged["id"],
        "created": books.now(),
        "currency": charged["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": books.now() + EVIDENCE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charged["payment_intent"],
        "reason": reason,
        "status": "needs_response",
    }
    books.add(dispute)
    books.save(charged | {"disputed": True})
    books.emit("charge.dispute.created", dispute)
    return dispute


def close_dispute(books: Books, dispute: Object, status: Literal["won", "lost"]) -> Object:
    if dispute["status"] in {"won", "lost"}:
        raise PaymentsError("This dispute is closed already.")
    dispute["status"] = status
    books.emit("charge.dispute.closed", books.save(dispute))
    return dispute


OPERATIONS = (
    listing("/v1/charges", ChargeListParams, KIND, "customer"),
    retrieving("/v1/charges/{charge}", ChargeRetrieveParams, KIND, "charge"),
    Operation("POST", "/v1/refunds", RefundCreateParams, refund),
)

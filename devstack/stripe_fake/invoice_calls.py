"""Invoices as the API has them: read, paid, voided, and the next one foreseen."""

from http import HTTPStatus
from typing import Any

from stripe.params._invoice_create_preview_params import InvoiceCreatePreviewParams
from stripe.params._invoice_list_params import InvoiceListParams
from stripe.params._invoice_pay_params import InvoicePayParams
from stripe.params._invoice_payment_list_params import InvoicePaymentListParams
from stripe.params._invoice_retrieve_params import InvoiceRetrieveParams
from stripe.params._invoice_void_invoice_params import InvoiceVoidInvoiceParams

from devstack.stripe_fake import engine, invoices, payment_methods, standing
from devstack.stripe_fake.books import Object
from devstack.stripe_fake.charges import FAILURE, FAILURE_MESSAGE
from devstack.stripe_fake.errors import PaymentsError, TriedError, missing_param
from devstack.stripe_fake.operations import PAGING, Call, Operation, listed, only, page, retrieving
from devstack.stripe_fake.payment_methods import DECLINED

KIND = invoices.KIND


def list_all(call: Call) -> Object:
    params, equal = only(call, "customer", "subscription", *PAGING), dict[str, Any]()
    if customer := params.get("customer"):
        equal["customer"] = call.books.need("customer", customer, "customer")["id"]
    if subscription := params.get("subscription"):
        equal["_subscription"] = subscription
    if not equal:
        equal["test_clock"] = None
    return page(call, call.books.all(KIND, **equal), "/v1/invoices")


def pay(call: Call) -> Object:
    params, books = only(call, "payment_method"), call.books
    invoice = _found(call)
    if invoice["status"] == "paid":
        raise PaymentsError("Invoice is already paid")
    given, method = params.get("payment_method"), None
    if given:
        customer = invoice["customer"]
        method = payment_methods.for_customer(books, given, customer, "payment_method")
    elif invoice["amount_due"] and invoices.method_of(books, invoice) is None:
        raise PaymentsError(
            "There is no `default_payment_method` set on this Customer or Invoice.",
            code="resource_missing",
        )
    match invoices.pay(books, invoice, method):
        case "paid":
            return invoice
        case "failed":
            raise TriedError(
                FAILURE_MESSAGE,
                status=HTTPStatus.PAYMENT_REQUIRED,
                kind="card_error",
                code=DECLINED,
                decline_code=FAILURE,
            )
        case "action":
            raise TriedError(
                "This payment requires additional user action before it can be completed.",
                status=HTTPStatus.PAYMENT_REQUIRED,
                kind="card_error",
                code="invoice_payment_intent_requires_action",
            )


def void(call: Call) -> Object:
    only(call)
    invoice = _found(call)
    invoices.void(call.books, invoice)
    return invoice


def create_preview(call: Call) -> Object:
    """The next invoice of a subscription: its next base price, and the usage so far."""
    given = only(call, "subscription").get("subscription")
    if not given:
        raise missing_param("subscription")
    subscription = call.books.need(standing.KIND, given, "subscription")
    if (found := engine.preview(call.books, subscription)) is None:
        raise PaymentsError(
            "No upcoming invoices for customer", status=404, code="invoice_upcoming_none"
        )
    return found


def list_payments(call: Call) -> Object:
    """How an invoice was paid, by the invoice or by the payment intent."""
    params, books = only(call, "invoice", "payment", "limit"), call.books
    asked: Object = params.get("payment") or {}
    if intent := asked.get("payment_intent"):
        named = {charge["_invoice"] for charge in books.all("charge", payment_intent=intent)}
    else:
        named = {params["invoice"]} if params.get("invoice") else set[str]()
    data = [
        payment
        for given in sorted(named)
        for payment in invoices.payments(books, books.need(invoices.KIND, given))["data"]
        if not intent or payment["payment"]["payment_intent"] == intent
    ]
    return listed(data, "/v1/invoice_payments")


def _found(call: Call) -> Object:
    return call.books.need(KIND, call.path["invoice"], "invoice")


ONE = "/v1/invoices/{invoice}"
OPERATIONS = (
    Operation("POST", "/v1/invoices/create_preview", InvoiceCreatePreviewParams, create_preview),
    Operation("GET", "/v1/invoices", InvoiceListParams, list_all),
    Operation("GET", "/v1/invoice_payments", InvoicePaymentListParams, list_payments),
    retrieving(ONE, InvoiceRetrieveParams, KIND, "invoice"),
    Operation("POST", f"{ONE}/pay", InvoicePayParams, pay),
    Operation("POST", f"{ONE}/void", InvoiceVoidInvoiceParams, void),
)

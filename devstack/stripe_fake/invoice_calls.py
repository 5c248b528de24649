"""Invoices as the API has them: read, paid, voided, and the next one foreseen."""

from http import HTTPStatus

from stripe.params._invoice_create_preview_params import InvoiceCreatePreviewParams
from stripe.params._invoice_finalize_invoice_params import InvoiceFinalizeInvoiceParams
from stripe.params._invoice_line_item_list_params import InvoiceLineItemListParams
from stripe.params._invoice_list_params import InvoiceListParams
from stripe.params._invoice_pay_params import InvoicePayParams
from stripe.params._invoice_payment_list_params import InvoicePaymentListParams
from stripe.params._invoice_retrieve_params import InvoiceRetrieveParams
from stripe.params._invoice_void_invoice_params import InvoiceVoidInvoiceParams

from devstack.stripe_fake import customers, engine, invoices, payment_methods, standing
from devstack.stripe_fake.books import Object
from devstack.stripe_fake.charges import FAILURE, FAILURE_MESSAGE
from devstack.stripe_fake.errors import PaymentsError, TriedError, missing_param
from devstack.stripe_fake.operations import Call, Operation, only, page, page_of
from devstack.stripe_fake.payment_methods import DECLINED

KIND = invoices.KIND


def retrieve(call: Call) -> Object:
    return call.books.need(KIND, call.path["invoice"], "invoice")


def list_all(call: Call) -> Object:
    wanted = ("customer", "status", "subscription")
    params = only(call, *wanted, "created", "limit", "starting_after", "ending_before")
    names = {"subscription": "_subscription"}
    equal = {names.get(name, name): params[name] for name in wanted if params.get(name)}
    if "customer" in equal:
        call.books.need("customer", params["customer"], "customer")
    elif "_subscription" not in equal:
        equal["test_clock"] = None
    return page(call, call.books.all(KIND, **equal), "/v1/invoices")


def list_lines(call: Call) -> Object:
    only(call, "limit", "starting_after", "ending_before")
    invoice = retrieve(call)
    return page_of(call, invoice["lines"]["data"], invoice["lines"]["url"])


def finalize(call: Call) -> Object:
    only(call, "auto_advance")
    invoice = retrieve(call)
    invoices.finalize(call.books, invoice)
    return invoice


def pay(call: Call) -> Object:
    params, books = only(call, "off_session", "paid_out_of_band", "payment_method"), call.books
    invoice = retrieve(call)
    if invoice["status"] == "paid":
        raise PaymentsError("Invoice is already paid")
    if params.get("paid_out_of_band"):
        invoices.mark_paid(books, invoice)
        return invoice
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
    invoice = retrieve(call)
    invoices.void(call.books, invoice)
    return invoice


def create_preview(call: Call) -> Object:
    """The next invoice of a subscription: its next base price, and what was used so far."""
    only(call, "customer", "subscription")
    subscription = _subscription(call)
    found = engine.preview(call.books, subscription) if subscription else None
    if found is None:
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
    return {"object": "list", "data": data, "has_more": False, "url": "/v1/invoice_payments"}


def _subscription(call: Call) -> Object | None:
    books, params = call.books, call.params
    if given := params.get("subscription"):
        return books.need(standing.KIND, given, "subscription")
    if not params.get("customer"):
        raise missing_param("customer")
    customer = customers.living(books, params["customer"])
    running = [
        subscription
        for subscription in books.all(standing.KIND, customer=customer["id"])
        if subscription["status"] in standing.RUNNING
    ]
    return min(running, key=lambda each: standing.period(each)[1], default=None)


ONE = "/v1/invoices/{invoice}"
OPERATIONS = (
    Operation("POST", "/v1/invoices/create_preview", InvoiceCreatePreviewParams, create_preview),
    Operation("GET", "/v1/invoices", InvoiceListParams, list_all),
    Operation("GET", "/v1/invoice_payments", InvoicePaymentListParams, list_payments),
    Operation("GET", ONE, InvoiceRetrieveParams, retrieve),
    Operation("GET", f"{ONE}/lines", InvoiceLineItemListParams, list_lines),
    Operation("POST", f"{ONE}/finalize", InvoiceFinalizeInvoiceParams, finalize),
    Operation("POST", f"{ONE}/pay", InvoicePayParams, pay),
    Operation("POST", f"{ONE}/void", InvoiceVoidInvoiceParams, void),
)

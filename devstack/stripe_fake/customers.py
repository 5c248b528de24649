"""Customers: made, changed, found by address, deleted with their subscriptions."""

from stripe.params._customer_create_params import CustomerCreateParams
from stripe.params._customer_delete_params import CustomerDeleteParams
from stripe.params._customer_list_params import CustomerListParams
from stripe.params._customer_retrieve_params import CustomerRetrieveParams
from stripe.params._customer_update_params import CustomerUpdateParams

from devstack.stripe_fake import payment_methods
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_resource
from devstack.stripe_fake.operations import (
    PAGING,
    Call,
    Operation,
    change,
    merged_metadata,
    only,
    page,
)

PLAIN = ("address", "email", "name")
KNOWN = (*PLAIN, "invoice_settings", "metadata")
LONGEST_EMAIL = 512
MOST_ON_A_CLOCK = 3


def create(call: Call) -> Object:
    params, books = only(call, *KNOWN, "test_clock"), call.books
    _check_email(params.get("email"))
    customer = _blank(books)
    if clock := params.get("test_clock"):
        _check_clock(books, clock)
        customer["test_clock"] = clock
    customer |= _changes(books, customer, call)
    return books.add(customer, "customer.created")


def _blank(books: Books) -> Object:
    return {
        "id": books.new_id("cus"),
        "object": "customer",
        **dict.fromkeys(("address", "currency", "default_source", "description", "discount")),
        **dict.fromkeys(("email", "name", "phone", "shipping", "test_clock")),
        "balance": 0,
        "created": books.now(),
        "delinquent": False,
        "invoice_prefix": books.new_id("in")[-8:].upper(),
        "invoice_settings": dict.fromkeys(
            ("custom_fields", "default_payment_method", "footer", "rendering_options")
        ),
        "livemode": False,
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
    }


def retrieve(call: Call) -> Object:
    return _but_deleted(call.books.need("customer", call.path["customer"]))


def update(call: Call) -> Object:
    params = only(call, *KNOWN)
    _check_email(params.get("email"))
    customer = living(call.books, call.path["customer"], "id")
    return change(call, customer, _changes(call.books, customer, call), "customer.updated")


def delete(call: Call) -> Object:
    customer = living(call.books, call.path["customer"], "id")
    erase(call.books, customer)
    return _but_deleted(customer | {"deleted": True})


def erase(books: Books, customer: Object) -> None:
    """With everything that ends with them. The event still shows who they were."""
    for prepare in books.at_customer_deleted:
        prepare(books, customer)
    books.save(customer | {"deleted": True})
    books.emit("customer.deleted", customer)


def list_all(call: Call) -> Object:
    params = only(call, "email", "test_clock", *PAGING)
    # Objects of a test clock are only listed for it.
    equal: Object = {
        "test_clock": None,
        **{n: params[n] for n in ("email", "test_clock") if n in params},
    }
    found = [each for each in call.books.all("customer", **equal) if not each.get("deleted")]
    return page(call, found, "/v1/customers")


def living(books: Books, given: str, param: str = "customer") -> Object:
    """A customer who is not deleted; else `PaymentsError` (404)."""
    customer = books.need("customer", given, param)
    if customer.get("deleted"):
        raise missing_resource("customer", given, param)
    return customer


def _changes(books: Books, customer: Object, call: Call) -> Object:
    params = call.params
    values: Object = {name: params[name] for name in PLAIN if name in params}
    if "metadata" in params:
        values["metadata"] = merged_metadata(customer["metadata"], params["metadata"])
    if settings := params.get("invoice_settings"):
        if method := settings.get("default_payment_method"):
            param = "invoice_settings[default_payment_method]"
            found = payment_methods.for_customer(books, method, customer["id"], param)
            settings = settings | {"default_payment_method": found["id"]}
        values["invoice_settings"] = customer["invoice_settings"] | settings
    return values


def _check_clock(books: Books, clock: str) -> None:
    books.need("test_helpers.test_clock", clock, "test_clock")
    if len(books.all("customer", test_clock=clock)) >= MOST_ON_A_CLOCK:
        raise PaymentsError(
            f"You have reached the limit of {MOST_ON_A_CLOCK} customers for this test clock.",
            param="test_clock",
        )


def _check_email(email: str | None) -> None:
    if email is not None and ("@" not in email or len(email) > LONGEST_EMAIL):
        raise PaymentsError(f"Invalid email address: {email}", code="email_invalid", param="email")


def _but_deleted(customer: Object) -> Object:
    if not customer.get("deleted"):
        return customer
    return {"id": customer["id"], "object": "customer", "deleted": True}


OPERATIONS = (
    Operation("POST", "/v1/customers", CustomerCreateParams, create),
    Operation("GET", "/v1/customers", CustomerListParams, list_all),
    Operation("GET", "/v1/customers/{customer}", CustomerRetrieveParams, retrieve),
    Operation("POST", "/v1/customers/{customer}", CustomerUpdateParams, update),
    Operation("DELETE", "/v1/customers/{customer}", CustomerDeleteParams, delete),
)

"""Products: what prices are for."""

from collections.abc import Mapping
from typing import Any

from stripe.params._product_create_params import ProductCreateParams
from stripe.params._product_delete_params import ProductDeleteParams
from stripe.params._product_list_params import ProductListParams
from stripe.params._product_retrieve_params import ProductRetrieveParams
from stripe.params._product_update_params import ProductUpdateParams

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import Call, Operation, change, merged_metadata, only, page

PLAIN = ("active", "description", "name", "statement_descriptor", "tax_code", "unit_label", "url")


def create(call: Call) -> Object:
    return add(call.books, only(call, *PLAIN, "id", "images", "marketing_features", "metadata"))


def add(books: Books, params: Mapping[str, Any]) -> Object:
    """A product of what a call gave for it."""
    given = params.get("id")
    if given and books.get("product", given):
        raise PaymentsError(
            f"Product already exists: {given}", code="resource_already_exists", param="id"
        )
    product: Object = {
        "id": given or books.new_id("prod"),
        "object": "product",
        "active": True,
        "created": books.now(),
        "default_price": None,
        "description": None,
        "images": params.get("images") or [],
        "livemode": False,
        "marketing_features": params.get("marketing_features") or [],
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": None,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "tax_details": None,
        "type": "service",
        "unit_label": None,
        "updated": books.now(),
        "url": None,
    }
    product |= {name: params[name] for name in PLAIN if name in params}
    books.add(product)
    books.emit("product.created", product)
    return product


def retrieve(call: Call) -> Object:
    return call.books.need("product", call.path["id"])


def update(call: Call) -> Object:
    books = call.books
    params = only(call, *PLAIN, "default_price", "images", "marketing_features", "metadata")
    product = books.need("product", call.path["id"])
    values: Object = {name: params[name] for name in (*PLAIN, "default_price") if name in params}
    values |= {n: params[n] or [] for n in ("images", "marketing_features") if n in params}
    if values.get("default_price"):
        books.need("price", values["default_price"], "default_price")
    if "metadata" in params:
        values["metadata"] = merged_metadata(product["metadata"], params["metadata"])
    if previous := change(call, product, values | {"updated": books.now()}):
        books.emit("product.updated", product, previous)
    return product


def delete(call: Call) -> Object:
    product = call.books.need("product", call.path["id"])
    if call.books.all("price", product=product["id"]):
        raise PaymentsError(
            "This product cannot be deleted because it has one or more user-created prices."
        )
    call.books.remove(product)
    call.books.emit("product.deleted", product)
    return {"id": product["id"], "object": "product", "deleted": True}


def list_all(call: Call) -> Object:
    params = only(call, "active", "created", "ids", "limit", "starting_after", "ending_before")
    equal = {"active": params["active"]} if "active" in params else {}
    ids = params.get("ids")
    found = [p for p in call.books.all("product", **equal) if ids is None or p["id"] in ids]
    return page(call, found, "/v1/products")


OPERATIONS = (
    Operation("POST", "/v1/products", ProductCreateParams, create),
    Operation("GET", "/v1/products", ProductListParams, list_all),
    Operation("GET", "/v1/products/{id}", ProductRetrieveParams, retrieve),
    Operation("POST", "/v1/products/{id}", ProductUpdateParams, update),
    Operation("DELETE", "/v1/products/{id}", ProductDeleteParams, delete),
)

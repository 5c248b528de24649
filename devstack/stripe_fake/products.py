"""Products: what prices are for."""

from stripe.params._product_create_params import ProductCreateParams
from stripe.params._product_retrieve_params import ProductRetrieveParams
from stripe.params._product_update_params import ProductUpdateParams

from devstack.stripe_fake.books import Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import (
    Call,
    Operation,
    change,
    merged_metadata,
    only,
    retrieving,
)

KIND = "product"
PLAIN = ("active", "name", "unit_label")


def create(call: Call) -> Object:
    params, books = only(call, *PLAIN, "id", "metadata"), call.books
    given = params.get("id")
    if given and books.get(KIND, given):
        raise PaymentsError(
            f"Product already exists: {given}", code="resource_already_exists", param="id"
        )
    product: Object = {
        "id": given or books.new_id("prod"),
        "object": KIND,
        **dict.fromkeys(("default_price", "description", "package_dimensions", "shippable")),
        **dict.fromkeys(("statement_descriptor", "tax_code", "tax_details", "unit_label", "url")),
        "active": True,
        "created": books.now(),
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "type": "service",
        "updated": books.now(),
        **{name: params[name] for name in PLAIN if name in params},
        "metadata": merged_metadata({}, params.get("metadata")),
    }
    return books.add(product, "product.created")


def update(call: Call) -> Object:
    books, params = call.books, only(call, *PLAIN, "metadata")
    product = books.need(KIND, call.path["id"])
    values: Object = {name: params[name] for name in PLAIN if name in params}
    if "metadata" in params:
        values["metadata"] = merged_metadata(product["metadata"], params["metadata"])
    return change(call, product, values | {"updated": books.now()}, "product.updated")


OPERATIONS = (
    Operation("POST", "/v1/products", ProductCreateParams, create),
    retrieving("/v1/products/{id}", ProductRetrieveParams, KIND),
    Operation("POST", "/v1/products/{id}", ProductUpdateParams, update),
)

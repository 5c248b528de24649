"""One request within a portal session: its customer, and what it may change.

Invariant: an action that isn't offered is refused even if its form is sent; no customer reaches
another's data.
"""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from devstack.stripe_fake import customers, invoices, payment_methods, portal_api, standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_resource
from devstack.stripe_fake.pages.routing import see


class Visit:
    def __init__(self, books: Books, request: Request) -> None:
        self.books = books
        self.session = books.need(portal_api.SESSION, request.path_params["session"])
        self.customer = customers.living(books, self.session["customer"])
        self.path = f"/portal/{self.session['id']}"
        self._named = request.path_params

    def offers(self, feature: str) -> bool:
        features = portal_api.configuration_of(self.books, self.session)["features"]
        return bool(features[feature]["enabled"])

    def require(self, feature: str) -> None:
        if not self.offers(feature):
            raise PaymentsError("This is not offered here.", status=HTTPStatus.FORBIDDEN)

    def subscriptions(self) -> list[Object]:
        """The subscriptions that still run; else the last one that did."""
        found = self.books.all(standing.KIND, customer=self.customer["id"])
        return [each for each in reversed(found) if each["status"] not in standing.FINAL] or found[
            -1:
        ]

    def subscription(self, feature: str) -> Object:
        """The one that the address names, if it is the customer's and there is something to do."""
        self.require(feature)
        found = self.books.need(standing.KIND, self._named["subscription"])
        if found["customer"] != self.customer["id"] or found["status"] in standing.FINAL:
            raise missing_resource("subscription", found["id"], "subscription")
        return found

    def invoice(self) -> Object:
        self.require("invoice_history")
        found = self.books.need(invoices.KIND, self._named["invoice"])
        if found["customer"] != self.customer["id"]:
            raise missing_resource("invoice", found["id"], "invoice")
        return found

    def unconfirmed_card(self) -> Object:
        """A card typed in here; it becomes the customer's once it is confirmed."""
        self.require("payment_method_update")
        found = self.books.need(payment_methods.KIND, self._named["method"])
        if found["customer"] not in (None, self.customer["id"]):
            raise missing_resource("payment_method", found["id"], "payment_method")
        return found

    def back(self, notice: str) -> Response:
        return see(f"{self.path}?notice={notice}")

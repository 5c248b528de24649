"""A Checkout session, and the texts about it."""

from collections.abc import Sequence

from starlette.requests import Request

from devstack.stripe_fake import (
    checkout,
    customers,
    discounts,
    payment_methods,
    subscriptions,
)
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import missing_resource
from devstack.stripe_fake.invoice_lines import name_of
from devstack.stripe_fake.pages import words
from devstack.stripe_fake.periods import DAY
from devstack.stripe_fake.subscription_items import metered

# A placeholder that the return address may contain.
SESSION_ID = "{CHECKOUT_SESSION_ID}"


class Sale:
    def __init__(self, books: Books, request: Request) -> None:
        self.books = books
        self.session = books.need(checkout.KIND, request.path_params["session"])
        self.path = f"/checkout/{self.session['id']}"
        items: Sequence[Object] = self.session["_items"]
        self.priced = [
            (books.need("price", item["price"]), item.get("quantity") or 1) for item in items
        ]

    @property
    def open(self) -> bool:
        # It is marked as expired a moment after it expires.
        return self.session["status"] == "open" and self.session["expires_at"] > self.books.now()

    @property
    def base(self) -> str:
        return " + ".join(words.base_terms(*each) for each in self.licensed)

    @property
    def licensed(self) -> list[tuple[Object, int]]:
        return [each for each in self.priced if not metered(each[0])]

    @property
    def usage(self) -> list[str]:
        by_usage = [price for price, _ in self.priced if metered(price)]
        return [term for price in by_usage for term in words.usage_terms(self.books, price)]

    @property
    def plan(self) -> str:
        of = [price for price, _ in self.licensed or self.priced[:1]]
        return " and ".join(name_of(self.books, price) for price in of)

    @property
    def trial_end(self) -> int | None:
        return subscriptions.trial_end(self.books, self.session["_subscription_data"])

    @property
    def trial_days(self) -> int:
        return round(((self.trial_end or 0) - self.books.now()) / DAY)

    @property
    def due_today(self) -> str:
        return words.money(self.session["amount_total"], self.session["currency"])

    @property
    def email(self) -> str | None:
        return customers.living(self.books, self.session["customer"])["email"]

    @property
    def success(self) -> str:
        return str(self.session["success_url"]).replace(SESSION_ID, self.session["id"])

    def confirm_address(self, method: Object) -> str:
        return f"{self.path}/confirm?method={method['id']}"

    def method(self, request: Request) -> Object:
        """The card typed in before: not attached yet, or already the customer's."""
        given = request.query_params.get("method", "")
        found = self.books.need(payment_methods.KIND, given, "payment_method")
        if found["customer"] not in (None, self.session["customer"]):
            raise missing_resource("payment_method", given, "payment_method")
        return found

    @property
    def promotion(self) -> dict[str, str] | None:
        """The applied code, and its discount."""
        if self.session["_promotion"] is None:
            return None
        code = self.books.need("promotion_code", self.session["_promotion"])
        worth = discounts.in_words(discounts.coupon_of(self.books, code))
        return {"code": code["code"], "worth": worth}

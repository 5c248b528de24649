"""Links to the payment provider's pages for the ids we store."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

DASHBOARD = "https://dashboard.stripe.com"


@dataclass(frozen=True, slots=True)
class StripePages:
    """`live`: real money; other keys' objects are under /test/. `fake_url` is the address of the
    fake's page, if payments go to a fake Stripe."""

    live: bool
    fake_url: str | None = None

    def customer(self, customer_id: str) -> str:
        if self.fake_url is not None:
            return f"{self.fake_url}/#{quote(customer_id, safe='')}"
        return self._page("customers", customer_id)

    def subscription(self, subscription_id: str, *, of: str) -> str:
        """`of` is the customer: the fake shows subscriptions on their customer's page."""
        if self.fake_url is not None:
            return self.customer(of)
        return self._page("subscriptions", subscription_id)

    def _page(self, kind: str, object_id: str) -> str:
        mode = "" if self.live else "/test"
        return f"{DASHBOARD}{mode}/{kind}/{quote(object_id, safe='')}"

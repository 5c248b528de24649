"""Where a bank would ask whether it is really its customer who pays."""

from starlette.responses import Response

from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.html import Html, tag
from devstack.stripe_fake.pages.routing import Fields

REFUSED = "The payment was not confirmed. Try again, or use another card."


def question(what: str, action: str, *, leads_to: tuple[str, ...] = ()) -> Response:
    """`what` is what would be confirmed, as a sentence; the answer goes to `action`."""
    return page(
        "Confirm the payment",
        tag(
            "form",
            tag("p", "Here the bank would ask its customer, on a page or in an app of its own."),
            tag("p", tag("strong", what)),
            tag(
                "div",
                _button("Complete", "complete", main=True),
                _button("Fail", "fail"),
                class_="row",
            ),
            method="post",
            action=action,
            class_="card",
        ),
        width="narrow",
        leads_to=leads_to,
    )


def confirmed(fields: Fields) -> bool:
    """Whether it was; raises `PaymentsError` if neither was said."""
    decision = fields.get("decision")
    if decision not in ("complete", "fail"):
        raise PaymentsError("Say whether the payment is confirmed or not.")
    return decision == "complete"


def _button(text: str, value: str, *, main: bool = False) -> Html:
    return tag("button", text, name="decision", value=value, class_="main" if main else None)

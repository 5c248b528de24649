"""Where a bank would ask whether it is really its customer who pays."""

from starlette.responses import Response

from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.routing import Fields

REFUSED = "The payment was not confirmed. Try again, or use another card."


def question(what: str, action: str, *, leads_to: tuple[str, ...] = ()) -> Response:
    """`what` is what would be confirmed, as a sentence; the answer goes to `action`."""
    return page("confirm", leads_to=leads_to, what=what, action=action)


def confirmed(fields: Fields) -> bool:
    """Whether the action was confirmed; raises `PaymentsError` without a decision."""
    decision = fields.get("decision")
    if decision not in ("complete", "fail"):
        raise PaymentsError("Say whether the payment is confirmed or not.")
    return decision == "complete"

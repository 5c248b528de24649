"""Stripe's webhooks: verified, read, and fetched where the delivery is only a notice.

Invariant: only a body signed with one of our secrets within the last minutes is read; without a
secret nothing is valid.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import stripe
from stripe import StripeClient, WebhookSignature

from aisaas.adapters.stripe_client import read, translated
from aisaas.adapters.stripe_objects import StripeEvent, StripeMeterProblem
from aisaas.billing.ports import MeterEvent, MeterProblem, PaymentEvent
from aisaas.errors import WebhookInvalid

SIGNATURE_SECONDS = 300
METER_PROBLEM = "v1.billing.meter.error_report_triggered"


def verify(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Signed with any of the secrets (one may be in rotation), and lately.

    The SDK refuses old signatures, but not those of the future, which would be good for longer.

    Raises:
        WebhookInvalid: it is not.
    """
    for secret in secrets:
        try:
            WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType]
                body, signature, secret, SIGNATURE_SECONDS
            )
        except (stripe.SignatureVerificationError, ValueError, TypeError):
            # Signed with another secret; or the body isn't text, or the signature isn't a digest.
            continue
        if _signed_at(signature) <= time.time() + SIGNATURE_SECONDS:
            return
    raise WebhookInvalid("not signed by Stripe, or not lately")


def _signed_at(signature: str) -> int:
    """Of a header that was verified: the same time that the SDK read."""
    return next(int(part[2:]) for part in signature.split(",") if part.startswith("t="))


def read_event(body: bytes) -> PaymentEvent:
    """A verified body as a snapshot event. Raises WebhookInvalid."""
    try:
        return StripeEvent.model_validate_json(body).payment_event()
    except ValueError as error:
        raise WebhookInvalid("no event of Stripe's") from error


def read_meter_notice(client: StripeClient, body: bytes) -> str | None:
    """The id of a verified body's thin event; None for another type.

    Raises:
        WebhookInvalid: it isn't a thin event.
    """
    try:
        thin = client.parse_event_notification_without_verification(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WebhookInvalid("no thin event of Stripe's") from error
    return thin.id if thin.type == METER_PROBLEM else None


async def fetch_meter_problem(client: StripeClient, event_id: str) -> MeterProblem:
    """What a thin event is about: the notice only says where to look.

    Raises:
        PaymentsError, PaymentsRefused: it could not be fetched.
    """
    async with translated():
        # The SDK's own way to do that sends a parameter that the API doesn't know.
        found = await client.v2.core.events.retrieve_async(event_id)
        whole = read(found, StripeMeterProblem)
    return MeterProblem(
        event_id=whole.id,
        meter_id=whole.related_object.id,
        created_at=whole.created,
        reasons=tuple(
            (
                kind.code,
                kind.error_count,
                tuple(_identifier(sample.request.identifier) for sample in kind.sample_errors),
            )
            for kind in whole.data.reason.error_types
        ),
    )


def meter_key(event: MeterEvent) -> str:
    """The idempotency key of a meter event; problem reports name the event by it.

    The same for every try, except after an answered failure: Stripe would repeat that answer for a
    day. The identifier alone keeps the event from counting twice.
    """
    return f"{event.identifier}.{event.failures}" if event.failures else event.identifier


def _identifier(key: str) -> str:
    """Of an event, by the key under which it was sent."""
    return key.partition(".")[0]

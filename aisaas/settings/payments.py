"""Stripe, and the daily spending caps."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from aisaas.settings.base import FieldGroup
from aisaas.settings.values import BASE_URL, WEBHOOK_SECRETS, listed, starting_with

STRIPE_TEST_KEYS = ("sk_test_", "rk_test_")
STRIPE_LIVE_KEYS = ("sk_live_", "rk_live_")

DailyUsd = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)]


class PaymentFields(FieldGroup):
    stripe_secret_key: Annotated[
        SecretStr | None, starting_with(*STRIPE_TEST_KEYS, *STRIPE_LIVE_KEYS)
    ] = None
    # Another server that speaks Stripe's protocol; the embedded fake is one.
    stripe_api_base: Annotated[str | None, BASE_URL] = None
    # Several, comma separated, while one is being rotated. Without one its endpoint is off.
    stripe_webhook_secret: Annotated[SecretStr | None, WEBHOOK_SECRETS] = None
    stripe_meter_webhook_secret: Annotated[SecretStr | None, WEBHOOK_SECRETS] = None
    past_due_grace_days: Annotated[int, Field(ge=0, le=90)] = 7
    # The effect of a full refund or a lost dispute on the plan that was paid with it.
    after_full_refund: Literal["suspend", "cancel", "nothing"] = "suspend"
    # The start page of the embedded fake.
    payments_url: str | None = None

    free_tier_daily_usd: DailyUsd = Decimal(5)
    total_daily_usd: DailyUsd = Decimal(50)

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Any of which may have signed a snapshot event."""
        return listed(self.stripe_webhook_secret)

    @property
    def meter_webhook_secrets(self) -> tuple[str, ...]:
        """Any of which may have signed a thin event."""
        return listed(self.stripe_meter_webhook_secret)

    @property
    def stripe_is_live(self) -> bool:
        """Whether real money moves."""
        key = self.stripe_secret_key
        return key is not None and key.get_secret_value().startswith(STRIPE_LIVE_KEYS)

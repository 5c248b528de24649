"""What became of a webhook's event, and what a refund does."""

from __future__ import annotations

from typing import Literal

WebhookOutcome = Literal["done", "ignored", "unknown_customer", "unknown_price", "stale"]
AfterRefund = Literal["suspend", "cancel", "nothing"]

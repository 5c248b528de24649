"""What became of a webhook's event."""

from __future__ import annotations

from typing import Literal

WebhookOutcome = Literal["done", "ignored", "unknown_customer", "unknown_price", "stale"]

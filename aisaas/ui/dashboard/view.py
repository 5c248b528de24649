"""Ledger lines to table rows. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from aisaas.billing.models import UsageRecord
from aisaas.ui.chat.view import cost

PURPOSES = {"reply": "Reply", "title": "Title"}
OUTCOMES = {
    "done": "Complete",
    "stopped": "Stopped",
    "interrupted": "Cut off",
    "failed": "No reply",
}


@dataclasses.dataclass(frozen=True)
class UsageView:
    """A line of the ledger, as its owner reads it."""

    id: str
    at: str
    purpose: str
    model: str
    tokens: str
    counted: str
    cost: str
    outcome: str


def usage_view(record: UsageRecord, labels: Mapping[str, str]) -> UsageView:
    return UsageView(
        id=str(record.id),
        at=record.created_at.isoformat(timespec="seconds"),
        purpose=PURPOSES.get(record.purpose, record.purpose),
        model=labels.get(record.model, record.model),
        tokens=f"{record.prompt_tokens:,} + {record.completion_tokens:,}",
        counted=f"{record.quota_tokens:,}",
        cost=cost(record.cost_usd),
        outcome=OUTCOMES.get(record.outcome, record.outcome),
    )

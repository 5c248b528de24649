"""How a reply ended: the message its reader sees, and the status of its stream.

A provider that says why it ended has ended; what it says and what came decide. docs/billing.md has what
each ending costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.billing.ledger.models import Outcome
from aisaas.chat.models import Ending

# What providers say of their end, as LiteLLM words it; everything else is an end as it should be.
LENGTH = "length"
FILTERED, REFUSED = "content_filter", "refusal"


@dataclass(frozen=True, slots=True)
class Ended:
    ending: Ending
    outcome: Outcome
    error_code: str | None = None


def ended(finish: str, *, has_text: bool, thought: bool) -> Ended:
    """By the provider's word.

    Args:
        finish: the reason it gave.
        has_text: whether anything came that can be read.
        thought: whether it thought, or generated hidden output.
    """
    lacking: Outcome = "interrupted" if has_text else "failed"
    if finish == FILTERED:
        return Ended("filtered", lacking, "filtered")
    if finish == REFUSED:
        return Ended("refused", lacking, "refused")
    if has_text:
        return Ended("limit" if finish == LENGTH else "complete", "done")
    if thought:
        return Ended("only_thinking", "failed", "only_thinking")
    return Ended("empty", "failed", "empty")


# Of an end that no provider has announced.
UNANNOUNCED: Mapping[Outcome, Ending] = {
    "done": "complete",
    "stopped": "stopped",
    "interrupted": "cut",
    "failed": "failed",
}

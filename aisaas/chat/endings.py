"""How a reply ended: the message its reader sees, and the status of its stream.

A reply is over once the provider says why; its reason and the received text decide the ending.
docs/billing.md says what each ending costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.billing.ledger.models import Outcome
from aisaas.chat.models import Ending, Message
from aisaas.text_cleaning import is_blank

# Finish reasons in LiteLLM's words; all others are a normal end.
LENGTH = "length"
FILTERED, REFUSED = "content_filter", "refusal"


@dataclass(frozen=True, slots=True)
class Ended:
    ending: Ending
    outcome: Outcome
    error_code: str | None = None


def ended(finish: str, *, has_text: bool, thought: bool) -> Ended:
    """The ending by the provider's finish reason.

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


# Marks a reply that ended for its readers before its call was booked.
UNBOOKED = "unbooked"
# Replies with one of these endings can be continued; and the status that each has.
CONTINUABLE: Mapping[str, Outcome] = {"limit": "done", "stopped": "stopped", "cut": "interrupted"}


def can_continue(message: Message) -> bool:
    """Whether a reply has text that ended before its model did."""
    return (
        message.status != "streaming"
        and message.ending in CONTINUABLE
        and message.error_code != UNBOOKED
        and not is_blank(message.content)
    )


# Endings without a finish reason from the provider.
UNANNOUNCED: Mapping[Outcome, Ending] = {
    "done": "complete",
    "stopped": "stopped",
    "interrupted": "cut",
    "failed": "failed",
}

"""Whether a provider's report can be true. Impossible counts are replaced by our own.

Every honest provider stays within the bounds: no tokenizer needs more tokens than a text has bytes, and
no thinking exceeds the grant. So a report within them is accepted, whatever our own tokenizer says.
"""

from __future__ import annotations

from typing import Literal

from aisaas.language_models import Usage

Issue = Literal[
    "prompt_missing", "prompt_excessive", "completion_missing", "completion_excessive", "unbookable"
]

# Tokens a provider may add to a completion: its start, its end, its role.
FRAME_TOKENS = 64
# Other vendors' tokenizers need up to three times as many tokens; some add their own system prompt.
PROMPT_FACTOR = 3
PROMPT_EXTRA = 1000


def issues_of(
    reported: Usage,
    received: str,
    *,
    prompt_count: int,
    thinking_granted: int,
    complete: bool,
) -> frozenset[Issue]:
    """What is impossible in a report.

    Args:
        received: all the text that arrived, including any beyond the grant.
        prompt_count: our own count of the prompt.
        thinking_granted: how many tokens the model may have thought before it answered.
        complete: the provider finished, so its report covers the whole completion.
    """
    found: set[Issue] = set()
    if reported.prompt_tokens == 0 and (received or reported.completion_tokens):
        found.add("prompt_missing")
    if reported.prompt_tokens > prompt_count * PROMPT_FACTOR + PROMPT_EXTRA:
        found.add("prompt_excessive")
    if reported.completion_tokens == 0 and received and complete:
        found.add("completion_missing")
    most = len(received.encode("utf-8", "surrogatepass")) + FRAME_TOKENS + thinking_granted
    if reported.completion_tokens > most:
        found.add("completion_excessive")
    return frozenset(found)

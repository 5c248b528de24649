"""Whether what a provider reports can be true. What can't be is replaced by our own count.

The bounds are what every honest provider keeps: no tokenizer needs more tokens than a text has bytes, and
nothing is thought beyond what was granted. So a report within them is believed, whatever our own
tokenizer says.
"""

from __future__ import annotations

from typing import Literal

from aisaas.language_models import Usage

Issue = Literal[
    "prompt_missing", "prompt_excessive", "completion_missing", "completion_excessive", "unbookable"
]

# What a provider may count around a completion: its beginning, its end, its role.
FRAME_TOKENS = 64
# Other vendors' tokenizers need up to thrice as many tokens; some send a system prompt of their own.
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
    """What can't be in a report.

    Args:
        received: all of the text that came, also what was beyond the grant.
        prompt_count: our own count of the prompt.
        thinking_granted: how many tokens the model may have thought before it answered.
        complete: the provider was finished, so that its report has the whole completion.
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

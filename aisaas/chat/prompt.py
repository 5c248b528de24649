"""What is sent to the model: the newest turns that fit its context window.

A turn is a question with its answer, and is never split. Of several answers to one question
(retries) the last with any text counts.

Two counts are made of a prompt. `count` is the best estimate, and what an aborted call is charged.
`upper_estimate` is what is reserved: no tokenizer here knows every vendor's rule, so it takes the
higher of two rules plus a tenth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from aisaas.chat.models import HistoryMessage
from aisaas.chat.ports import Speaker, Turn

SYSTEM_TEXT = (
    "You are a helpful assistant. Answer clearly and to the point, in the language of the "
    "question. Use Markdown where it helps; write formulas as LaTeX between $ or $$."
)
# Asks the model to continue a reply that ended early.
CONTINUE_TEXT = "Your reply was cut off. Continue it exactly where it stopped: repeat nothing, add no introduction, and close any list, table or code block that is still open."
# What a message costs besides its text: role, separators.
MESSAGE_OVERHEAD = 4
PROMPT_OVERHEAD = 8
CHARS_PER_TOKEN = 4
SAFETY = 1.1


@dataclass(frozen=True, slots=True)
class Prompt:
    """`history_cut` counts the messages that were left out, from the oldest."""

    turns: tuple[Turn, ...]
    count: int
    upper_estimate: int
    history_cut: int


def count(turns: Sequence[Turn]) -> int:
    return sum(turn.tokens + MESSAGE_OVERHEAD for turn in turns) + PROMPT_OVERHEAD


def upper_estimate(turns: Sequence[Turn]) -> int:
    return _with_safety(sum(_most(turn) for turn in turns))


def _most(turn: Turn) -> int:
    by_length = math.ceil(len(turn.text.encode()) / CHARS_PER_TOKEN)
    return max(turn.tokens, by_length) + MESSAGE_OVERHEAD


def _with_safety(tokens: int) -> int:
    return math.ceil((tokens + PROMPT_OVERHEAD) * SAFETY)


def build(
    history: Sequence[HistoryMessage],
    question: Turn,
    *,
    budget: int,
    count_tokens: Callable[[str], int],
    earlier: int = 0,
    continued: str = "",
) -> Prompt | None:
    """The prompt for `question`, or None when even alone it does not fit `budget` tokens.

    Args:
        history: the conversation so far, oldest first, without the question.
        budget: tokens of the context window that the prompt may take, by the upper estimate.
        earlier: how many messages came before `history`; they are left out.
        continued: the answer so far, if the model should continue it.
    """
    system = Turn("system", SYSTEM_TEXT, count_tokens(SYSTEM_TEXT))
    asked = [question]
    if continued:
        asked.append(Turn("assistant", continued, count_tokens(continued)))
        asked.append(Turn("user", CONTINUE_TEXT, count_tokens(CONTINUE_TEXT)))
    estimate = _most(system) + sum(map(_most, asked))
    if _with_safety(estimate) > budget:
        return None
    groups = _groups(history)
    kept: list[Turn] = []
    first = len(groups)
    while first > 0:
        group = groups[first - 1]
        # Text that is too long by its length alone needn't be counted.
        if _with_safety(estimate + sum(map(_least, group))) > budget:
            break
        turns = [_turn(message, count_tokens) for message in group]
        estimate += sum(map(_most, turns))
        if _with_safety(estimate) > budget:
            break
        kept = [*turns, *kept]
        first -= 1
    cut = sum(len(group) for group in groups[:first])
    if earlier:
        cut += earlier + _without_question(history)
    turns = (system, *kept, *asked)
    return Prompt(turns, count(turns), upper_estimate(turns), cut)


def _least(message: HistoryMessage) -> int:
    """The part of a message's upper estimate that is known without counting its tokens."""
    by_length = math.ceil(len(message.content.encode()) / CHARS_PER_TOKEN)
    return max(message.token_count, by_length) + MESSAGE_OVERHEAD


def _turn(message: HistoryMessage, count_tokens: Callable[[str], int]) -> Turn:
    speaker: Speaker = "user" if message.role == "user" else "assistant"
    # A message is not counted yet if its reply did not settle normally.
    return Turn(speaker, message.content, message.token_count or count_tokens(message.content))


def _groups(history: Sequence[HistoryMessage]) -> list[list[HistoryMessage]]:
    """Questions with their answers, oldest first; a question without an answer stands alone."""
    answers: dict[UUID, HistoryMessage] = {}
    for message in history:
        if message.role == "assistant" and message.content and message.reply_to is not None:
            answers[message.reply_to] = message
    groups: list[list[HistoryMessage]] = []
    for message in history:
        if message.role != "user":
            continue
        answer = answers.get(message.id)
        groups.append([message] if answer is None else [message, answer])
    return groups


def _without_question(history: Sequence[HistoryMessage]) -> int:
    """Leading answers whose question is older than the history; they are left out with it."""
    questions = {message.id for message in history if message.role == "user"}
    return sum(m.role == "assistant" and m.reply_to not in questions for m in history)

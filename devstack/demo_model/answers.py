"""What the model says: the same for the same conversation."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from devstack.demo_model.commands import Command, CommandError, parse
from devstack.demo_model.longform import long_answer
from devstack.demo_model.tokens import content_text, split_tokens
from devstack.demo_model.topics import (
    CODE,
    GREETING,
    HELP,
    LARGER,
    MATH,
    NOTE,
    SUGGESTIONS,
    TABLE,
    TOPICS,
    Topic,
)

THOUGHT = """Let me see what is asked here. I have canned answers only, so I look for the one that fits.

The words of the message point to a topic; I check it against the others, and the commands come first.
"""
NOTHING_MORE = "That was all."
REFUSAL = "I can't help with that, as you asked."
LARGE_MODEL = "demo-large"
QUOTED_CHARACTERS = 160
TITLE_WORDS = 6
TITLE_WORD_CHARACTERS = 24
SHORTEST_TITLE = 2
# Enough text for a delayed ending when no length was requested.
SPARE_TOKENS = 200
GREETING_WORDS = 4
PREFIX_CHARACTERS = 5

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
TITLE_REQUEST = re.compile(r"\btitle\b", re.IGNORECASE)
GREETINGS = ("hello", "hi", "hey", "hallo", "howdy", "greetings", "good", "hiya", "yo")
FILLERS = frozenset(
    [
        "hello",
        "hi",
        "hey",
        "please",
        "can",
        "could",
        "would",
        "will",
        "you",
        "i",
        "a",
        "an",
        "the",
        "to",
        "me",
        "tell",
        "do",
        "does",
        "how",
        "is",
        "are",
        "what's",
        "what",
        "of",
        "my",
    ]
)
NAME = re.compile(r"\bmy name is ([^\W\d_][\w'’-]{0,30})", re.IGNORECASE)
ASKS_NAME = re.compile(r"\bwhat(?:'s|’s| is) my name\b", re.IGNORECASE)
ASKS_FIRST = re.compile(
    r"\b(?:say|said|ask|asked|write|wrote|message|question)\b.*\bfirst\b"
    r"|\bfirst\b.*\b(?:say|said|ask|asked|write|wrote|message|question|thing)\b",
    re.IGNORECASE | re.DOTALL,
)
ASKS_PREVIOUS = re.compile(
    r"\bwhat\b.*\b(?:say|said|ask|asked|write|wrote)\b.*\b(?:before|last|earlier|just)\b"
    r"|\b(?:previous|last)\s+(?:message|question)\b"
    r"|\bwhat did i just\b",
    re.IGNORECASE | re.DOTALL,
)
ASKS_COUNT = re.compile(r"\bhow many (?:messages|questions|times)\b", re.IGNORECASE)

# Ways to ask for more of the same reply.
CONTINUES = re.compile(r"\bcontinue it exactly where it stopped\b", re.IGNORECASE)

Messages = Sequence[Mapping[str, Any]]

SUBJECTS = {"help": HELP, "table": TABLE, "code": CODE, "math": MATH}


def user_messages(messages: Messages) -> list[str]:
    return [
        content_text(message.get("content")) for message in messages if message["role"] == "user"
    ]


def is_title_request(messages: Messages) -> bool:
    return any(
        TITLE_REQUEST.search(content_text(message.get("content")))
        for message in messages
        if message["role"] in ("system", "developer")
    )


def title(messages: Messages, *, most_tokens: int | None) -> str:
    """Two to six words of the first thing the user said; never empty, no quotation marks."""
    said = user_messages(messages)
    words = [word[:TITLE_WORD_CHARACTERS] for word in WORD.findall(said[0] if said else "")]
    useful = list(words)
    while len(useful) > SHORTEST_TITLE and useful[0].lower() in FILLERS:
        useful.pop(0)
    useful = useful[:TITLE_WORDS]
    while useful and useful[-1].lower() in FILLERS and len(useful) > SHORTEST_TITLE:
        useful.pop()
    match useful:
        case []:
            useful = ["A", "new", "chat"]
        case [only]:
            useful = ["About", only]
        case _:
            pass
    while (
        most_tokens
        and len(useful) > SHORTEST_TITLE
        and len(split_tokens(" ".join(useful))) > most_tokens
    ):
        useful.pop()
    text = " ".join(useful)
    return text[0].upper() + text[1:]


def said_so_far(messages: Messages) -> str | None:
    """The text so far of an answer to continue; None when a new one is requested."""
    *_, before, last = ({"role": ""}, *messages)
    if before["role"] != "assistant" or not CONTINUES.search(content_text(last.get("content"))):
        return None
    return content_text(before.get("content"))


def thoughts(tokens: int) -> list[str]:
    """What is thought, `tokens` of it."""
    whole = split_tokens(THOUGHT)
    return (whole * (tokens // len(whole) + 1))[:tokens]


def command_in(messages: Messages) -> Command | None:
    """The command that the last user message is. Raises `CommandError`."""
    said = user_messages(messages)
    return parse(said[-1]) if said else None


def answer(model: str, messages: Messages, command: Command | None) -> str:
    if command and command.subject == "long":
        return long_answer(command.length or 0)
    if command and command.subject == "ticks":
        return " ".join(["0"] * (command.length or 0))
    if command and command.subject == "lines":
        return _program(command.length or 0)
    if command and command.subject:
        return _about(SUBJECTS[command.subject], model)
    if command and command.after is not None:
        return long_answer(command.after + SPARE_TOKENS)
    if command:
        return _finished("Here is an answer, in the way you asked for it.", SUGGESTIONS)
    said = user_messages(messages)
    if not said:
        return _about(GREETING, model)
    return _look_back(said) or _topical(said[-1], model)


def _program(lines: int) -> str:
    """A block of so many lines of Python."""
    written = (f"total += price({n}) * {n % 7 + 1}  # line {n}" for n in range(1, lines + 1))
    return "\n".join(("```python", *written, "```"))


def explain(error: CommandError) -> str:
    return _finished(str(error), "Say `help` for all commands.")


def _look_back(said: Sequence[str]) -> str | None:
    question, earlier = said[-1], said[:-1]
    if ASKS_COUNT.search(question):
        return _finished(
            f"You have sent {len(said)} messages in this conversation, this one included."
        )
    if ASKS_NAME.search(question):
        for text in reversed(said):
            if found := NAME.search(text):
                return _finished(f"You told me that your name is {found[1]}.")
        return _finished("You haven't told me yet. Say `my name is …` and ask again.")
    if ASKS_FIRST.search(question):
        if not earlier:
            return _finished("This is the first thing you said, so: just that.")
        return _finished("The first thing you said was:", _quoted(earlier[0]))
    if ASKS_PREVIOUS.search(question):
        if not earlier:
            return _finished("Nothing came before this message.")
        return _finished("Just before this, you said:", _quoted(earlier[-1]))
    return None


def _topical(message: str, model: str) -> str:
    words = [word.lower() for word in WORD.findall(message)]
    if words and words[0] in GREETINGS and len(words) <= GREETING_WORDS:
        return _about(GREETING, model)
    scores = [_score(topic, words) for topic in TOPICS]
    if any(scores):
        return _about(TOPICS[scores.index(max(scores))], model)
    return _finished(
        "You wrote:", _quoted(message), "I have no canned answer to that.", SUGGESTIONS
    )


def _score(topic: Topic, words: Sequence[str]) -> int:
    return sum(1 for word in set(words) if any(_matches(word, key) for key in topic.keywords))


def _matches(word: str, keyword: str) -> bool:
    # A short keyword must be the word: "cap" is not "capital".
    if len(keyword) < PREFIX_CHARACTERS:
        return word in (keyword, f"{keyword}s")
    return word.startswith(keyword)


def _about(topic: Topic, model: str) -> str:
    if model == LARGE_MODEL:
        return _finished(topic.short, LARGER, topic.more)
    return _finished(topic.short)


def _quoted(text: str) -> str:
    """A quotation of one line, with nothing in it that markdown would act on."""
    line = " ".join(re.sub(r"[`*_\[\]<>#|$~\\]", " ", text).split())
    if len(line) > QUOTED_CHARACTERS:
        line = line[:QUOTED_CHARACTERS].rstrip() + "…"
    return f"> {line or '…'}"


def _finished(*paragraphs: str) -> str:
    return "\n\n".join([*paragraphs, NOTE])

"""Commands: a message that consists of nothing else makes the model behave in a certain way."""

from dataclasses import dataclass, replace
from typing import Literal

LONGEST = 20_000
MOST_LINES = 2_000
FASTEST = 100_000
LONGEST_SILENCE = 600
SLOW = 2.0

Subject = Literal["help", "long", "ticks", "table", "code", "lines", "math"]
# `limit`, `filter` and `refuse` say why they end; `linger` does, and then goes quiet.
Ending = Literal["stop", "stall", "abort", "cut", "limit", "filter", "refuse", "linger"]

PLAIN: dict[str, Subject] = {"help": "help", "table": "table", "code": "code", "math": "math"}
ENDINGS: dict[str, Ending] = {
    "stall": "stall",
    "fail": "abort",
    "cut": "cut",
    "limit": "limit",
    "filter": "filter",
}
BARE_ENDINGS: dict[str, Ending] = {"refuse": "refuse", "linger": "linger"}
ERRORS = (429, 500)


class CommandError(Exception):
    """A command with a number it can't take; the message says which numbers it takes."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to say (`subject`, of `length` tokens) and how to behave while saying it.

    `speed` is in tokens a second, 0 for as fast as possible; `silence` and `thinking` in seconds;
    `after` counts tokens before the `ending`. Thinking that is `hidden` is not said.
    """

    subject: Subject | None = None
    length: int | None = None
    speed: float | None = None
    silence: float = 0.0
    thinking: int = 0
    hidden: bool = False
    ending: Ending = "stop"
    after: int | None = None
    error: int | None = None


def parse(message: str) -> Command | None:
    """The command that the whole message is, or None. Raises `CommandError`."""
    words = message.strip().removeprefix("/").lower().split()
    if not words:
        return None
    command = Command()
    while words:
        step = _step(command, words)
        if step is None:
            return None
        command, taken = step
        words = words[taken:]
    return command


def _step(command: Command, words: list[str]) -> tuple[Command, int] | None:
    """The command with the first of the words added to it, and how many words that took."""
    match words:
        case [word, "after", number, *_] if word in ENDINGS:
            after = _number(f"{word} after", number, 0, LONGEST)
            return replace(command, ending=ENDINGS[word], after=after), 3
        case ["long", number, *_] if _is_number(number):
            length = _number("long", number, 1, LONGEST)
            return replace(command, subject="long", length=length), 2
        case ["ticks", number, *_] if _is_number(number):
            length = _number("ticks", number, 1, LONGEST)
            return replace(command, subject="ticks", length=length), 2
        case ["code", number, *_] if _is_number(number):
            length = _number("code", number, 1, MOST_LINES)
            return replace(command, subject="lines", length=length), 2
        case ["speed", number, *_] if _is_number(number):
            return replace(command, speed=_number("speed", number, 0, FASTEST)), 2
        case ["silent", number, *_] if _is_number(number):
            return replace(command, silence=_number("silent", number, 0, LONGEST_SILENCE)), 2
        case ["think" | "hide" as word, number, *_] if _is_number(number):
            seconds = _number(word, number, 1, LONGEST_SILENCE)
            return replace(command, thinking=seconds, hidden=word == "hide"), 2
        case ["empty", *_]:
            return replace(command, after=0), 1
        case [word, *_] if word in BARE_ENDINGS:
            return replace(command, ending=BARE_ENDINGS[word]), 1
        case ["error", number, *_] if _is_number(number):
            if int(number) not in ERRORS:
                raise CommandError("`error` takes 429 or 500.")
            return replace(command, error=int(number)), 2
        case ["fail", *_]:
            return replace(command, error=500), 1
        case ["slow", *_]:
            return replace(command, speed=SLOW), 1
        case [word, *_] if word in PLAIN:
            return replace(command, subject=PLAIN[word]), 1
        case _:
            return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(name: str, text: str, lowest: int, highest: int) -> int:
    # The length is checked first: huge numbers are slow to read.
    if not _is_number(text) or len(text) > len(str(highest)) or not lowest <= int(text) <= highest:
        raise CommandError(f"`{name}` takes a whole number from {lowest:,} to {highest:,}.")
    return int(text)

"""What the launch checklist finds: one line each, and what to do about it.

Invariant: whatever isn't `ok` carries its fix, and nothing in a finding is a secret's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`skipped` means that it couldn't be checked: `fix` says where to look, or how to enable the
    check."""

    item: str
    state: State
    said: str
    fix: str = ""


def ok(item: str, said: str) -> Finding:
    return Finding(item, "ok", said)


def warn(item: str, said: str, fix: str) -> Finding:
    return Finding(item, "warning", said, fix)


def fail(item: str, said: str, fix: str) -> Finding:
    return Finding(item, "failed", said, fix)


def skipped(item: str, said: str, fix: str) -> Finding:
    return Finding(item, "skipped", said, fix)


def first(words: list[str], limit: int = 5) -> str:
    """The first few items of a list that may be long."""
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more

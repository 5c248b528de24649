"""When the text of one attempt at a provider arrived."""

from __future__ import annotations

import time
from collections.abc import Callable

from aisaas.billing.providers.health import Attempt
from aisaas.language_models import Model, Usage


class Pace:
    """Of an attempt that begins now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._last = self._began
        self._chars = self._first_chars = 0
        self._thought = False

    def said(self, text: str) -> None:
        self._last = self._clock()
        self._chars += len(text)
        if self._first is None:
            self._first, self._first_chars = self._last, len(text)

    def thought(self, text: str) -> None:
        self._thought = self._thought or bool(text)
        self.said(text)

    def attempt(self, model: Model, kind: str, usage: Usage | None) -> Attempt:
        """The finished attempt, which ended with `kind`."""
        first = self._first
        return Attempt(
            provider=model.provider,
            model=model.id,
            kind=kind,
            first_token_seconds=None if first is None else first - self._began,
            tokens=self._tokens(usage),
            writing_seconds=0.0 if first is None else self._last - first,
        )

    def _tokens(self, usage: Usage | None) -> int:
        """Tokens after the first piece: how long the first took to write is unknown."""
        if usage is None or not self._chars:
            return 0
        # Hidden thinking took its time before the first piece.
        hidden = 0 if self._thought else usage.thinking_tokens
        # A report may be nonsense; a token has at least one character.
        written = min(max(usage.completion_tokens - hidden, 0), self._chars)
        return written * (self._chars - self._first_chars) // self._chars

"""One attempt at a provider: how long it took, how soon it spoke, how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager

from aisaas.observe.metrics import FIRST_TOKEN_SECONDS, PROVIDER_SECONDS
from aisaas.observe.tracing import detached


class ProviderCall:
    """A call under way."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.began = time.monotonic()
        self._first: float | None = None

    @property
    def spoke(self) -> dict[str, float]:
        """Seconds until the first text or thinking, if there was any."""
        return {} if self._first is None else {"first_token_seconds": self._first}

    def text_came(self) -> None:
        """The first time counts."""
        if self._first is None:
            self._first = time.monotonic() - self.began
            FIRST_TOKEN_SECONDS.labels(self.provider).observe(self._first)


@contextmanager
def provider_call(provider: str, model: str) -> Generator[ProviderCall]:
    """For the block in which a provider is called and read to its end.

    `end` is `done`, `failed`, or `aborted` when we didn't want more of it.
    """
    call = ProviderCall(provider)
    end = "failed"
    try:
        with detached("provider.call", provider=provider, model=model) as traced:
            try:
                yield call
                end = "done"
            except (asyncio.CancelledError, GeneratorExit):
                end = "aborted"
                raise
            finally:
                traced.note(end=end, **call.spoke)
    finally:
        PROVIDER_SECONDS.labels(provider, end).observe(time.monotonic() - call.began)

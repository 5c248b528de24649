"""One attempt at a provider: how long it took, how soon it spoke, how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager

from aisaas.observe.metrics import FIRST_TOKEN_SECONDS, PROVIDER_SECONDS


class ProviderCall:
    """A call under way."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.began = time.monotonic()
        self._spoke = False

    def text_came(self) -> None:
        """The first time counts."""
        if not self._spoke:
            self._spoke = True
            FIRST_TOKEN_SECONDS.labels(self.provider).observe(time.monotonic() - self.began)


@contextmanager
def provider_call(provider: str) -> Generator[ProviderCall]:
    """For the block in which a provider is called and read to its end.

    `end` is `done`, `failed`, or `aborted` when we didn't want more of it.
    """
    call = ProviderCall(provider)
    end = "failed"
    try:
        yield call
        end = "done"
    except (asyncio.CancelledError, GeneratorExit):
        end = "aborted"
        raise
    finally:
        PROVIDER_SECONDS.labels(provider, end).observe(time.monotonic() - call.began)

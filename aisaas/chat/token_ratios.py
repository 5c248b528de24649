"""How providers count a prompt, against our own count, model by model.

No tokenizer here knows every vendor's rule, so prompt reservations correct themselves: each report is
compared with our count, and the highest ratio seen is reserved from then on. It rises at once and falls
slowly. Reservations for an unused model are generous. Reports that no tokenizer can explain are ignored.

The ratios live in Postgres, for all processes and restarts. Another process sees a change within
FRESH_SECONDS; until then its reservations stay as they were, and no user pays for that, because a
charge never exceeds its reservation.

Outage: without the database nothing is admitted anyway; a missed report is made up for by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence

from aisaas.chat import token_ratios_store as store
from aisaas.chat.prompt import SAFETY, Prompt
from aisaas.chat.token_ratios_store import TokenRatio
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow, Unavailable
from aisaas.language_models import Model

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
# Before a model's first report.
FIRST_RATIO = 1.5
# Other vendors' tokenizers need up to three times as many tokens; a higher count isn't honest.
MOST, LEAST = 3.0, 0.25
# How far a report below the highest ratio pulls it down, and any report the typical one.
FORGET, SHARE = 0.05, 0.2
# The first reports are all kept; later ones only when they raise the ratio, or every so often.
KEPT_AT_FIRST, KEPT_EVERY = 20, 10


class TokenRatios:
    """The ratios, as this process knows them."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database
        self._known: dict[str, TokenRatio] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._skipped: dict[str, int] = {}

    async def current(self) -> Mapping[str, TokenRatio]:
        """By model. Raises Unavailable when they have to be read and the database does not answer."""
        if self._is_stale():
            async with self._reading:
                if self._is_stale():
                    try:
                        self._known = await self._database.ask(store.read(), durable=False)
                    except DependencyError as error:
                        raise Unavailable from error
                    self._read_at = time.monotonic()
        return self._known

    def _is_stale(self) -> bool:
        return self._read_at is None or time.monotonic() - self._read_at > FRESH_SECONDS

    async def learn(self, model: str, *, reported: int, counted: int) -> None:
        """Learn from a provider's count of a prompt that we counted too."""
        if reported <= 0 or counted <= 0:
            return
        ratio = reported / counted
        try:
            if not LEAST <= ratio <= MOST:
                log.warning("%s counted %d tokens where we count %d", model, reported, counted)
                await self._database.ask(store.disbelieve(model), durable=False)
            elif self._is_news(model, ratio):
                question = store.learn(model, ratio, forget=FORGET, share=SHARE)
                self._known[model] = await self._database.ask(question, durable=False)
        except (DependencyError, TooSlow):
            log.warning("how %s counts was not noted", model)

    def _is_news(self, model: str, ratio: float) -> bool:
        known = self._known.get(model)
        if known is None or known.reports < KEPT_AT_FIRST or ratio > known.highest:
            return True
        self._skipped[model] = (self._skipped.get(model, 0) + 1) % KEPT_EVERY
        return self._skipped[model] == 0


def prompt_estimate(
    prompt: Prompt, models: Sequence[Model], ratios: Mapping[str, TokenRatio]
) -> int:
    """What to reserve for a prompt, for any of the models. Never less than the estimate made without
    the ratios, and no more than a window holds."""
    return max(_estimate(prompt, model, ratios.get(model.id)) for model in models)


def _estimate(prompt: Prompt, model: Model, known: TokenRatio | None) -> int:
    ratio = FIRST_RATIO if known is None else known.highest
    counted = math.ceil(prompt.count * ratio * SAFETY)
    return max(prompt.upper_estimate, min(counted, model.context_window))


def window(model: Model, ratios: Mapping[str, TokenRatio]) -> int:
    """A model's context window in tokens as we count them."""
    known = ratios.get(model.id)
    return int(model.context_window / max(1.0, known.typical if known is not None else 1.0))

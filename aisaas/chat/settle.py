"""Settling: one transaction for the reply's text, the ledger, the outbox and the reservation.

Whoever closes the reservation writes; everybody who comes later (a retry after a lost answer, the
recovery of another process) finds it closed and writes nothing. So a reply is booked exactly once.

What is charged, by how the reply ended:
- the provider reported usage and finished: the provider's counts;
- stopped or cut: its prompt count if it came, else our count of the prompt, plus the counted text;
- no text through the provider's fault: nothing.

What was used is booked whatever the text is: a reply that can't be stored as it came is stored plainer,
then as a reply without text, and at the very last the ledger's line goes without its reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from aisaas.billing.models import Charge
from aisaas.billing.plans import ExtraUsage
from aisaas.billing.quota import book, charged_weight
from aisaas.billing.store import add_provider_errors
from aisaas.chat import store
from aisaas.chat.token_ratios import TokenRatios
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from aisaas.observe.metrics import COST, MODEL_CALLS, TOKENS
from aisaas.observe.tracing import span
from aisaas.ports import Admitted, Model, Outcome, Purpose, Usage
from aisaas.text_cleaning import clean

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.1, 0.3, 1.0, 3.0, 5.0)
# The column's bound.
STORED_CHARS = 2_000_000
# Counting more than this takes so long that other replies would wait for it.
COUNTED_AT_ONCE = 20_000
CHARS_PER_TOKEN = 4
# How a message is marked whose text isn't what came, or isn't there.
ALTERED, UNSTORABLE = "text_altered", "unstorable"
# A message that ended although its call isn't booked yet.
UNBOOKED = "unbooked"


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """A model's provider failed in this call; another may have answered instead."""

    model: Model
    kind: str


@dataclass(frozen=True, slots=True)
class Produced:
    """What came of a call. `answered` is None when no model sent anything."""

    outcome: Outcome
    text: str
    answered: Model | None
    usage: Usage | None
    # The provider said it was finished, so its usage covers everything.
    complete: bool
    # The call reached a provider and was not refused by it.
    started: bool
    error_code: str | None = None
    failures: tuple[ProviderFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    counted_by: str


def counts(produced: Produced, prompt_count: int, count_tokens: Callable[[str], int]) -> Counts:
    """Tokens to charge, by the rules above."""
    usage = produced.usage
    if usage is not None and produced.complete:
        return Counts(
            usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, "provider"
        )
    nobody_got_anything = not produced.text and produced.outcome in {"failed", "interrupted"}
    if nobody_got_anything or not produced.started:
        return Counts(0, 0, 0, "estimate")
    prompt = usage.prompt_tokens if usage is not None else prompt_count
    cached = usage.cached_prompt_tokens if usage is not None else 0
    return Counts(prompt, cached, count_tokens(produced.text), "estimate")


@dataclass(frozen=True, slots=True)
class Owed:
    """A call to be settled, by the process that made it or by one that found it abandoned.

    `history_cut` and `question_tokens` are None where whoever settles doesn't know them.
    """

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    asked: Model
    prompt_count: int
    metered_customer: str | None
    history_cut: int | None = None
    question_tokens: int | None = None


class Settler:
    """Books calls as the service."""

    def __init__(
        self,
        database: ServiceDatabase,
        count_tokens: Callable[[str], int],
        extra_usage: Callable[[str], ExtraUsage],
        ratios: TokenRatios,
    ) -> None:
        """Args: `extra_usage` is what a plan's quota tokens cost beyond those included."""
        self._database = database
        self._ratios = ratios
        self._count_tokens = count_tokens
        self._extra_usage = extra_usage

    async def settle(
        self,
        admitted: Admitted,
        produced: Produced,
        *,
        conversation_id: UUID | None,
        message_id: UUID | None,
    ) -> bool:
        """Book a call, and end its reply if it has one. False when somebody else had settled it.

        Keeps trying while the database is away, for as long as this process lives; after that the
        reservation's lease runs out and the recovery settles from the log.
        """
        owed = Owed(
            request_id=admitted.request_id,
            user_id=admitted.user_id,
            conversation_id=conversation_id,
            message_id=message_id,
            purpose=admitted.purpose,
            plan=admitted.plan,
            asked=admitted.models[0],
            prompt_count=admitted.prompt_count,
            metered_customer=admitted.metered_customer,
            history_cut=admitted.history_cut,
            question_tokens=admitted.prompt[-1].tokens,
        )
        attempt = 0
        while True:
            try:
                return await self.settle_once(owed, produced)
            except (DependencyError, TooSlow):
                delay = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                log.warning("settling %s waits for the database", admitted.request_id)
                await asyncio.sleep(delay)
                attempt += 1

    async def settle_once(self, owed: Owed, produced: Produced) -> bool:
        """One try, in one transaction; it falls back to a plainer text, and to none.

        Raises:
            DependencyError, TooSlow: it is not known to be done.
            Exception: not even the ledger's line could be written.
        """
        with span("reply.settle", purpose=owed.purpose, outcome=produced.outcome) as traced:
            settled = await self._settle_somehow(owed, produced)
            traced.note(settled=settled)
        if settled and produced.usage is not None and produced.answered is not None:
            await self._ratios.learn(
                produced.answered.id,
                reported=produced.usage.prompt_tokens,
                counted=owed.prompt_count,
            )
        return settled

    async def _settle_somehow(self, owed: Owed, produced: Produced) -> bool:
        counted = await self._count(produced.text)
        as_reported = counts(produced, owed.prompt_count, lambda _: counted)
        # What the provider reported may be what can't be booked.
        own = counts(replace(produced, usage=None), owed.prompt_count, lambda _: counted)
        plain = replace(
            produced,
            text=clean(produced.text)[:STORED_CHARS],
            error_code=produced.error_code or ALTERED,
            failures=(),
        )
        nothing = replace(
            plain, text="", outcome=_not_whole(produced.outcome), error_code=UNSTORABLE
        )
        tries = (
            (produced, as_reported, counted, True),
            (plain, as_reported, counted, True),
            (plain, own, counted, True),
            (nothing, own, 0, True),
            (nothing, own, 0, False),
        )
        for what, tokens, stored_tokens, with_message in tries:
            try:
                return await self._settle_once(
                    owed, what, tokens, stored_tokens, with_message=with_message
                )
            except (DependencyError, TooSlow):
                raise
            except Exception:
                if not with_message:
                    raise
                log.exception("call %s could not be settled as it ended", owed.request_id)
        raise AssertionError("unreachable")

    async def end_unbooked(self, message_id: UUID, text: str) -> None:
        """End a reply for its readers although its call can't be booked; that is tried again later.

        Raises DependencyError.
        """
        for content in (clean(text)[:STORED_CHARS], ""):
            tokens = await self._count(content)
            try:
                async with self._database.transaction() as session:
                    await store.end_unbooked(
                        session, message_id, content, token_count=tokens, error_code=UNBOOKED
                    )
            except (DependencyError, TooSlow):
                raise
            except Exception:
                log.exception("reply %s could not be ended", message_id)
            else:
                return

    async def unsettled(self, message_id: UUID | None) -> tuple[int | None, str]:
        """Of a reply that another process began: tokens of its question, None when they are known
        already, and what is stored of its text."""
        if message_id is None:
            return None, ""
        async with self._database.transaction() as session:
            question, text = await store.unsettled(session, message_id)
        return None if question is None else await self._count(question), text

    async def _count(self, text: str) -> int:
        """Tokens of a text; whatever text it is, and without holding anybody up."""
        try:
            if len(text) <= COUNTED_AT_ONCE:
                return self._count_tokens(text)
            return await asyncio.to_thread(self._count_tokens, text)
        except Exception:
            log.exception("a reply of %d characters could not be counted", len(text))
            return len(text.encode("utf-8", "surrogatepass")) // CHARS_PER_TOKEN

    async def _settle_once(
        self,
        owed: Owed,
        produced: Produced,
        tokens: Counts,
        stored_tokens: int,
        *,
        with_message: bool,
    ) -> bool:
        answered = produced.answered or owed.asked
        extra = self._extra_usage(owed.plan)
        charge = Charge(
            request_id=owed.request_id,
            user_id=owed.user_id,
            conversation_id=owed.conversation_id,
            message_id=owed.message_id,
            purpose=owed.purpose,
            plan=owed.plan,
            model=answered,
            weight=charged_weight(owed.asked, answered),
            prompt_tokens=tokens.prompt_tokens,
            cached_prompt_tokens=tokens.cached_prompt_tokens,
            completion_tokens=tokens.completion_tokens,
            counted_by=tokens.counted_by,
            outcome=produced.outcome,
            metered_customer=owed.metered_customer,
            overage_usd_per_million=extra.usd_per_million,
            default_cap_usd=extra.default_cap_usd,
        )
        async with self._database.transaction() as session:
            booked = await book(session, charge)
            if booked is None:
                return False
            if produced.failures:
                await add_provider_errors(
                    session,
                    [(each.model.provider, each.model.id, each.kind) for each in produced.failures],
                )
            if owed.message_id is not None and with_message:
                await store.end_reply(
                    session,
                    store.Ending(
                        message_id=owed.message_id,
                        content=produced.text,
                        status=produced.outcome,
                        answered_by=produced.answered.id if produced.answered else None,
                        token_count=stored_tokens,
                        question_tokens=owed.question_tokens,
                        prompt_tokens=tokens.prompt_tokens,
                        completion_tokens=tokens.completion_tokens,
                        cost_usd=booked.cost_usd,
                        quota_tokens=booked.quota_tokens,
                        overage_usd=booked.overage_usd,
                        history_cut=owed.history_cut,
                        error_code=produced.error_code,
                    ),
                )
        _count(charge, booked.cost_usd)
        return True


def _not_whole(outcome: Outcome) -> Outcome:
    return "interrupted" if outcome == "done" else outcome


def _count(charge: Charge, cost: Decimal) -> None:
    model, provider = charge.model.id, charge.model.provider
    MODEL_CALLS.labels(model, provider, charge.purpose, charge.outcome).inc()
    TOKENS.labels(model, provider, "prompt").inc(charge.prompt_tokens)
    TOKENS.labels(model, provider, "completion").inc(charge.completion_tokens)
    COST.labels(model, provider).inc(float(cost))

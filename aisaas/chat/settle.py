"""Settling: one transaction for the reply's text, the ledger, the outbox and the reservation.

The process that closes the reservation writes; any later one (a retry after a lost response, the
recovery of another process) finds it closed and writes nothing. So a reply is booked exactly once.

What is charged, by how the reply ended:
- the provider reported usage and finished: the provider's counts;
- stopped or cut: its prompt count if it arrived, else our count of the prompt, plus the counted text;
- no text through the provider's fault: nothing.

Impossible counts are replaced by our own (reports.py), and nothing is charged beyond the reservation
(billing/reservations/quota.py). What a provider may bill beyond the charge is recorded with it
(billing/ledger/losses.py).

Usage is booked whatever the text is: a reply that can't be stored as it came is stored simplified,
then without text, and as a last resort the ledger's line is written without its reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from aisaas.billing.ledger import losses
from aisaas.billing.ledger.models import Charge, LossReason, Outcome, ProviderBill
from aisaas.billing.ledger.store import add_provider_errors
from aisaas.billing.plans.terms import ExtraUsage
from aisaas.billing.reservations.models import Purpose
from aisaas.billing.reservations.quota import Booked, book, charged_weight
from aisaas.chat import store
from aisaas.chat.endings import UNANNOUNCED, UNBOOKED
from aisaas.chat.models import Ending
from aisaas.chat.ports import Admitted
from aisaas.chat.reports import Issue, issues_of
from aisaas.chat.token_ratios import TokenRatios
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from aisaas.language_models import Model, Usage
from aisaas.observe.metrics import COST, MODEL_CALLS, REPORTS_REPLACED, TOKENS, UNCHARGED
from aisaas.observe.tracing import span
from aisaas.text_cleaning import clean

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.1, 0.3, 1.0, 3.0, 5.0)
# The column's bound.
STORED_CHARS = 2_000_000
# Counting more than this would block other replies.
COUNTED_AT_ONCE = 20_000
CHARS_PER_TOKEN = 4
# Marks a message whose text was altered, or could not be stored.
ALTERED, UNSTORABLE = "text_altered", "unstorable"


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """A model's provider failed in this call; another may have answered instead. `usage` is its report
    for this free attempt."""

    model: Model
    kind: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Produced:
    """The result of a call. `answered` is None when no model sent anything."""

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
    # Text beyond the grant, which isn't shown.
    beyond: str = ""
    # Its thinking: counted like text, and shown separately.
    thinking: str = ""
    thinking_seconds: float | None = None
    # Whether it may have thought without sending text.
    thinks: bool = False
    ending: Ending | None = None
    # The reply before this call: stored with the rest, and charged already.
    before: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """`issues` are the replaced parts of the provider's report."""

    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    counted_by: str
    issues: frozenset[Issue] = frozenset()
    # What else the provider reported separately.
    thinking_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    region: str = ""


def counts(
    produced: Produced, prompt_count: int, count_tokens: Callable[[str], int], *, max_tokens: int
) -> Counts:
    """Tokens to charge, by the rules above.

    Args:
        max_tokens: what the call was granted.
    """
    usage = produced.usage
    came = produced.text + produced.thinking
    nobody_got_anything = not came and produced.outcome in {"failed", "interrupted"}
    if usage is None:
        if nobody_got_anything or not produced.started:
            return Counts(0, 0, 0, "estimate")
        return Counts(prompt_count, 0, count_tokens(came), "estimate")
    issues = issues_of(
        usage,
        came + produced.beyond,
        prompt_count=prompt_count,
        thinking_granted=max_tokens if _may_have_thought(produced) else 0,
        complete=produced.complete,
    )
    if not produced.complete and (nobody_got_anything or not produced.started):
        return Counts(0, 0, 0, "estimate", issues)
    if issues & {"prompt_missing", "prompt_excessive"}:
        prompt = Counts(prompt_count, 0, 0, "estimate", issues)
    else:
        prompt = Counts(
            usage.prompt_tokens,
            usage.cached_prompt_tokens,
            0,
            "estimate",
            issues,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            region=usage.region,
        )
    if produced.complete and not issues & {"completion_missing", "completion_excessive"}:
        return replace(
            prompt,
            completion_tokens=usage.completion_tokens,
            thinking_tokens=usage.thinking_tokens,
            counted_by="estimate" if issues else "provider",
        )
    completion, thought = count_tokens(came), 0
    if usage.thinking_tokens and not issues & {"completion_excessive"}:
        # Hidden thinking is known only from reports.
        completion = max(completion, usage.completion_tokens)
        thought = min(usage.thinking_tokens, completion)
    return replace(prompt, completion_tokens=completion, thinking_tokens=thought)


def _may_have_thought(produced: Produced) -> bool:
    reported = produced.usage is not None and produced.usage.thinking_tokens > 0
    return reported or produced.thinks or produced.thinking_seconds is not None


def bills(
    produced: Produced, charged: Counts, asked: Model, prompt_count: int, received_count: int
) -> tuple[ProviderBill, ...]:
    """What providers may bill for a call beyond what is charged.

    Args:
        charged: what the user is charged, if the reservation covers it.
        received_count: our own count of all the text that arrived.
    """
    usage = produced.usage
    found = [
        ProviderBill(
            failure.model,
            "failed",
            failure.usage.prompt_tokens,
            failure.usage.cached_prompt_tokens,
            failure.usage.completion_tokens,
            failure.usage,
            prompt_count,
            0,
        )
        for failure in produced.failures
        if failure.usage is not None
    ]
    free = not charged.prompt_tokens and not charged.completion_tokens
    if not produced.started or (free and produced.answered is None):
        # Every attempt failed, and is among those above.
        return tuple(found)
    prompt, cached = charged.prompt_tokens, charged.cached_prompt_tokens
    completion = charged.completion_tokens
    reason: LossReason = "reservation"
    reported = usage.completion_tokens if usage is not None else 0
    if produced.complete and not charged.issues & {"completion_missing", "completion_excessive"}:
        most = reported
    else:
        # For a cut reply either may be larger: the usage reported by then, or the received text.
        most = max(reported, received_count)
    if usage is not None and charged.issues & {"prompt_excessive", "completion_excessive"}:
        reason = "report"
        prompt, cached = usage.prompt_tokens or prompt, usage.cached_prompt_tokens
        completion = most
    elif produced.beyond:
        reason = "overrun"
        completion = most
    elif free and usage is not None:
        reason = "failed"
        prompt, cached = usage.prompt_tokens, usage.cached_prompt_tokens
        completion = usage.completion_tokens
    elif not free and reported > completion:
        reason = "report"
        completion = reported
    found.append(
        ProviderBill(
            produced.answered or asked,
            reason,
            prompt,
            cached,
            completion,
            usage,
            prompt_count,
            received_count,
        )
    )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Owed:
    """A call to be settled, by the process that made it or by one that found it abandoned.

    `history_cut` and `question_tokens` are None if the settling process doesn't know them.
    """

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    asked: Model
    prompt_count: int
    max_tokens: int
    metered_customer: str | None
    history_cut: int | None = None
    question_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A reply that isn't booked: its question's tokens, None if already known; the text charged
    before, and the other stored text; the earlier thinking."""

    question_tokens: int | None
    before: str
    text: str
    thinking: str = ""


class Settler:
    """Books calls as the service."""

    def __init__(
        self,
        database: ServiceDatabase,
        count_tokens: Callable[[str], int],
        extra_usage: Callable[[str], ExtraUsage],
        ratios: TokenRatios,
        *,
        losses_to_webhook: bool,
    ) -> None:
        """
        Args:
            extra_usage: what a plan's quota tokens cost beyond those included.
            losses_to_webhook: an alert about a loss is also recorded for the webhook.
        """
        self._database = database
        self._ratios = ratios
        self._count_tokens = count_tokens
        self._extra_usage = extra_usage
        self._losses_to_webhook = losses_to_webhook

    async def settle(
        self,
        admitted: Admitted,
        produced: Produced,
        *,
        conversation_id: UUID | None,
        message_id: UUID | None,
    ) -> bool:
        """Book a call, and end its reply if it has one. False when it was already settled.

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
            max_tokens=admitted.max_tokens,
            metered_customer=admitted.metered_customer,
            history_cut=admitted.history_cut,
            # The prompt of a continuation ends with our own instruction.
            question_tokens=None if produced.before else admitted.prompt[-1].tokens,
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
        """One try, in one transaction; it falls back to a simplified text, and to none.

        Raises:
            DependencyError, TooSlow: the outcome is unknown.
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
        said = await self._count(produced.text)
        thought = await self._count(produced.thinking) if produced.thinking else 0
        counted = said + thought
        # The message also has the text charged before.
        stored = said + (await self._count(produced.before) if produced.before else 0)
        received = counted + (await self._count(produced.beyond) if produced.beyond else 0)

        def counted_of(what: Produced) -> Counts:
            return counts(what, owed.prompt_count, lambda _: counted, max_tokens=owed.max_tokens)

        as_reported = counted_of(produced)
        # The provider's report may be the part that can't be booked.
        own = counted_of(replace(produced, usage=None))
        if produced.usage is not None:
            own = replace(own, issues=frozenset[Issue]({"unbookable"}))
        plain = replace(
            produced,
            text=clean(produced.text)[:STORED_CHARS],
            thinking=clean(produced.thinking)[:STORED_CHARS],
            error_code=produced.error_code or ALTERED,
            failures=(),
        )
        nothing = replace(
            plain,
            text="",
            thinking="",
            outcome=_not_whole(produced.outcome),
            ending=UNANNOUNCED[_not_whole(produced.outcome)],
            error_code=UNSTORABLE,
        )
        usage = produced.usage
        if usage is not None and "completion_excessive" not in as_reported.issues:
            thought = usage.thinking_tokens or thought
        billed = bills(produced, as_reported, owed.asked, owed.prompt_count, received)
        tries = (
            _Try(produced, as_reported, stored, billed, thought),
            _Try(plain, as_reported, stored, billed, thought),
            _Try(plain, own, stored, billed, thought),
            _Try(nothing, own, stored - said, billed),
            _Try(nothing, own, stored - said, (), with_message=False),
        )
        for each in tries:
            try:
                return await self._settle_once(owed, each)
            except (DependencyError, TooSlow):
                raise
            except Exception:
                if not each.with_message:
                    raise
                log.exception("call %s could not be settled as it ended", owed.request_id)
        raise AssertionError("unreachable")

    async def end_unbooked(self, message_id: UUID, text: str) -> None:
        """End a reply for its readers although its call can't be booked; booking is retried later.

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

    async def unsettled(self, message_id: UUID | None) -> Unsettled:
        """The state of a reply that another process began."""
        if message_id is None:
            return Unsettled(None, "", "")
        async with self._database.transaction() as session:
            found = await store.unsettled(session, message_id)
        if found is None:
            return Unsettled(None, "", "")
        tokens = None if found.question is None else await self._count(found.question)
        return Unsettled(
            tokens,
            found.content[: found.continued_from],
            found.content[found.continued_from :],
            found.thinking,
        )

    async def resume(self, user_id: UUID, message_id: UUID, text: str) -> bool:
        """Let a reply that reached its limit stream again; False if that is no longer its ending.

        Args:
            text: the text so far, from the process that continues it.
        """
        async with self._database.transaction() as session:
            return await store.resume_reply(session, user_id, message_id, len(text))

    async def _count(self, text: str) -> int:
        """Tokens of any text, without blocking the event loop."""
        try:
            if len(text) <= COUNTED_AT_ONCE:
                return self._count_tokens(text)
            return await asyncio.to_thread(self._count_tokens, text)
        except Exception:
            log.exception("a reply of %d characters could not be counted", len(text))
            return len(text.encode("utf-8", "surrogatepass")) // CHARS_PER_TOKEN

    async def _settle_once(self, owed: Owed, this: _Try) -> bool:
        produced, tokens = this.produced, this.tokens
        answered = produced.answered or owed.asked
        extra = self._extra_usage(owed.plan)
        status, ending = _end_of(produced)
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
            report_issue=" ".join(sorted(tokens.issues)) or None,
            thinking_tokens=tokens.thinking_tokens,
            cache_write_tokens=tokens.cache_write_tokens,
            cache_write_1h_tokens=tokens.cache_write_1h_tokens,
            region=tokens.region,
        )
        async with self._database.transaction() as session:
            booked = await book(session, charge)
            if booked is None:
                return False
            lost = [
                await losses.record(session, booked, bill, to_webhook=self._losses_to_webhook)
                for bill in this.bills
            ]
            if produced.failures:
                await add_provider_errors(
                    session,
                    [(each.model.provider, each.model.id, each.kind) for each in produced.failures],
                )
            if owed.message_id is not None and this.with_message:
                await store.end_reply(
                    session,
                    store.Ending(
                        message_id=owed.message_id,
                        content=produced.before + produced.text,
                        status=status,
                        ending=ending,
                        thinking=produced.thinking,
                        thinking_seconds=_seconds(produced.thinking_seconds),
                        thinking_tokens=min(this.thinking_tokens, booked.charge.completion_tokens),
                        answered_by=produced.answered.id if produced.answered else None,
                        token_count=this.stored_tokens,
                        question_tokens=owed.question_tokens,
                        prompt_tokens=booked.charge.prompt_tokens,
                        completion_tokens=booked.charge.completion_tokens,
                        cost_usd=booked.cost_usd,
                        quota_tokens=booked.quota_tokens,
                        overage_usd=booked.overage_usd,
                        history_cut=owed.history_cut,
                        error_code=produced.error_code,
                    ),
                )
        _count(booked, [loss for loss in lost if loss is not None])
        return True


@dataclass(frozen=True, slots=True)
class _Try:
    """What one try of settling a call writes."""

    produced: Produced
    tokens: Counts
    stored_tokens: int
    bills: tuple[ProviderBill, ...]
    thinking_tokens: int = 0
    with_message: bool = True


def _end_of(produced: Produced) -> tuple[Outcome, Ending | None]:
    """What its reader sees: a continuation without output keeps the previous ending, None here."""
    came = produced.text or produced.thinking
    if produced.before and not came and produced.outcome in {"failed", "interrupted"}:
        return produced.outcome, None
    return produced.outcome, produced.ending or UNANNOUNCED[produced.outcome]


def _seconds(thought: float | None) -> int | None:
    return None if thought is None else round(thought)


def _not_whole(outcome: Outcome) -> Outcome:
    return "interrupted" if outcome == "done" else outcome


def _count(booked: Booked, lost: Sequence[losses.Loss]) -> None:
    charge = booked.charge
    model, provider = charge.model.id, charge.model.provider
    MODEL_CALLS.labels(model, provider, charge.purpose, charge.outcome).inc()
    TOKENS.labels(model, provider, "prompt").inc(charge.prompt_tokens)
    TOKENS.labels(model, provider, "completion").inc(charge.completion_tokens)
    COST.labels(model, provider).inc(float(booked.cost_usd))
    if charge.report_issue is not None:
        REPORTS_REPLACED.labels(model, provider).inc()
    for loss in lost:
        bill = loss.bill
        UNCHARGED.labels(bill.model.id, bill.model.provider, bill.reason).inc(float(loss.usd))

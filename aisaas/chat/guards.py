"""The guards: every check a call must pass before it reaches a provider.

GUARDS run in order, cheap and pure first, writing last. Each returns what the next ones need or
raises a refusal; a refusal leaves nothing consumed. This is the only module that constructs
`Admitted`, and the model port takes nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from aisaas.billing.plans.models import RateLimits
from aisaas.billing.plans.periods import running
from aisaas.billing.reservations.models import Purpose, ReservationRequest
from aisaas.billing.reservations.quota import Quota
from aisaas.callers import Caller
from aisaas.chat import prompt as prompts
from aisaas.chat import store
from aisaas.chat.catalogue import Catalogue
from aisaas.chat.live_catalogue import LiveCatalogue
from aisaas.chat.models import IN_VIEW, Position, Thread
from aisaas.chat.ports import Admitted, Turn
from aisaas.chat.rates import Rates
from aisaas.chat.token_ratios import TokenRatios, prompt_estimate, window
from aisaas.controls.kill_switch import scopes_of
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    DependencyError,
    MessageInvalid,
    MessageTooLarge,
    ModelRetired,
    ModelsChanged,
    ModelUnavailable,
    NotFound,
    RateLimitedDay,
    RateLimitedMinute,
    SpendingPaused,
    Suspended,
    TooSlow,
    Unavailable,
)
from aisaas.language_models import Effort, Model
from aisaas.observe.tracing import span

log = logging.getLogger(__name__)

# A prompt never includes more messages than this; the reply says so.
HISTORY_MESSAGES = 400
# Counting the tokens of more text than this would block other users.
COUNTED_AT_ONCE = 20_000
# Tokens a model may think in addition to its answer, by requested effort; one that thinks by itself
# gets what `medium` gets. Claude's budgets are within them (adapters/litellm_reasoning.py).
THINKING_TOKENS: Mapping[Effort, int] = {"none": 0, "low": 2048, "medium": 8192, "high": 24_576}
# A shorter answer is not worth starting; a title is.
MIN_REPLY_TOKENS = 16
MIN_TITLE_TOKENS = 8
# More model changes than this during one admission are an admin's mistake.
LOOKS_AT_MODELS = 3
# Control characters that no message needs (tab and line breaks stay), and halves of surrogate pairs.
UNSENDABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """What the guards depend on."""

    user: UserDatabase
    quota: Quota
    rates: Rates
    catalogue: Catalogue
    live: LiveCatalogue
    count_tokens: Callable[[str], int]
    ratios: TokenRatios
    max_message_chars: int
    max_reply_tokens: int


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """A call on its way through the guards. The later fields are filled by them."""

    caller: Caller
    purpose: Purpose
    text: str
    model_id: str
    conversation_id: UUID | None
    # The place of `text` in the conversation.
    position: Position = IN_VIEW
    # The question to answer again, and what the new answer follows; None for a new question.
    question_id: UUID | None = None
    reply_after: UUID | None = None
    message_id: UUID | None = None
    max_tokens: int | None = None
    turns: tuple[Turn, ...] | None = None
    effort: Effort | None = None
    # The effort is the conversation's.
    effort_as_stored: bool = False
    # The reply so far, if the model should continue it.
    continued: str = ""
    request_id: UUID = field(default_factory=uuid4)
    thread: Thread | None = None
    models: tuple[Model, ...] = ()
    models_revision: int = 0
    prompt: prompts.Prompt | None = None
    # Tokens to reserve for the prompt, for any of the models.
    prompt_estimate: int = 0


Guard = Callable[[AdmissionContext, ReplyRequest], Awaitable[ReplyRequest]]


async def message_is_valid(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    if len(call.text) > context.max_message_chars:
        raise MessageTooLarge(
            f"Your message has {len(call.text):,} characters. The limit is "
            f"{context.max_message_chars:,}. Shorten it or send it in parts."
        )
    if not call.text.strip():
        raise MessageInvalid
    if UNSENDABLE.search(call.text):
        raise MessageInvalid(
            "Your message has invisible control characters. Remove them and try again."
        )
    return call


async def conversation_is_theirs(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    if call.conversation_id is None:
        return call
    user_id = call.caller.user_id
    wanted = store.read_thread(user_id, call.conversation_id, call.position, limit=HISTORY_MESSAGES)
    try:
        thread = await context.user.fetch_as(user_id, wanted)
    except DependencyError as error:
        raise Unavailable from error
    if thread is None:
        raise NotFound
    if not thread.position_found:
        raise NotFound("That message no longer exists.")
    effort = thread.effort if call.effort_as_stored else call.effort
    return replace(call, thread=thread, effort=effort)


async def account_in_good_standing(_: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    if call.caller.suspended:
        raise Suspended
    return call


async def model_allowed_and_priced(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    plan = context.quota.plan_of(call.caller.billing)
    await context.live.up_to(call.caller.controls.models_revision)
    if (succession := context.catalogue.succession(call.model_id)) is not None:
        # The page offers the successor; users are never moved to another model by themselves.
        raise ModelRetired(
            f"{succession.label} has been retired, so this reply can't be continued. Send a message "
            "with another model instead."
            if call.continued
            else f"{succession.label} has been retired. Choose another model to continue."
        )
    model = context.catalogue.find(call.model_id, plan.id)
    if model is None:
        raise ModelUnavailable
    # A fallback must be allowed on this user's plan as well.
    chain = [m for m in context.catalogue.with_fallbacks(model) if plan.id in m.plans]
    return replace(call, models=tuple(chain), models_revision=context.catalogue.revision)


async def spending_not_paused(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    """The kill switches, as they were when the caller was read: milliseconds ago."""
    engaged = call.caller.controls.switches
    if not engaged:
        return call
    plan = context.quota.plan_of(call.caller.billing).id
    open_models = tuple(
        model
        for model in call.models
        if not engaged & scopes_of(plan=plan, model=model.id, provider=model.provider)
    )
    if not open_models or open_models[0] is not call.models[0]:
        raise SpendingPaused
    return replace(call, models=open_models)


async def fits_the_context_window(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    asked = call.models[0]
    wanted = min(
        (call.max_tokens or context.max_reply_tokens) + thinking_tokens(asked, call.effort),
        asked.max_output,
    )
    ratios = await context.ratios.current()
    smallest = min(window(model, ratios) for model in call.models)
    # At least half the window is for the prompt, however long answers may be.
    budget = max(smallest - wanted, smallest // 2)
    if call.turns is not None:
        built = prompts.Prompt(
            call.turns, prompts.count(call.turns), prompts.upper_estimate(call.turns), 0
        )
        if built.upper_estimate > budget:
            raise MessageTooLarge
    else:
        found = await _built(context, call, budget)
        if found is None:
            raise MessageTooLarge(
                "Your message is too long for this model. Shorten it or choose another model."
            )
        built = found
    return replace(
        call,
        prompt=built,
        prompt_estimate=prompt_estimate(built, call.models, ratios),
        max_tokens=min(wanted, smallest - built.upper_estimate),
    )


def thinking_tokens(model: Model, effort: Effort | None) -> int:
    """Tokens a model may think in addition to its answer."""
    if not model.thinks(effort):
        return 0
    taken = effort if effort in model.reasoning.efforts else None
    return THINKING_TOKENS[taken or "medium"]


async def _built(
    context: AdmissionContext, call: ReplyRequest, budget: int
) -> prompts.Prompt | None:
    said = call.thread.said if call.thread else ()
    earlier = call.thread.earlier if call.thread else 0

    def build() -> prompts.Prompt | None:
        question = Turn("user", call.text, context.count_tokens(call.text))
        return prompts.build(
            said,
            question,
            budget=budget,
            count_tokens=context.count_tokens,
            earlier=earlier,
            continued=call.continued,
        )

    uncounted = sum(len(message.content) for message in said if not message.token_count)
    if len(call.text) + len(call.continued) + uncounted <= COUNTED_AT_ONCE:
        return build()
    return await asyncio.to_thread(build)


async def within_rates(context: AdmissionContext, call: ReplyRequest) -> ReplyRequest:
    """Counts the request. From here on, a refusal must release it (see `admit`)."""
    if call.purpose != "reply":
        # Users don't request titles: there is at most one per conversation.
        return call
    plan, account = context.quota.plan_of(call.caller.billing), call.caller.billing
    own_minute, own_day = account.requests_per_minute, account.requests_per_day
    limits = RateLimits(
        plan.rates.per_minute if own_minute is None else own_minute,
        plan.rates.per_day if own_day is None else own_day,
    )
    try:
        decision = await context.rates.acquire(account.user_id, call.request_id, limits)
    except DependencyError as error:
        raise Unavailable from error
    if decision.limited_by is not None:
        if decision.limited_by == "minute":
            raise RateLimitedMinute(
                _reached(limits.per_minute, "minute"), retry_at=decision.retry_at
            )
        raise RateLimitedDay(_reached(limits.per_day, "day"), retry_at=decision.retry_at)
    return call


def _reached(limit: int, window: str) -> str:
    return f"You've reached your limit of {limit:,} {'message' if limit == 1 else 'messages'} per {window}."


GUARDS: tuple[Guard, ...] = (
    message_is_valid,
    account_in_good_standing,
    model_allowed_and_priced,
    spending_not_paused,
    conversation_is_theirs,
    fits_the_context_window,
    within_rates,
)


async def admit(context: AdmissionContext, call: ReplyRequest) -> tuple[ReplyRequest, Admitted]:
    """Run the guards, then hold the worst case of the call.

    Raises:
        Refusal: nothing was consumed: no rate, no quota, no money.
    """
    asked = call
    for _ in range(LOOKS_AT_MODELS):
        try:
            return await _admit(context, asked)
        except ModelsChanged:
            # The model may be gone, or its price changed: run all guards again.
            await context.live.read()
    raise Unavailable


async def _admit(context: AdmissionContext, call: ReplyRequest) -> tuple[ReplyRequest, Admitted]:
    for guard in GUARDS:
        with span(f"guard.{guard.__name__}"):
            call = await guard(context, call)
    assert call.prompt is not None
    assert call.max_tokens is not None
    plan = context.quota.plan_of(call.caller.billing)
    claim = ReservationRequest(
        request_id=call.request_id,
        user_id=call.caller.user_id,
        conversation_id=call.conversation_id,
        message_id=call.message_id,
        purpose=call.purpose,
        plan=plan.id,
        models=call.models,
        prompt_estimate=call.prompt_estimate,
        prompt_count=call.prompt.count,
        max_tokens=call.max_tokens,
        min_tokens=MIN_REPLY_TOKENS if call.purpose == "reply" else MIN_TITLE_TOKENS,
        period=running(call.caller.billing),
        limits=context.quota.limits_of(call.caller.billing),
        # A title is short, and there is at most one per conversation.
        parallel=(call.caller.billing.parallel_replies or plan.parallel_replies)
        if call.purpose == "reply"
        else None,
        free_tier=not plan.metered,
        # Checked again here: the caller may have been read minutes before a title is made.
        switches=scopes_of(plan=plan.id, model=call.models[0].id, provider=call.models[0].provider),
        models_revision=call.models_revision,
    )
    try:
        with span("guard.reservation", model=call.models[0].id, plan=plan.id) as traced:
            granted = await context.quota.reserve(claim)
            traced.note(max_tokens=granted)
    except BaseException:
        await _give_back_rate(context, call)
        raise
    return call, Admitted(
        request_id=call.request_id,
        user_id=call.caller.user_id,
        session_id=call.caller.session_id,
        purpose=call.purpose,
        plan=plan.id,
        models=call.models,
        prompt=call.prompt.turns,
        prompt_count=call.prompt.count,
        max_tokens=granted,
        history_cut=call.prompt.history_cut,
        metered_customer=call.caller.billing.metered_customer if plan.metered else None,
        effort=call.effort,
    )


async def release(context: AdmissionContext, call: ReplyRequest) -> None:
    """Undo an admission whose call was never made."""
    await _give_back_rate(context, call)
    try:
        await context.quota.release(call.request_id)
    except (DependencyError, TooSlow):
        # Its lease runs out, and the recovery releases it.
        log.warning("reservation %s left to its lease", call.request_id)


async def _give_back_rate(context: AdmissionContext, call: ReplyRequest) -> None:
    if call.purpose != "reply":
        return
    try:
        await context.rates.release(call.caller.user_id, call.request_id)
    except DependencyError:
        # Redis went away in between; the entry leaves the minute's window by itself.
        log.warning("rate of request %s not given back", call.request_id)

"""What the domains need from the outside, and the frozen values that cross.

Adapters stand behind these protocols, one vendor each; their fakes are product code with the same
contract suite. `Admitted` is the passed checks as a type: the model port takes nothing else, and
only `chat.guards` constructs it (a test reads the sources to hold that).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

from aisaas.prices import Price

Purpose = Literal["reply", "title"]
Speaker = Literal["system", "user", "assistant"]
# How much a model is asked to think before it answers.
Effort = Literal["none", "low", "medium", "high"]
ReplyStatus = Literal["streaming", "done", "stopped", "interrupted", "failed"]
Outcome = Literal["done", "stopped", "interrupted", "failed"]
# How a reply ended, as its reader is told: `limit` is that of its length, `only_thinking` an end before
# the first word, `cut` one by a failure or a shutdown after something had come.
Ending = Literal[
    "complete",
    "limit",
    "filtered",
    "refused",
    "empty",
    "only_thinking",
    "stopped",
    "cut",
    "failed",
]
# What a mail's link is for, and how many of a user's sessions a sign-out ends.
LinkKind = Literal["signup", "invite", "magiclink", "recovery", "email_change", "email"]
SignOutScope = Literal["local", "others", "global"]

# Models -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How a model thinks before it answers: the efforts that it takes, least first, and whether it
    thinks when no effort is named."""

    efforts: tuple[Effort, ...] = ()
    by_default: bool = False


NO_REASONING = Reasoning()
Ability = Literal["thinking", "vision", "files", "tools"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What LiteLLM's map says of a model besides its price; None where it doesn't."""

    context_window: int | None = None
    max_output: int | None = None
    abilities: frozenset[Ability] = frozenset()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue, priced. Tokens are the unit of every size."""

    id: str
    label: str
    provider: str
    upstream: str
    context_window: int
    max_output: int
    weight: Decimal
    plans: frozenset[str]
    fallback: str | None
    price: Price
    reasoning: Reasoning = NO_REASONING
    # The model of LiteLLM's map that it is, where its name doesn't say so.
    map_name: str | None = None
    abilities: frozenset[Ability] = frozenset()
    # Not for new conversations; old ones are offered this one.
    retired: bool = False
    successor: str | None = None

    @property
    def known_as(self) -> str:
        return self.map_name or self.upstream

    def thinks(self, effort: Effort | None) -> bool:
        """Whether it may think before its first word; an effort that it doesn't take is none named."""
        if effort in self.reasoning.efforts:
            return effort != "none"
        return self.reasoning.by_default


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a provider lists for our key; what isn't known of it is None."""

    provider: str
    upstream: str
    price: Price | None
    context_window: int | None
    max_output: int | None
    abilities: frozenset[Ability]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a provider lists, or a sentence's end about why it can't be had."""

    provider: str
    label: str
    models: tuple[FoundModel, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the model sees it."""

    speaker: Speaker
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that every guard let through, and the reservation that pays for it.

    `models` are what may be called, in order: the one asked for, then its fallbacks; the
    reservation's money covers the dearest of them. `max_tokens` bounds the completion, thinking
    included. `effort` is for the models that take it; the others think as they do by themselves.
    """

    request_id: UUID
    user_id: UUID
    # The session it was asked from: when that one ends, so does the call.
    session_id: UUID
    purpose: Purpose
    plan: str
    models: tuple[Model, ...]
    prompt: tuple[Turn, ...]
    # The best count of the prompt, charged when the provider's own never came.
    prompt_count: int
    max_tokens: int
    history_cut: int
    # The Stripe customer whose meter this goes to; None for the free tier.
    metered_customer: str | None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the completion: without NUL, and without halves of surrogate pairs."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The next piece of what the model thinks, cleaned like `Text`; empty where the provider says that
    it thinks but not what."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the provider reported them. `cached_prompt_tokens` and `cache_write_tokens` are
    part of the prompt's, `thinking_tokens` are part of the completion's."""

    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int = 0
    thinking_tokens: int = 0
    # Those that are kept for an hour are part of them.
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    # Where the provider says that it answered; empty if it doesn't.
    region: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """The provider said why it ended: `stop`, `length`, `content_filter`, `refusal`, …"""

    reason: str


Chunk = Text | Thinking | Usage | Finish


class LanguageModel(Protocol):
    """The one door to providers."""

    def stream(self, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        """Call `model` (one of `admitted.models`) and yield what it sends.

        The iterator ends when the provider's answer ends, or soon after its `Finish` if the provider
        leaves the connection open; without a `Finish` it was cut.
        Closing it (`aclose`, or cancelling the task that iterates) aborts the upstream call.

        Raises:
            ProviderError: refused, unreachable, too slow, or rubbish.
        """
        ...

    def heard_at(self, request_id: UUID) -> float | None:
        """When anything at all last came for a call that runs, by the event loop's clock: text, or
        what keeps a connection alive. None before the first."""
        ...

    def facts_of(self, upstream: str) -> ModelFacts:
        """What is known of an upstream model besides its price."""
        ...

    def reasoning_of(self, upstream: str) -> Reasoning:
        """How an upstream model thinks, if known."""
        ...

    def price_of(self, upstream: str) -> Price | None:
        """The price of an upstream model, or None when nothing is known about it."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by a local tokenizer, an estimate for other vendors' models."""
        ...


# Rates --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a user may start."""

    per_minute: int
    per_day: int


@dataclass(frozen=True, slots=True)
class RateDecision:
    """`limited_by` is None when the request may go on; else `retry_after` seconds are to be waited,
    until `retry_at` by the limiter's clock."""

    limited_by: Literal["minute", "day"] | None
    retry_after: float = 0.0
    retry_at: datetime | None = None


class RateLimiter(Protocol):
    async def acquire(self, user_id: UUID, request_id: UUID, limits: RateLimits) -> RateDecision:
        """Count a request in every window or in none; the same request id counts once.

        Raises:
            DependencyError: within 300 ms, when it can't tell. Callers refuse.
        """
        ...

    async def release(self, user_id: UUID, request_id: UUID) -> None:
        """Give back what a request that was refused later had taken."""
        ...


# Replies in progress ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of a reply: `offset` counts characters from the reply's start."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """What the log holds of a reply: `text` is its beginning without a gap. `model` answered; `usage` is the provider's, if it came."""

    text: str
    model: str | None
    usage: Usage | None
    closed: bool


class ReplyLog(Protocol):
    """Text of running replies, outside the process: for other processes and for recovery."""

    async def append(self, message_id: UUID, entries: Sequence[LogEntry]) -> bool:
        """Add text; False when the log hasn't the reply's beginning, or no facts: what was there before
        is lost, and has to be noted and appended again. Without entries it only looks. An entry at
        offset 0 has all of the reply's text so far.

        Raises:
            DependencyError: nobody knows what was added; it may be appended again.
        """
        ...

    async def note(
        self, message_id: UUID, *, model: str | None = None, usage: Usage | None = None
    ) -> None:
        """Remember facts that a settling process would need."""
        ...

    async def read(self, message_id: UUID) -> LoggedReply | None: ...

    def follow(self, message_id: UUID, offset: int) -> AsyncIterator[LogEntry]:
        """Text from `offset` on and without a gap, until the reply is closed."""
        ...

    async def forget(self, message_id: UUID) -> None:
        """Nothing that was logged before is there any more, text or facts."""
        ...

    async def close(self, message_id: UUID) -> None:
        """No more text comes; followers end, and the log expires soon."""
        ...


class Signals(Protocol):
    """Small facts between processes: stop this reply, this user's sessions changed."""

    async def send(self, topic: str, subject: str) -> None: ...

    def receive(self, topic: str) -> AsyncIterator[str]: ...


# Accounts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuthUser:
    """A user as the auth server knows them."""

    id: UUID
    email: str
    email_confirmed: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuthSession:
    """Tokens of one sign-in. They never leave the server."""

    user: AuthUser
    access_token: str
    refresh_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderVisit:
    """Where a browser goes to sign in elsewhere, and the secret that proves it was the one that
    went (PKCE)."""

    url: str
    verifier: str


class Identity(Protocol):
    """The auth server. Every method raises AuthError when it says no, DependencyError when it
    doesn't answer.

    `captcha` is what the captcha's widget gave the browser; the auth server checks it.
    `redirect_to` is where a mail's link leads in the end, an absolute address of ours.
    `trusted` says that we ask ourselves, with the secret key, so that there is no captcha.
    """

    async def sign_up(
        self,
        email: str,
        password: str,
        full_name: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> AuthSession | None:
        """Make an account; None when it has to be confirmed by mail first."""
        ...

    async def sign_in(
        self, email: str, password: str, *, captcha: str | None = None
    ) -> AuthSession: ...

    async def refresh(self, refresh_token: str) -> AuthSession: ...

    async def get_user(self, access_token: str) -> AuthUser:
        """Ask the server: sees revocation, bans and deletion, which a decoded token never does."""
        ...

    async def sign_out(self, access_token: str, scope: SignOutScope = "local") -> None:
        """End the token's session, all others of its user, or all."""
        ...

    async def mail_reset(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None: ...

    async def mail_sign_in(
        self,
        email: str,
        *,
        may_sign_up: bool,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        """Mail a link that signs in; with `may_sign_up` it makes the account if there is none."""
        ...

    async def mail_confirmation(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None:
        """Mail the link of a sign-up once more."""
        ...

    async def verify(self, token_hash: str, kind: LinkKind) -> AuthSession | None:
        """Redeem the link of a mail; None when a change of address needs the other mailbox, too."""
        ...

    async def change_password(self, access_token: str, password: str) -> None: ...

    async def change_address(
        self, access_token: str, email: str, *, redirect_to: str | None = None
    ) -> AuthUser:
        """The user as they are now: with the old address when the new one has to be confirmed."""
        ...

    async def visit_provider(self, provider: str, *, redirect_to: str) -> ProviderVisit: ...

    async def exchange(self, code: str, verifier: str) -> AuthSession:
        """The code that a visit to a provider came back with, for a session."""
        ...

    async def invite(self, email: str, *, redirect_to: str | None = None) -> AuthUser:
        """Make an account for somebody and mail them a link to it. Needs the secret key."""
        ...


# Attempts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` attempts within any `seconds`. `key` names what is counted and is no secret."""

    key: str
    limit: int
    seconds: int


class AttemptLimiter(Protocol):
    """Every method raises DependencyError, within 300 ms, when it can't tell."""

    async def attempt(self, attempt_id: UUID, windows: Sequence[Window]) -> float | None:
        """Count an attempt in every window and return None, or in none and return the seconds
        until there is room."""
        ...

    async def release(self, attempt_id: UUID, windows: Sequence[Window]) -> None:
        """Take an attempt out of the count again."""
        ...


# Payments -----------------------------------------------------------------------------------------

# Events of a meter: what extra usage costs, in millionths of a dollar; and, for subscriptions from
# before there was one, tokens.
EXTRA_USAGE_METER = "ai_extra_usage"
TOKEN_METER = "ai_tokens_used"  # noqa: S105  # no secret


@dataclass(frozen=True, slots=True)
class PeriodAllowance:
    """The tokens that the period which began at `start` includes, once it was upgraded."""

    start: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class PaidSubscription:
    """A subscription as the payment provider has it at this moment.

    `plan` is what its base price was made for (a plan's id), or None for a price that isn't ours.
    The period is the base item's. `unpaid_since` is when the invoice that is still open was made.
    """

    id: str
    customer_id: str
    user_id: UUID | None
    status: str
    plan: str | None
    price_id: str | None
    item_id: str | None
    period_start: datetime | None
    period_end: datetime | None
    # When it is going to end, if somebody has cancelled it.
    cancel_at: datetime | None
    trial_end: datetime | None
    unpaid_since: datetime | None
    created_at: datetime
    # The tokens that the running period includes, where an upgrade has made it another number than
    # the plan's.
    period_tokens: int | None = None
    # What was paid for the running period went back: it grants nothing. Ours, not the provider's.
    suspended: bool = False
    # The plan that it is going to be on when the period ends, where it is another one. `schedule_done`
    # when what saw to that at the provider has done so, and still holds the subscription.
    next_plan: str | None = None
    schedule_done: bool = False
    # Which meters its metered prices bill.
    bills_money: bool = True
    bills_tokens: bool = False
    # Canceled by the provider because no payment succeeded.
    given_up: bool = False


AfterRefund = Literal["suspend", "cancel", "nothing"]


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """An invoice of a subscription."""

    id: str
    subscription_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndedSubscription:
    """One that was ended; `refunded` is in the smallest unit of `currency`."""

    id: str
    customer_id: str
    plan: str | None
    refunded: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """A verified event. It is a hint to look at `subscription_id` again, never the truth itself.

    `object` is the event's own object as JSON; `user_id` is what Checkout carried through.
    """

    id: str
    type: str
    live: bool
    created_at: datetime
    customer_id: str | None
    subscription_id: str | None
    user_id: UUID | None
    object: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MeterProblem:
    """What the provider says of meter events it had accepted and could not count."""

    event_id: str
    meter_id: str
    created_at: datetime
    # How many events failed for which reason: (code, count, identifiers it gave as samples).
    reasons: tuple[tuple[str, int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """What one call counts for on a meter: what its extra usage costs, in millionths of a dollar, or
    its tokens. `identifier` makes sending it twice count once, for 24 hours.

    `failures` is how often the provider has answered with a failure. It remembers its answers, so
    after one it has to be asked as if anew.
    """

    identifier: str
    customer_id: str
    value: int
    at: datetime
    failures: int = 0
    meter: str = EXTRA_USAGE_METER


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice. Amounts are in the smallest unit of `currency`."""

    id: str
    number: str | None
    status: str
    currency: str
    total: int
    amount_due: int
    created_at: datetime
    url: str | None
    pdf_url: str | None


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class InvoicePreview:
    """What the next invoice would be if nothing else happened; `due_at` is when it is made."""

    currency: str
    total: int
    due_at: datetime | None
    lines: tuple[InvoiceLine, ...]


class Payments(Protocol):
    """The payment provider.

    Every method raises PaymentsError when it can't be told whether something happened (no answer,
    a failure of theirs, too many requests), and PaymentsRefused when the provider said no, which
    asking again won't change.
    """

    async def customer(self, user_id: UUID, email: str, name: str) -> str:
        """The id of the one customer of this user, made on the first call, also when several calls
        come at once."""
        ...

    async def checkout(
        self,
        user_id: UUID,
        customer_id: str,
        plan: str,
        *,
        trial_days: int,
        attempt: str,
        success_url: str,
        cancel_url: str,
    ) -> str:
        """The address of a page where a plan is subscribed to. The same `attempt` is the same page.

        `success_url` may contain {CHECKOUT_SESSION_ID}.
        """
        ...

    async def switch(
        self, subscription_id: str, plan: str, *, allowance: PeriodAllowance | None
    ) -> None:
        """Put a subscription on another plan now. The difference for the rest of its period is charged
        at once, and nothing changes if that fails. `allowance` is kept with the subscription."""
        ...

    async def switch_later(self, subscription_id: str, plan: str) -> None:
        """Put a subscription on another plan when its period ends, and on none before. A switch that
        was to come is replaced."""
        ...

    async def keep_plan(self, subscription_id: str) -> None:
        """There is no switch to come any more, if there was one."""
        ...

    async def paid_for(self, charge_id: str) -> PaidInvoice | None:
        """The subscription's invoice that a charge has paid; None for one of anything else."""
        ...

    async def end_subscription(self, subscription_id: str, *, refund: bool) -> EndedSubscription:
        """End it now. With `refund` all that was paid for it goes back and nothing more is billed;
        otherwise what was used is. Doing it again changes nothing."""
        ...

    async def portal(self, customer_id: str, *, return_url: str) -> str:
        """The address of a page where a customer manages subscription, cards and invoices."""
        ...

    async def subscription(self, subscription_id: str) -> PaidSubscription | None:
        """As it is now; None when there is none by that id."""
        ...

    async def subscriptions(self, customer_id: str) -> Sequence[PaidSubscription]:
        """All of a customer, ended ones included; none for a customer that doesn't exist."""
        ...

    async def invoices(self, customer_id: str, limit: int) -> Sequence[Invoice]:
        """Newest first; drafts left out."""
        ...

    async def preview(self, subscription_id: str) -> InvoicePreview | None:
        """The next invoice of a subscription; None when there won't be one."""
        ...

    async def report_usage(self, event: MeterEvent) -> bool:
        """Report a call; False when the provider knew its identifier already."""
        ...

    async def cancel_usage(self, identifier: str, *, meter: str = EXTRA_USAGE_METER) -> None:
        """Take back an event that was received within the last 24 hours; PaymentsRefused for an
        older one, or one that was taken back before."""
        ...

    async def reported_usage(
        self, customer_id: str, start: datetime, end: datetime, *, meter: str = EXTRA_USAGE_METER
    ) -> int:
        """What a meter counted from `start` to before `end`, whole minutes both."""
        ...

    def event(self, body: bytes, signature: str) -> PaymentEvent:
        """Verify and read a webhook's body. Raises WebhookInvalid."""
        ...

    def meter_notice(self, body: bytes, signature: str) -> str | None:
        """Verify a thin event; its id if it tells of a meter's problem, None for one of another
        type. Raises WebhookInvalid."""
        ...

    async def meter_problem(self, event_id: str) -> MeterProblem:
        """What a thin event is about. PaymentsRefused when there is none by that id (any more)."""
        ...

    async def recall(self, event_id: str) -> PaymentEvent:
        """An event that was delivered, or should have been. PaymentsRefused when there is none by
        that id (any more): events are kept for 30 days."""
        ...


# Mails --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one address, the same words as text and as HTML.

    `message_id` is the same for every try, angle brackets included, so that a mail server or a mail
    program can see a repeat.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Returns when the mail server has taken it on.

        Raises:
            MailError: it isn't known to have been taken on, and may be tried again.
            MailRefused: the server said no for good.
        """
        ...


# Alerts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """A sentence for whoever operates this, and the JSON values it is made of. The `id` is the same
    each time it is sent."""

    id: UUID
    kind: str
    text: str
    values: Mapping[str, object]


class AlertSink(Protocol):
    async def send(self, alert: Alert) -> None:
        """Returns when it was taken.

        Raises:
            AlertError: it isn't known to have been taken, or was refused.
        """
        ...


# Jobs ---------------------------------------------------------------------------------------------


class JobTimes(Protocol):
    """When each job last succeeded, over all processes; seconds since the epoch.

    Both raise DependencyError when it can't be told.
    """

    async def note(self, begun: Mapping[str, float], succeeded: Mapping[str, float]) -> None:
        """Enter successes; where none is known yet, when the job began to run."""
        ...

    async def read(self) -> Mapping[str, float]: ...

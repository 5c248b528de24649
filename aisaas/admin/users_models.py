"""What an admin sees of users. Nothing here has room for what somebody wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID

from aisaas.accounts.models import GrantingSubscription, OpenedBy
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations.models import Allowance

Role = Literal["user", "admin"]
Sort = Literal["joined", "email", "plan", "seen", "requests", "tokens", "cost"]
SORTS: tuple[Sort, ...] = get_args(Sort)
AccountMail = Literal["reset", "confirmation"]


@dataclass(frozen=True, slots=True)
class Search:
    """Which users, in which order. `text` is part of an address or a name, or how an id begins; None
    is any. Use is that of the last 30 days.

    Pages count from 1.
    """

    text: str = ""
    plan: str | None = None
    status: str | None = None
    role: Role | None = None
    suspended: bool | None = None
    sort: Sort = "joined"
    down: bool = True
    page: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A user in the list. Tokens and cost are of the last 30 days."""

    id: UUID
    email: str
    full_name: str
    role: Role
    plan: str
    subscription_status: str
    suspended: bool
    created_at: datetime
    last_seen_at: datetime | None
    requests: int
    quota_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of users. `total` stops counting at MOST_COUNTED (users_store)."""

    users: Sequence[Found]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A user as of `read_at`, by the database's clock; `plan` is what holds then.

    It has what decides how much they may use (`accounts.models.Entitled`), and it is nobody's
    permission to do anything.
    """

    id: UUID
    email: str
    full_name: str
    role: Role
    plan: str
    subscription_status: str
    subscription: GrantingSubscription | None
    plan_ends_at: datetime | None
    overage_cap_usd: Decimal | None
    metered_customer: str | None
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_month: int | None
    parallel_replies: int | None
    highest_cap_usd: Decimal | None
    suspended_at: datetime | None
    suspended_reason: str | None
    created_at: datetime
    read_at: datetime


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Limits of one account; None is the plan's. Tokens are quota tokens of a period; the highest cap
    bounds what its owner may spend in a period beyond the base price."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_month: int | None = None
    parallel_replies: int | None = None
    highest_cap_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class UseOfDay:
    """All that somebody used on a day (UTC), titles included."""

    day: date
    requests: int
    prompt_tokens: int
    completion_tokens: int
    quota_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Spent:
    """What their calls cost us: in the running period, and ever."""

    period_usd: Decimal
    ever_usd: Decimal
    ever_requests: int


@dataclass(frozen=True, slots=True)
class Money:
    """The running period in USD, before tax, discounts and fees, by our own books.

    `base_usd` is the price of the subscription that is running; `owed` when its payment failed.
    `overage_usd` is what was used beyond what is included and credits. Neither counts in a trial.
    """

    base_usd: Decimal
    overage_usd: Decimal
    cost_usd: Decimal
    ever_cost_usd: Decimal
    owed: bool

    @property
    def paid_usd(self) -> Decimal:
        return Decimal(0) if self.owed else self.base_usd + self.overage_usd

    @property
    def margin_usd(self) -> Decimal:
        return self.paid_usd - self.cost_usd


@dataclass(frozen=True, slots=True)
class Refused:
    """How often one reason refused them in one minute."""

    code: str
    minute: datetime
    times: int
    model: str | None


@dataclass(frozen=True, slots=True)
class SignedInAt:
    """A live session."""

    id: UUID
    device: str
    opened_by: OpenedBy
    created_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class HeldSubscription:
    """A subscription as last seen; `page` is where the payment provider shows it. `written_off_usd` is
    extra usage that no invoice asks for, because the subscription was given up."""

    id: str
    customer_id: str
    status: str
    plan: str | None
    period_start: datetime | None
    period_end: datetime | None
    cancel_at: datetime | None
    trial_end: datetime | None
    created_at: datetime
    written_off_usd: Decimal
    page: str | None = None


@dataclass(frozen=True, slots=True)
class FailedReply:
    """A reply that ended in an error: which, of what model, why, when."""

    message_id: UUID
    conversation_id: UUID
    model: str
    answered_by: str | None
    status: str
    code: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Credit:
    """A grant. `over` when it can't be used any more."""

    id: UUID
    tokens: int
    spent: int
    reason: str
    granted_by: str
    expires_at: datetime | None
    created_at: datetime
    over: bool


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail about billing, and what became of it."""

    id: UUID
    kind: str
    state: Literal["pending", "sent", "dead"]
    attempts: int
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Done:
    """A line of the audit log."""

    id: UUID
    actor: str
    # The address of an admin who acted, while their account exists.
    actor_email: str | None
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class OneUser:
    """Everything an admin sees of one user, newest first."""

    standing: Standing
    plan: Plan
    allowance: Allowance
    money: Money
    today: date
    days: Sequence[UseOfDay]
    refused: Sequence[Refused]
    sessions: Sequence[SignedInAt]
    subscriptions: Sequence[HeldSubscription]
    customer_page: str | None
    failed: Sequence[FailedReply]
    credits: Sequence[Credit]
    mails: Sequence[SentMail]
    done: Sequence[Done]
    # Whether a mail server is set, so that mails about billing go out.
    mails_go_out: bool


@dataclass(frozen=True, slots=True)
class SignedOut:
    """How many live sessions were ended here, and whether the auth server confirmed it."""

    sessions: int
    confirmed: bool

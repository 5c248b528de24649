"""What an admin sees of users. No field here can hold what a user wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from aisaas.accounts.people_models import AccountSummary, Role, SignedInAt
from aisaas.billing.ledger.user_reports import UseOfDay
from aisaas.billing.notices.user_reports import SentMail
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.reservations.user_reports import Credit, Refused
from aisaas.billing.subscriptions.user_reports import HeldSubscription
from aisaas.chat.failed_replies import FailedReply

AccountMail = Literal["reset", "confirmation"]


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
    """A page of users. `total` stops counting at MOST_COUNTED (accounts/people.py)."""

    users: Sequence[Found]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Money:
    """The current period in USD, before tax, discounts and fees, by our own ledger.

    `base_usd` is the price of the current subscription; `owed` when its payment failed. `overage_usd`
    is usage beyond the included tokens and credits. Neither counts in a trial.
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

    standing: AccountSummary
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

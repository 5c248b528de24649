"""A valid row for each table, belonging to someone: for seeding, and for trying to insert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

Row = Mapping[str, object]

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """A user and one conversation of theirs; the seeded rows are found again by `rows`."""

    id: UUID = field(default_factory=uuid4)
    conversation: UUID = field(default_factory=uuid4)
    question: UUID = field(default_factory=uuid4)
    usage: UUID = field(default_factory=uuid4)
    reservation: UUID = field(default_factory=uuid4)
    grant: UUID = field(default_factory=uuid4)
    period: str = field(default_factory=lambda: f"period-{uuid4()}")
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def email(self) -> str:
        return f"{self.id}@example.com"


def conversation(person: Person) -> Row:
    return {"id": uuid4(), "user_id": person.id, "title": "Tea", "model": "demo"}


def message(person: Person) -> Row:
    return {
        "id": uuid4(),
        "conversation_id": person.conversation,
        "user_id": person.id,
        "role": "user",
        "content": "How long should it steep?",
        "status": "done",
        "reply_to": None,
        "model": "demo",
    }


def quota_period(person: Person) -> Row:
    return {
        "user_id": person.id,
        "period_key": f"period-{uuid4()}",
        "period_start": START,
        "period_end": END,
        "included": 1000,
    }


def reservation(person: Person) -> Row:
    return {
        "id": uuid4(),
        "user_id": person.id,
        "purpose": "reply",
        "plan": "free",
        "model": "demo",
        "period_key": person.period,
        "tokens": 0,
        "cost_usd": Decimal(0),
        "prompt_estimate": 1,
        "prompt_count": 1,
        "max_tokens": 1,
        "weight": Decimal(1),
        "spend_day": date(2026, 1, 1),
        "free_tier": True,
        "state": "released",
        "lease_expires_at": END,
        "closed_at": END,
    }


def usage_record(person: Person) -> Row:
    return {
        "id": uuid4(),
        "reservation_id": uuid4(),
        "user_id": person.id,
        "purpose": "reply",
        "plan": "free",
        "model": "demo",
        "provider": "demo",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "counted_by": "provider",
        "weight": Decimal(1),
        "quota_tokens": 7,
        "period_key": person.period,
        "input_usd_per_million": Decimal(1),
        "output_usd_per_million": Decimal(1),
        "price_version": "tests",
        "cost_usd": Decimal("0.000007"),
        "outcome": "done",
    }


def usage_loss(person: Person) -> Row:
    return {
        "id": uuid4(),
        "reservation_id": uuid4(),
        "user_id": person.id,
        "purpose": "reply",
        "model": "demo",
        "provider": "demo",
        "reason": "report",
        "counted_prompt_tokens": 3,
        "counted_completion_tokens": 4,
        "reserved_prompt_tokens": 3,
        "reserved_completion_tokens": 4,
        "reserved_usd": Decimal(1),
        "charged_prompt_tokens": 3,
        "charged_completion_tokens": 4,
        "charged_usd": Decimal(1),
        "lost_tokens": 5,
        "lost_usd": Decimal(1),
    }


def usage_day(person: Person) -> Row:
    return {
        "user_id": person.id,
        "day": date(2026, 1, 1),
        "period_key": person.period,
        "model": str(uuid4()),
        "plan": "free",
        "purpose": "reply",
        "requests": 1,
        "done": 1,
        "stopped": 0,
        "interrupted": 0,
        "failed": 0,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "quota_tokens": 7,
        "cost_usd": Decimal("0.000007"),
    }


SUMS: Row = {
    "requests": 1,
    "stopped": 0,
    "interrupted": 0,
    "failed": 0,
    "prompt_tokens": 3,
    "cached_prompt_tokens": 0,
    "completion_tokens": 4,
    "quota_tokens": 7,
}


def usage_by_user(person: Person) -> Row:
    # Days that the person has no usage on.
    day = date(1970, 1, 1) + timedelta(days=uuid4().int % 9000)
    money = {"cost_micros": 7, "overage_micros": 0}
    return {"days": 1, "starts": day, "user_id": person.id, **SUMS, **money}


def usage_total(_: Person) -> Row:
    key = {"model": str(uuid4()), "provider": "demo", "plan": "free", "purpose": "reply"}
    money = {"cost_usd": Decimal("0.000007"), "overage_usd": Decimal(0)}
    return {"step": "day", "starts": START, **key, **SUMS, **money}


def outbox_row(person: Person) -> Row:
    return {
        "id": uuid4(),
        "usage_record_id": person.usage,
        "user_id": person.id,
        "identifier": str(uuid4()),
        "stripe_customer_id": "cus_tests",
        "tokens": 7,
        "event_at": START,
        # Not due, so that no delivery ever takes it.
        "state": "sent",
    }


def subscription(person: Person) -> Row:
    return {
        "id": f"sub_{uuid4()}",
        "user_id": person.id,
        "stripe_customer_id": "cus_tests",
        "status": "active",
        "plan": "pro",
    }


def session(person: Person) -> Row:
    return {
        "id": uuid4(),
        "token_hash": uuid4().bytes,
        "user_id": person.id,
        "access_token": b"sealed",
        "refresh_token": b"sealed",
        "access_expires_at": END,
        "expires_at": END,
    }


ROWS: Mapping[str, Callable[[Person], Row]] = {
    "private.added_models": lambda _: {
        "model": str(uuid4()),
        "label": "Tests",
        "provider": "demo",
        "upstream": "openai/demo",
        "context_window": 1000,
        "max_output": 400,
        "plans": ["free"],
        "added_by": "tests",
    },
    "private.alembic_version": lambda _: {"version_num": "0000"},
    "private.job_failures": lambda _: {
        "job": "tests",
        "item": str(uuid4()),
        "attempts": 1,
        "last_error": "tests",
    },
    "private.kill_switches": lambda _: {"scope": f"model:{uuid4()}", "reason": "tests"},
    "private.loss_alerts": lambda _: {
        "id": uuid4(),
        "day": date(2026, 1, 1),
        "reason": "report",
        "model": str(uuid4()),
        "provider": "demo",
        "billed_tokens": 2,
        "charged_tokens": 1,
        "reserved_tokens": 1,
        "lost_usd": Decimal(1),
        # Not due, so that nothing is ever sent.
        "state": "dead",
    },
    "private.metering": lambda _: {"meter": str(uuid4())},
    "private.model_overrides": lambda _: {"model": str(uuid4()), "changed_by": "tests"},
    "private.price_versions": lambda _: {
        "model": str(uuid4()),
        "version": "tests",
        "digest": uuid4().hex[:16],
        "price": Jsonb(
            {"input_usd": "1", "output_usd": "2", "cached_input_usd": "1", "version": "tests"}
        ),
    },
    "private.sessions": session,
    "private.token_ratios": lambda _: {"model": str(uuid4())},
    "private.spending_alerts": lambda _: {
        "id": uuid4(),
        "day": date(2026, 1, 1),
        "scope": "total",
        "cap_usd": Decimal(uuid4().int % 900_000),
        "percent": 50,
        "spent_usd": Decimal(1),
        "reserved_usd": Decimal(0),
        "refusing": False,
        "told": True,
        # Not due, so that nothing is ever sent.
        "state": "none",
    },
    "private.spending_caps": lambda _: {"scope": str(uuid4()), "usd": 1, "changed_by": "tests"},
    "private.provider_circuits": lambda _: {
        "process": uuid4(),
        "provider": "demo",
        "model": "",
        "failures": 3,
        "until": END,
    },
    "private.provider_health": lambda _: {
        "step": "hour",
        "starts": START,
        "provider": "demo",
        "model": str(uuid4()),
        "kind": "tests",
        "times": 1,
        "last_at": START,
    },
    "private.provider_errors": lambda _: {
        "day": date(2026, 1, 1),
        "provider": "demo",
        "model": str(uuid4()),
        "kind": "tests",
        "times": 1,
    },
    # Of someone who has no account, so that nothing of Ada's is removed.
    "private.removed_accounts": lambda _: {"user_id": uuid4()},
    "private.usage_by_user": usage_by_user,
    "private.usage_losses": usage_loss,
    "private.usage_totals": usage_total,
    "private.write_offs": lambda person: {
        "period_key": f"sub_{uuid4().hex}:1",
        "user_id": person.id,
        "subscription_id": "sub_1",
        "reason": "payment_failed",
        "tokens": 5,
        "usd": Decimal(1),
    },
    "private.subscription_tasks": lambda person: {
        "kind": "release_schedule",
        "subscription_id": f"sub_{uuid4().hex}",
        "user_id": person.id,
    },
    "public.audit_log": lambda person: {
        "id": uuid4(),
        "actor": "tests",
        "action": "look",
        "subject": f"user:{person.id}",
    },
    "public.billing_notices": lambda person: {
        "id": uuid4(),
        "user_id": person.id,
        "kind": "tests",
        "key": f"tests:{uuid4()}",
        # Not due, so that nothing is ever mailed.
        "state": "dead",
    },
    "public.conversations": conversation,
    "public.credit_grants": lambda person: {
        "id": uuid4(),
        "user_id": person.id,
        "tokens": 1000,
        "reason": "tests",
        "granted_by": "tests",
    },
    "public.credit_uses": lambda person: {
        "id": uuid4(),
        "grant_id": person.grant,
        "reservation_id": person.reservation,
        "tokens": 7,
    },
    "public.entitlement_differences": lambda person: {
        "id": uuid4(),
        "user_id": person.id,
        "ours": "{}",
        "theirs": "{}",
        "found_by": "tests",
        # Only one of a user may be open.
        "corrected_at": END,
    },
    "public.messages": message,
    "public.meter_reconciliations": lambda _: {
        "stripe_customer_id": f"cus_{uuid4()}",
        "day": date(2026, 1, 1),
    },
    "public.processed_webhook_events": lambda _: {"id": f"evt_{uuid4()}", "type": "tests"},
    "public.profile_pictures": lambda person: {
        "user_id": person.id,
        "version": uuid4().hex,
        "content": b"a picture",
        "content_type": "image/png",
    },
    # A profile is made by the sign-up; this is one more for the same person.
    "public.profiles": lambda person: {"id": person.id, "email": person.email},
    "public.quota_periods": quota_period,
    "public.refusals": lambda person: {
        "user_id": person.id,
        "code": f"tests_{uuid4()}",
        "minute": START,
        "times": 1,
    },
    "public.reservations": reservation,
    "public.spend_days": lambda _: {
        "day": date(1900 + uuid4().int % 90, 1 + uuid4().int % 12, 1 + uuid4().int % 28),
        "scope": "total",
    },
    "public.subscriptions": subscription,
    "public.usage_days": usage_day,
    "public.usage_outbox": outbox_row,
    "public.usage_records": usage_record,
    "public.webhook_failures": lambda _: {
        "event_id": f"evt_{uuid4()}",
        "type": "tests",
        "last_error": "tests",
    },
}

"""A believable, made-up month of users and usage: the same for the same seed, day and prices.

Invariant: the rules for real users apply here, too. No user exceeds their allowance, a call's cost
follows from its tokens and its model's price, and a refused request has no call.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from aisaas.billing.plans.terms import FREE, Plan
from aisaas.billing.reservations.quota import cost_usd, quota_tokens
from aisaas.cli.run.demo_texts import FIRST_NAMES, LAST_NAMES, TOPICS
from aisaas.language_models import Model

DAYS = 30
DOMAIN = "demo.example"
Outcome = Literal["done", "stopped", "interrupted", "failed"]

# Percent of people by plan, and how many messages each sends on a usual day.
SHARES = {"free": 70, "pro": 23, "business": 7}
A_DAY = {"free": 1.1, "pro": 6.0, "business": 18.0}
# By hour (UTC): quiet nights, two humps, less at weekends.
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 16, 13, 15, 18, 17, 14, 11, 9, 9, 8, 6, 4, 2)
WEEKEND = 0.35
# Some calls end otherwise, and on one afternoon a provider was ill.
STOPPED, INTERRUPTED = 0.025, 0.008
ILL_HOURS = range(13, 16)
ILL_SHARE = 0.5
# A refusal that has nothing to do with an allowance comes about once in so many messages.
REFUSED_EVERY = 30
REFUSALS = (
    *("rate_limited_minute",) * 8,
    *("busy",) * 4,
    *("message_too_large",) * 2,
    "model_unavailable",
    "unavailable",
)
# How often users whose allowance is used up still try.
STUBBORN = 0.08
STATUSES = ("active", "active", "active", "active", "active", "trialing", "past_due", "cancelled")


@dataclass(frozen=True, slots=True)
class Period:
    key: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    id: str
    customer: str
    status: str
    period: Period
    created_at: datetime
    trial_end: datetime | None
    past_due_since: datetime | None
    cancel_at: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    id: UUID
    email: str
    name: str
    plan: str
    status: str
    joined_at: datetime
    subscription: Subscription | None
    suspended: bool


@dataclass(frozen=True, slots=True)
class Chat:
    id: UUID
    person: UUID
    title: str
    model: str
    began_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its reply; `error` for one that failed."""

    chat: UUID
    person: UUID
    question_id: UUID
    reply_id: UUID
    question: str
    answer: str
    model: str
    status: Outcome
    error: str | None
    at: datetime
    call: Call | None


@dataclass(frozen=True, slots=True)
class Call:
    """A line of the ledger. `quota` are quota tokens."""

    id: UUID
    person: UUID
    plan: str
    model: Model
    purpose: Literal["reply", "title"]
    chat: UUID | None
    reply: UUID | None
    prompt: int
    cached: int
    completion: int
    quota: int
    cost_usd: Decimal
    outcome: Outcome
    counted_by: Literal["provider", "estimate"]
    period: Period
    began_at: datetime
    at: datetime


@dataclass(slots=True)
class Month:
    people: list[Person] = field(default_factory=list[Person])
    chats: list[Chat] = field(default_factory=list[Chat])
    turns: list[Turn] = field(default_factory=list[Turn])
    calls: list[Call] = field(default_factory=list[Call])
    # (person, code, minute, model) to how often.
    refusals: dict[tuple[UUID, str, datetime, str], int] = field(
        default_factory=dict[tuple[UUID, str, datetime, str], int]
    )
    # (day, provider, model, kind) to how often.
    errors: dict[tuple[date, str, str, str], int] = field(
        default_factory=dict[tuple[date, str, str, str], int]
    )
    # (person, period's key) to (period, quota tokens used).
    used: dict[tuple[UUID, str], tuple[Period, int]] = field(
        default_factory=dict[tuple[UUID, str], tuple[Period, int]]
    )


def make_month(
    seed: int,
    people: int,
    now: datetime,
    *,
    models: Sequence[Model],
    plans: Mapping[str, Plan],
) -> Month:
    """The DAYS days before `now`, and today so far."""
    return _Maker(seed, now, models, plans).make(people)


class _Maker:
    def __init__(
        self, seed: int, now: datetime, models: Sequence[Model], plans: Mapping[str, Plan]
    ) -> None:
        self._dice = random.Random(seed)  # noqa: S311  # figures for a demo
        self._now = now
        self._plans = plans
        self._models = {plan: [model for model in models if plan in model.plans] for plan in plans}
        self._month = Month()
        # When each user's used-up allowance renews.
        self._spent_until: dict[UUID, datetime] = {}
        self._ill_day = (now - timedelta(days=DAYS // 3)).date()

    def make(self, people: int) -> Month:
        kinds = [plan for plan, share in SHARES.items() for _ in range(share)]
        names = self._dice.sample(
            [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES], people
        )
        for number, name in enumerate(names):
            # Evenly spread, so that a few people have every plan, too.
            plan = kinds[number * len(kinds) // people]
            person = self._person(name, plan, suspended=number == 2)  # noqa: PLR2004
            self._month.people.append(person)
            self._live(person)
        return self._month

    def _id(self) -> UUID:
        return UUID(int=self._dice.getrandbits(128), version=4)

    # The users

    def _person(self, name: str, plan: str, *, suspended: bool) -> Person:
        joined = self._now - timedelta(days=self._dice.uniform(1, 75))
        user_id = self._id()
        email = f"{name.lower().replace(' ', '.')}@{DOMAIN}"
        subscription = None if plan == FREE else self._subscription(user_id, joined)
        status = subscription.status if subscription else "free"
        return Person(user_id, email, name, plan, status, joined, subscription, suspended)

    def _subscription(self, user_id: UUID, joined: datetime) -> Subscription:
        dice, now = self._dice, self._now
        name = f"sub_demo_{user_id.hex[:14]}"
        status = dice.choice(STATUSES)
        began = joined + timedelta(days=dice.uniform(0, max((now - joined).days - 1, 0.5)))
        start = began
        while start + timedelta(days=30) <= now:
            start += timedelta(days=30)
        period = _period(name, start)
        return Subscription(
            id=name,
            customer=f"cus_demo_{user_id.hex[:14]}",
            status=status,
            period=period,
            created_at=began,
            trial_end=now + timedelta(days=5) if status == "trialing" else None,
            past_due_since=max(now - timedelta(days=3), start) if status == "past_due" else None,
            cancel_at=period.end if status == "cancelled" else None,
        )

    # Their days

    def _live(self, person: Person) -> None:
        eager = self._dice.lognormvariate(0, 0.6)
        for back in range(DAYS, -1, -1):
            day = (self._now - timedelta(days=back)).date()
            # The product grows a little every day.
            usual = A_DAY[person.plan] * eager * (0.7 + 0.6 * (DAYS - back) / DAYS)
            usual *= WEEKEND if day.weekday() >= 5 else 1.0  # noqa: PLR2004
            left = self._poisson(usual)
            while left > 0:
                left -= self._conversation(person, day, left)

    def _poisson(self, mean: float) -> int:
        """How many, if it is `mean` of them on average."""
        total, times = self._dice.expovariate(1), 0
        while total < mean:
            total += self._dice.expovariate(1)
            times += 1
        return times

    def _conversation(self, person: Person, day: date, most: int) -> int:
        """One about one topic; how many messages were sent."""
        dice = self._dice
        (hour,) = dice.choices(range(24), HOURS)
        at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        at += timedelta(seconds=dice.uniform(0, 3600))
        if at < person.joined_at or at > self._now - timedelta(minutes=5):
            return 1
        if self._spent_until.get(person.id, at) > at and dice.random() > STUBBORN:
            return 1
        topic, model = dice.choice(TOPICS), self._model(person.plan)
        chat, began = self._id(), at
        turns, said, answered = topic.turns[:most], 0, 0
        for question, answer in turns:
            if dice.randrange(REFUSED_EVERY) == 0:
                self._refuse(person, dice.choice(REFUSALS), at, model)
                at += timedelta(seconds=dice.uniform(20, 60))
            said += 1
            turn = self._turn(person, chat, model, question, answer, at, said)
            if turn is None:
                break
            self._month.turns.append(turn)
            answered += 1
            at = turn.at + timedelta(seconds=dice.uniform(30, 240))
        if answered:
            self._month.chats.append(Chat(chat, person.id, topic.title, model.id, began, at))
            self._title(person, chat, at)
        return said

    def _model(self, plan: str) -> Model:
        """The first of a plan are the favourites."""
        models = self._models[plan]
        (chosen,) = self._dice.choices(models, [1 / (n + 1) for n in range(len(models))])
        return chosen

    def _turn(
        self,
        person: Person,
        chat: UUID,
        model: Model,
        question: str,
        answer: str,
        at: datetime,
        number: int,
    ) -> Turn | None:
        """None when it was refused: the allowance is used up."""
        dice = self._dice
        question_id, reply_id = self._id(), self._id()
        ill = at.date() == self._ill_day and at.hour in ILL_HOURS and model.provider == "openai"
        if ill and dice.random() < ILL_SHARE:
            key = (at.date(), model.provider, model.id, "InternalServerError")
            self._month.errors[key] = self._month.errors.get(key, 0) + 1
            return Turn(
                *(chat, person.id, question_id, reply_id, question, "", model.id),
                status="failed",
                error="InternalServerError",
                at=at,
                call=None,
            )
        prompt = int(dice.lognormvariate(5.6, 0.8)) + 220 * number
        completion = int(dice.lognormvariate(5.7, 0.6))
        chance = dice.random()
        ended: Outcome = "done"
        if chance < STOPPED:
            ended = "stopped"
        elif chance < STOPPED + INTERRUPTED:
            ended = "interrupted"
        if ended != "done":
            completion, answer = completion // 3, answer[: len(answer) // 2]
        call = self._call(
            *(person, model, "reply", prompt, completion, ended, at),
            chat=chat,
            reply=reply_id,
        )
        if call is None:
            return None
        self._month.calls.append(call)
        error = "process_lost" if ended == "interrupted" else None
        return Turn(
            *(chat, person.id, question_id, reply_id, question, answer, model.id),
            status=ended,
            error=error,
            at=at,
            call=call,
        )

    def _title(self, person: Person, chat: UUID, at: datetime) -> None:
        call = self._call(
            person, self._models[person.plan][0], "title", 90, 6, "done", at, chat=chat
        )
        if call is not None:
            self._month.calls.append(call)

    def _call(
        self,
        person: Person,
        model: Model,
        purpose: Literal["reply", "title"],
        prompt: int,
        completion: int,
        outcome: Outcome,
        at: datetime,
        *,
        chat: UUID,
        reply: UUID | None = None,
    ) -> Call | None:
        plan = FREE if person.subscription and at < person.subscription.created_at else person.plan
        if plan not in model.plans:
            model = self._models[plan][0]
        cached = prompt // 2 if self._dice.random() < 0.2 else 0  # noqa: PLR2004
        period = self._period(person, plan, at)
        tokens = quota_tokens(model.weight, prompt + completion)
        _, used = self._month.used.get((person.id, period.key), (period, 0))
        if used + tokens > self._plans[plan].tokens_per_month:
            if purpose == "reply":
                self._spent_until[person.id] = period.end
                self._refuse(person, "quota_exceeded", at, model)
            return None
        self._month.used[person.id, period.key] = (period, used + tokens)
        seconds = completion / self._dice.uniform(40, 90) + 0.6
        return Call(
            id=self._id(),
            person=person.id,
            plan=plan,
            model=model,
            purpose=purpose,
            chat=chat,
            reply=reply,
            prompt=prompt,
            cached=cached,
            completion=completion,
            quota=tokens,
            cost_usd=cost_usd(
                model,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cached_prompt_tokens=cached,
            ),
            outcome=outcome,
            counted_by="provider" if outcome == "done" else "estimate",
            period=period,
            began_at=at,
            at=at + timedelta(seconds=seconds),
        )

    def _period(self, person: Person, plan: str, at: datetime) -> Period:
        if plan == FREE or person.subscription is None:
            start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            end = (start + timedelta(days=32)).replace(day=1)
            return Period(f"month:{start:%Y-%m}", start, end)
        period = person.subscription.period
        while at < period.start:
            period = _period(person.subscription.id, period.start - timedelta(days=30))
        return period

    def _refuse(self, person: Person, code: str, at: datetime, model: Model) -> None:
        key = (person.id, code, at.replace(second=0, microsecond=0), model.id)
        self._month.refusals[key] = self._month.refusals.get(key, 0) + 1


def _period(subscription: str, start: datetime) -> Period:
    start = start.replace(microsecond=0)
    return Period(f"{subscription}:{int(start.timestamp())}", start, start + timedelta(days=30))

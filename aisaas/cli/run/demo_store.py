"""Writes the demo month: accounts through the sign-in server, the rest in one transaction.

As the schema's owner, who alone may write the past. The ledger's triggers are in effect, so everything
that is summed from it agrees with it. Invariant: all of it or nothing; accounts whose month could not be
written are removed again.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from uuid import UUID

import httpx
import psycopg
from argon2 import PasswordHasher
from psycopg.types.json import Jsonb

from aisaas.billing.plans.terms import FREE, Plan
from aisaas.cli.run.demo_month import DOMAIN, Month, Person
from aisaas.errors import DependencyError

HTTP_SECONDS = 30.0
Connection = psycopg.Connection[tuple[object, ...]]


def is_seeded(url: str) -> bool:
    with _connected(url) as connection:
        found = connection.execute(
            "select exists (select 1 from public.profiles where email like %s)", [f"%@{DOMAIN}"]
        ).fetchone()
    return found is not None and bool(found[0])


@contextmanager
def accounts(
    auth_url: str, secret_key: str, people: Sequence[Person], password: str
) -> Generator[None]:
    """They exist inside the block and after it, unless it fails.

    Raises:
        DependencyError: the sign-in server can't be reached, or refuses them.
    """
    # One hash for all: it is one password, and each hash takes a while on purpose.
    hashed = PasswordHasher().hash(password)
    made: list[UUID] = []
    headers = {"apikey": secret_key, "authorization": f"Bearer {secret_key}"}
    with httpx.Client(base_url=auth_url, headers=headers, timeout=HTTP_SECONDS) as client:
        try:
            for person in people:
                answer = client.post("/auth/v1/admin/users", json=_account(person, hashed))
                answer.raise_for_status()
                made.append(person.id)
            yield
        except BaseException as error:
            for user_id in made:
                client.delete(f"/auth/v1/admin/users/{user_id}")
            if isinstance(error, httpx.HTTPError):
                raise DependencyError("the sign-in server made no accounts") from error
            raise


def _account(person: Person, hashed: str) -> dict[str, object]:
    return {
        "id": str(person.id),
        "email": person.email,
        "password_hash": hashed,
        "email_confirm": True,
        "user_metadata": {"full_name": person.name},
    }


def write(url: str, month: Month, plans: dict[str, Plan], *, actor: str, seed: int) -> None:
    """Write everything but the accounts, which must exist.

    Raises:
        DependencyError: nothing was written.
    """
    with _connected(url) as connection:
        _people(connection, month)
        _periods(connection, month, plans)
        _conversations(connection, month)
        _ledger(connection, month)
        _refusals(connection, month)
        connection.execute(
            "insert into public.audit_log (actor, action, subject, before, after, reason)"
            " values (%s, 'demo.seed', 'demo', null, %s, 'a month made up, for trials')",
            [actor, json.dumps({"seed": seed, "people": len(month.people)})],
        )


@contextmanager
def _connected(url: str) -> Generator[Connection]:
    """One transaction."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            yield connection
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise DependencyError(f"the database took no demo month: {reason}") from error


def _people(connection: Connection, month: Month) -> None:
    with connection.cursor() as cursor:
        for person in month.people:
            held = person.subscription
            cursor.execute(
                # No job looks these up: the payment provider doesn't know them.
                "update public.profiles set full_name = %s, plan = %s, subscription_status = %s,"
                " subscription_id = %s, period_start = %s, period_end = %s, plan_ends_at = %s,"
                " suspended_at = %s, suspended_reason = %s, created_at = %s,"
                " billing_look_at = now() + interval '100 years' where id = %s",
                [
                    person.name,
                    person.plan,
                    person.status,
                    held.id if held else None,
                    held.period.start if held else None,
                    held.period.end if held else None,
                    held.cancel_at if held else None,
                    person.joined_at if person.suspended else None,
                    "asked for it, for this demo" if person.suspended else None,
                    person.joined_at,
                    person.id,
                ],
            )
    _copy(
        connection,
        "public.subscriptions (id, user_id, stripe_customer_id, status, plan,"
        " current_period_start, current_period_end, cancel_at_period_end, cancel_at, trial_end,"
        " past_due_since, created_at)",
        (
            (
                held.id,
                person.id,
                held.customer,
                # A subscription that was cancelled runs on to its period's end.
                "active" if held.status == "cancelled" else held.status,
                person.plan,
                held.period.start,
                held.period.end,
                held.cancel_at is not None,
                held.cancel_at,
                held.trial_end,
                held.past_due_since,
                held.created_at,
            )
            for person in month.people
            if (held := person.subscription) is not None
        ),
    )


def _periods(connection: Connection, month: Month, plans: dict[str, Plan]) -> None:
    plan_of = {person.id: person.plan for person in month.people}
    _copy(
        connection,
        "public.quota_periods (user_id, period_key, period_start, period_end, included, used)",
        (
            (
                user_id,
                key,
                period.start,
                period.end,
                plans[FREE if key.startswith("month:") else plan_of[user_id]].tokens_per_month,
                used,
            )
            for (user_id, key), (period, used) in month.used.items()
        ),
    )


def _conversations(connection: Connection, month: Month) -> None:
    _copy(
        connection,
        "public.conversations (id, user_id, title, model, last_message_at, created_at)",
        (
            (chat.id, chat.person, chat.title, chat.model, chat.last_at, chat.began_at)
            for chat in month.chats
        ),
    )
    _copy(
        connection,
        "public.messages (id, conversation_id, user_id, role, content, status, parent_id, reply_to,"
        " model, answered_by, token_count, prompt_tokens, completion_tokens, cost_usd, error_code,"
        " created_at)",
        _messages(month),
    )


def _messages(month: Month) -> Iterator[Sequence[object]]:
    """Each after the one it follows."""
    last: dict[UUID, UUID] = {}
    nothing = (None, None, None, 0, None, None, None, None)
    for turn in month.turns:
        call, parent = turn.call, last.get(turn.chat)
        yield (
            *(turn.question_id, turn.chat, turn.person, "user", turn.question, "done", parent),
            *(*nothing, turn.at),
        )
        yield (
            *(turn.reply_id, turn.chat, turn.person, "assistant", turn.answer, turn.status),
            *(turn.question_id, turn.question_id, turn.model, call.model.id if call else None),
            *(call.completion if call else 0, call.prompt if call else None),
            *(call.completion if call else None, call.cost_usd if call else None),
            *(turn.error, call.at if call else turn.at),
        )
        last[turn.chat] = turn.reply_id


def _ledger(connection: Connection, month: Month) -> None:
    _copy(
        connection,
        "public.reservations (id, user_id, conversation_id, message_id, purpose, plan, model,"
        " period_key, tokens, cost_usd, prompt_estimate, prompt_count, max_tokens, weight,"
        " spend_day, free_tier, state, lease_expires_at, created_at, closed_at)",
        (
            (
                *(call.id, call.person, call.chat, call.reply, call.purpose, call.plan),
                *(call.model.id, call.period.key, call.quota, call.cost_usd, call.prompt),
                *(call.prompt, call.completion, call.model.weight, call.began_at.date()),
                *(call.plan == FREE, "settled", call.at, call.began_at, call.at),
            )
            for call in month.calls
        ),
    )
    _copy(
        connection,
        "public.usage_records (reservation_id, user_id, conversation_id, message_id, purpose, plan,"
        " model, provider, prompt_tokens, cached_prompt_tokens, completion_tokens, counted_by,"
        " weight, quota_tokens, period_key, input_usd_per_million, output_usd_per_million,"
        " price_version, price_digest, cost_usd, outcome, created_at)",
        (
            (
                *(call.id, call.person, call.chat, call.reply, call.purpose, call.plan),
                *(call.model.id, call.model.provider, call.prompt, call.cached, call.completion),
                *(call.counted_by, call.model.weight, call.quota, call.period.key),
                *(call.model.price.input_usd, call.model.price.output_usd),
                *(call.model.price.version, call.model.price.digest, call.cost_usd),
                *(call.outcome, call.at),
            )
            for call in month.calls
        ),
    )
    models = {call.model.id: call.model for call in month.calls}.values()
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into private.price_versions (model, version, digest, price)"
            " values (%s, %s, %s, %s) on conflict do nothing",
            [
                (model.id, model.price.version, model.price.digest, Jsonb(model.price.to_dict()))
                for model in models
            ],
        )
        cursor.executemany(
            "insert into public.spend_days as d (day, scope, spent_usd) values (%s, %s, %s)"
            " on conflict (day, scope) do update set spent_usd = d.spent_usd + excluded.spent_usd",
            [(day, scope, usd) for (day, scope), usd in sorted(_spent(month).items())],
        )


def _spent(month: Month) -> dict[tuple[date, str], Decimal]:
    spent: dict[tuple[date, str], Decimal] = {}
    for call in month.calls:
        for scope in ("total", "free") if call.plan == FREE else ("total",):
            key = (call.began_at.date(), scope)
            spent[key] = spent.get(key, Decimal(0)) + call.cost_usd
    return spent


def _refusals(connection: Connection, month: Month) -> None:
    _copy(
        connection,
        "public.refusals (user_id, code, minute, times, model)",
        (
            (user_id, code, minute, times, model)
            # A minute has one row per code, whichever model was requested.
            for (user_id, code, minute), (times, model) in _by_minute(month).items()
        ),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into private.provider_errors as e (day, provider, model, kind, times)"
            " values (%s, %s, %s, %s, %s) on conflict (day, provider, model, kind)"
            " do update set times = e.times + excluded.times",
            [(*key, times) for key, times in sorted(month.errors.items())],
        )


def _by_minute(month: Month) -> dict[tuple[UUID, str, object], tuple[int, str]]:
    found: dict[tuple[UUID, str, object], tuple[int, str]] = {}
    for (user_id, code, minute, model), times in month.refusals.items():
        before, _ = found.get((user_id, code, minute), (0, model))
        found[user_id, code, minute] = (before + times, model)
    return found


def _copy(connection: Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} from stdin".encode()) as copying,  # names of our own
    ):
        for row in rows:
            copying.write_row(row)

"""A database as after years of use: every growing table, filled inside the database.

The ledger is filled a day at a time, with its triggers as they are: the sums are made by what makes
them in the product. All else is a statement for each table. Everything follows from the sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import psycopg

# How far the ledger goes back.
DAYS = 180
# Whose conversations most of the messages are in.
HEAVY_USER = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows. `lines` are the ledger's, over `days`; a fifth of the users pay. `deleted_messages`
    are in one conversation that its user has deleted, and as many belong to an account that is
    deleted."""

    days: int = DAYS
    users: int = 50_000
    lines: int = 1_000_000
    conversations: int = 10_001
    messages: int = 203_000
    deleted_messages: int = 0
    sessions: int = 75_000
    reservations: int = 300_000
    refusals: int = 100_000
    audit: int = 100_000
    outbox: int = 200_000
    reconciliations: int = 200_000
    webhooks: int = 100_000
    notices: int = 50_000


_USER = "('00000000-0000-4000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"

PEOPLE = f"""
    insert into auth.users (id, email)
      select {_USER.format("n")}, 'user-' || n || '@example.com' from generate_series(1, %(users)s) n
    """
SUBSCRIPTIONS = f"""
    insert into public.subscriptions (id, user_id, stripe_customer_id, status, plan, created_at)
      select 'sub_' || n, {_USER.format("n")}, 'cus_' || n, 'active',
        case when n %% 4 = 0 then 'business' else 'pro' end, now() - (n %% 400) * interval '1 day'
      from generate_series(1, %(paying)s) n
    """
# On any day one of each four users comes, not always the same; a few of them use much and most use
# little; everybody has a favorite model. Ids rise, so that half a year is loaded in minutes.
LINES_OF_A_DAY = f"""
    insert into public.usage_records (id, reservation_id, user_id, purpose, plan, model, provider,
      prompt_tokens, cached_prompt_tokens, completion_tokens, counted_by, weight, quota_tokens,
      overage_tokens, overage_usd, period_key, input_usd_per_million, output_usd_per_million,
      price_version, cost_usd, outcome, created_at)
    select id, id, {_USER.format("person")},
      case when dice < 0.1 then 'title' else 'reply' end,
      case when person %% 20 = 0 then 'business' when person %% 5 = 0 then 'pro' else 'free' end,
      'model-' || kind, 'provider-' || kind %% 3, prompt, prompt / 4, completion, 'provider', 1,
      prompt + completion, beyond, beyond * 0.000010, 'month:' || to_char(at, 'YYYY-MM'), 1, 3,
      'bench', (prompt + 3 * completion) * 0.000001,
      case when dice < 0.94 then 'done' when dice < 0.97 then 'stopped'
        when dice < 0.99 then 'interrupted' else 'failed' end, at
    from (
      select *, case when dice < 0.9 then person %% 6 else (dice * 1000)::integer %% 6 end as kind,
        case when person %% 5 = 0 and dice < 0.2 then 100 else 0 end as beyond
      from (
        select ('00000000-0000-4000-9000-' || lpad(to_hex(%(from)s + n), 12, '0'))::uuid as id,
          floor(%(users)s / 4 * power(random(), 2))::integer as four, random() as dice,
          100 + floor(random() * 900)::integer as prompt,
          50 + floor(random() * 500)::integer as completion,
          %(day)s::date + n * (interval '1 day' / %(lines)s) as at
        from generate_series(0, %(lines)s - 1) n
      ) drawn, lateral (
        select 1 + 4 * four + (hashint4(four * 1000 + extract(doy from at)::integer) & 3) as person
      ) came
    ) lines
    """
# What the dashboard of usage shows beside the ledger.
AROUND = f"""
    insert into public.refusals (user_id, code, minute, times, model)
      select {_USER.format("1 + n %% %(refused)s")},
        (array['busy', 'rate_limited_minute', 'quota_exceeded', 'spending_paused'])[1 + n %% 4],
        date_trunc('minute', now()) - n * (interval '90 days' / %(refusals)s), 2, 'model-1'
      from generate_series(1, %(refusals)s) n
      on conflict do nothing;
    insert into public.spend_days (day, scope, spent_usd)
      select %(first)s::date + d, s, 3.5 from generate_series(0, %(days)s - 1) d,
        (values ('free'), ('total')) as scopes (s)
      on conflict do nothing;
    insert into private.provider_errors (day, provider, model, kind, times)
      select %(first)s::date + d, 'provider-' || m %% 3, 'model-' || m, k, 1 + d %% 5
      from generate_series(0, %(days)s - 1) d, generate_series(0, 5) m,
        unnest(array['timeout', 'overloaded']) k;
    insert into private.provider_health (step, starts, provider, model, kind, times, first_tokens, tokens,
        writing_ms, last_at)
      select s.step, date_trunc(s.step, now(), 'UTC') - n * s.long, 'provider-' || m %% 3, 'model-' || m, k,
        20, array_fill(1, array[20 + m]), 5000, 90000, now() - n * s.long
      from (values ('minute', interval '1 minute', 1700), ('hour', interval '1 hour', 200))
          as s (step, long, many),
        generate_series(0, s.many) n, generate_series(0, 5) m,
        unnest(array['answered', 'timeout']) k;
    insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      values ({_USER.format("1")}, 'bench', now(), now() + interval '1 month', 0);
    insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens, cost_usd,
        prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, lease_expires_at)
      select gen_random_uuid(), {_USER.format("1")}, 'reply', 'free', 'model-1',
        'bench', 0, 0, 1, 1, 1, 1, now()::date, true, now() + interval '1 day'
      from generate_series(1, 50)
    """
# What else grows.
_REST = f"""
    insert into public.conversations (id, user_id, title, model, last_message_at, created_at)
      select ('00000000-0000-4000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, {_USER.format("1")},
        'Conversation ' || n, 'model-1', now() - n * interval '1 minute',
        now() - n * interval '1 minute'
      from generate_series(1, %(conversations)s) n;
    insert into public.messages (conversation_id, user_id, role, content, model, created_at)
      select ('00000000-0000-4000-a000-' || lpad(to_hex(1 + n %% %(conversations)s), 12, '0'))::uuid,
        {_USER.format("1")}, case when n %% 2 = 0 then 'user' else 'assistant' end,
        repeat('text ', 20), 'model-1', now() - (%(messages)s - n) * interval '1 second'
      from generate_series(1, %(messages)s) n;
    insert into private.sessions (token_hash, user_id, access_token, refresh_token,
        access_expires_at, created_at, last_seen_at, expires_at)
      select sha256(n::text::bytea), {_USER.format("1 + n %% %(users)s")}, repeat('x', 900)::bytea,
        repeat('x', 60)::bytea, at, at, at, at + interval '30 days'
      from generate_series(1, %(sessions)s) n,
        lateral (select now() - n * (interval '45 days' / %(sessions)s) as at) a;
    insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      select {_USER.format("n")}, 'month:' || to_char(starts, 'YYYY-MM'), starts,
        starts + interval '1 month', 10000
      from generate_series(1, %(users)s) n,
        generate_series(date_trunc('month', now()) - interval '5 months',
          date_trunc('month', now()), interval '1 month') starts;
    insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens, cost_usd,
        prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, lease_expires_at,
        state, created_at, closed_at)
      select gen_random_uuid(), {_USER.format("1 + n %% %(users)s")}, 'reply', 'free', 'model-1',
        'month:' || to_char(at, 'YYYY-MM'), 100, 0, 1, 1, 1, 1, at::date, true, at, 'settled', at, at
      from generate_series(1, %(reservations)s) n,
        lateral (select now() - n * (interval '120 days' / %(reservations)s) as at) a;
    insert into public.audit_log (actor, action, subject, before, after, reason, created_at)
      select case when n %% 3 = 0 then 'operator:ada' else 'user:' || {_USER.format("1 + n %% 7")} end,
        (array['user.suspended', 'limits.set', 'role.set', 'credits.granted'])[1 + n %% 4],
        'user:' || {_USER.format("1 + n %% %(users)s")}, '{{"plan": "free"}}', '{{"plan": "pro"}}',
        'Ticket ' || n, now() - n * interval '10 minutes'
      from generate_series(1, %(audit)s) n;
    insert into public.usage_outbox (user_id, identifier, stripe_customer_id, tokens, event_at, state,
        sent_at, first_sent_at, next_attempt_at, created_at)
      select {_USER.format("1 + n %% %(paying)s")}, 'bench-' || n, 'cus_' || 1 + n %% %(paying)s, 100,
        at, case when n %% 1000 = 0 then 'dead' when n %% 999 = 0 then 'parked' else 'sent' end, at,
        at, at, at
      from generate_series(1, %(outbox)s) n,
        lateral (select now() - n * (interval '180 days' / %(outbox)s) as at) a;
    insert into public.meter_reconciliations (stripe_customer_id, day, ledger_tokens, meter_tokens,
        settled_tokens, checked_at)
      select 'cus_' || 1 + n %% %(paying)s, current_date - (n / %(paying)s)::integer, 100,
        case when n %% 10 < 5 then 90 else 100 end, case when n %% 10 < 5 and n %% 1000 > 4 then -10
          else 0 end, now()
      from generate_series(0, %(reconciliations)s - 1) n
      on conflict do nothing;
    insert into public.processed_webhook_events (id, type, created_at, customer_id)
      select 'evt_' || n, 'invoice.paid', now() - n * (interval '85 days' / %(webhooks)s), 'cus_' || n
      from generate_series(1, %(webhooks)s) n;
    insert into public.webhook_failures (event_id, type, last_error, first_at, last_at, resolved_at)
      select 'evt_' || n, 'invoice.paid', 'database', at, at, case when n %% 100 > 0 then at end
      from generate_series(1, %(webhooks)s / 10) n,
        lateral (select now() - n * (interval '850 days' / %(webhooks)s) as at) a;
    insert into public.billing_notices (user_id, kind, key, state, sent_at, created_at,
        next_attempt_at)
      select {_USER.format("1 + n %% %(users)s")}, 'payment_failed', 'bench:' || n, 'sent', at, at, at
      from generate_series(1, %(notices)s) n,
        lateral (select now() - n * (interval '80 days' / %(notices)s) as at) a;
    insert into public.entitlement_differences (user_id, ours, theirs, found_by, found_at,
        corrected_at)
      select {_USER.format("n")}, '{{"plan": "free", "status": "free"}}',
        '{{"plan": "pro", "status": "active"}}', 'bench', now(), case when n %% 50 > 0 then now() end
      from generate_series(1, %(paying)s / 2) n;
    insert into public.credit_grants (user_id, tokens, reason, granted_by, created_at)
      select {_USER.format("1 + n %% %(users)s")}, 1000, 'Welcome', 'bench',
        now() - n * interval '1 minute'
      from generate_series(1, %(users)s) n;
    update public.profiles p set stripe_customer_id = s.stripe_customer_id, plan = s.plan,
        subscription_status = 'active', created_at = s.created_at
      from public.subscriptions s where s.user_id = p.id
    """
# Deleted records to purge: one long conversation, and one account with a long history.
_DELETED = f"""
    insert into public.conversations (id, user_id, model, deleted_at)
      values ('00000000-0000-4000-b000-000000000001', {_USER.format("2")}, 'model-1',
          now() - interval '400 days'),
        ('00000000-0000-4000-b000-000000000002', {_USER.format("3")}, 'model-1', null);
    insert into public.messages (id, conversation_id, user_id, role, content, model, reply_to,
        created_at)
      select {{id}}, ('00000000-0000-4000-b000-00000000000' || c)::uuid,
        ('00000000-0000-4000-8000-00000000000' || c + 1)::uuid,
        case when n %% 2 = 1 then 'user' else 'assistant' end, repeat('text ', 20), 'model-1',
        case when n %% 2 = 0 then {{question}} end,
        now() - interval '500 days' + n * interval '1 second'
      from generate_series(1, %(deleted_messages)s) n, generate_series(1, 2) c;
    delete from auth.users where id = {_USER.format("3")}
    """.format(
    id="('00000000-0000-4000-b00' || c || '-' || lpad(to_hex(n), 12, '0'))::uuid",
    question="('00000000-0000-4000-b00' || c || '-' || lpad(to_hex(n - 1), 12, '0'))::uuid",
)


def fill(url: str, sizes: Sizes, last: date) -> None:
    """Fill an empty, migrated database; the ledger ends on the day `last` (UTC).

    Args:
        url: as the owner of the schema.
        sizes: how much of everything.
        last: today, usually.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("set work_mem = '256MB'")
        first = last - timedelta(days=sizes.days - 1)
        fill_usage(connection, sizes.users, sizes.lines, sizes.refusals, first, days=sizes.days)
        values = asdict(sizes) | {"paying": max(sizes.users // 5, 1)}
        run(connection, _REST, values)
        if sizes.deleted_messages:
            run(connection, _DELETED, values)
        # As autovacuum would do sooner or later.
        connection.execute("vacuum analyze")


def fill_usage(
    connection: psycopg.Connection,
    users: int,
    lines: int,
    refusals: int,
    first: date,
    *,
    days: int = DAYS,
) -> None:
    """Users, subscriptions and the ledger of so many days, with its related rows."""
    connection.execute(PEOPLE, {"users": users})
    connection.execute(SUBSCRIPTIONS, {"paying": users // 5})
    done = 0
    for number in range(days):
        upto = lines * (number + 1) // days
        day = {"from": done, "lines": upto - done, "users": users}
        if upto > done:
            connection.execute(LINES_OF_A_DAY, day | {"day": first + timedelta(days=number)})
        done = upto
    around = {
        # A few are refused again and again.
        "refused": max(users // 20, 1),
        "refusals": max(refusals, 1),
        "first": first,
        "days": days,
    }
    run(connection, AROUND, around)


def run(connection: psycopg.Connection, statements: str, values: Mapping[str, object]) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement, values)  # pyright: ignore[reportArgumentType, reportCallIssue]

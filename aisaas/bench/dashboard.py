"""How soon the admins' dashboard of usage is there over a long ledger, and whether its sums are the
ledger's to the last token.

The ledger is filled a day at a time, with its triggers as they are: the sums are made by what makes
them in the product. A load is what the page asks for: the span's report, a page of users, and what goes
on now, one after the other, through the service and with an admin's cookie.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from aisaas.admin.usage_models import Span, UserSort
from aisaas.admin.usage_store import FIGURES, WIDTHS
from aisaas.db.migrate import upgrade
from aisaas.embedded.stack import PARTS, Stack
from aisaas.settings import load
from aisaas.wiring import Services, build

DAYS = 180
USERS = 10_000
ROUNDS = 200
# How many looks go back, and how many search.
BACK, SEARCHED = 0.3, 0.2
HOURLY_DAYS = 7
SORTS: tuple[UserSort, ...] = ("requests", "tokens", "cost", "overage", "errors", "email")
# How far back, and how often somebody looks so far.
SPANS = (1, 7, 7, 30, 30, 30, 30, 90, 90, DAYS)

_PEOPLE = """
    insert into auth.users (id, email)
      select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        'user-' || n || '@example.com' from generate_series(1, %(users)s) n
    """
_SUBSCRIPTIONS = """
    insert into public.subscriptions (id, user_id, stripe_customer_id, status, plan, created_at)
      select 'sub_' || n, ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        'cus_' || n, 'active', case when n %% 4 = 0 then 'business' else 'pro' end,
        now() - (n %% 400) * interval '1 day'
      from generate_series(1, %(subscriptions)s) n
    """
# On any day one of each four users comes, not always the same; a few of them use much and most use
# little; everybody has a favourite model. Ids rise, so that half a year is loaded in minutes.
_DAY = """
    insert into public.usage_records (id, reservation_id, user_id, purpose, plan, model, provider,
      prompt_tokens, cached_prompt_tokens, completion_tokens, counted_by, weight, quota_tokens,
      overage_tokens, overage_usd, period_key, input_usd_per_million, output_usd_per_million,
      price_version, cost_usd, outcome, created_at)
    select id, id, ('00000000-0000-4000-8000-' || lpad(to_hex(person), 12, '0'))::uuid,
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
          %(day)s::date + n * (interval '1 day' / %(rows)s) as at
        from generate_series(0, %(rows)s - 1) n
      ) drawn, lateral (
        select 1 + 4 * four + (hashint4(four * 1000 + extract(doy from at)::integer) & 3) as person
      ) came
    ) lines
    """
_AROUND = """
    insert into public.refusals (user_id, code, minute, times, model)
      select ('00000000-0000-4000-8000-' || lpad(to_hex(1 + n %% %(refused)s), 12, '0'))::uuid,
        (array['busy', 'rate_limited_minute', 'quota_exceeded', 'spending_paused'])[1 + n %% 4],
        date_trunc('minute', now()) - n * (interval '90 days' / %(refusals)s), 2, 'model-1'
      from generate_series(1, %(refusals)s) n
      on conflict do nothing;
    insert into public.spend_days (day, scope, spent_usd)
      select %(first)s::date + d, s, 3.5 from generate_series(0, %(days)s - 1) d,
        (values ('free'), ('total')) as scopes (s);
    insert into private.provider_errors (day, provider, model, kind, times)
      select %(first)s::date + d, 'provider-' || m %% 3, 'model-' || m, k, 1 + d %% 5
      from generate_series(0, %(days)s - 1) d, generate_series(0, 5) m,
        unnest(array['timeout', 'overloaded']) k;
    insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      values ('00000000-0000-4000-8000-000000000001', 'bench', now(), now() + interval '1 month', 0);
    insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens, cost_usd,
        prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, lease_expires_at)
      select gen_random_uuid(), '00000000-0000-4000-8000-000000000001', 'reply', 'free', 'model-1',
        'bench', 0, 0, 1, 1, 1, 1, now()::date, true, now() + interval '1 day'
      from generate_series(1, 50)
    """
_TABLES = (
    "public.usage_records, public.usage_days, private.usage_totals, private.usage_by_user,"
    " public.refusals, public.subscriptions, public.reservations, private.provider_errors"
)
# The same columns everywhere, in the order of FIGURES.
_LEDGER = """
    select count(*), count(*) filter (where outcome = 'stopped'),
      count(*) filter (where outcome = 'interrupted'), count(*) filter (where outcome = 'failed'),
      sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_usd), sum(overage_usd) from public.usage_records
    """
_SUMS = """
    select sum(requests), sum(stopped), sum(interrupted), sum(failed), sum(prompt_tokens),
      sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens), sum(cost_usd),
      sum(overage_usd) from private.usage_totals group by step
    union all
    select sum(requests), sum(stopped), sum(interrupted), sum(failed), sum(prompt_tokens),
      sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_micros) * 0.000001, sum(overage_micros) * 0.000001 from private.usage_by_user group by days
    """
# Steps and widths.
TABLES = 2 + len(WIDTHS)
_OF_DAYS = ("requests", "prompt_tokens", "completion_tokens", "quota_tokens", "cost_usd")
_DAYS = """
    select sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_usd) from public.usage_days
    """


def measure(rows: int, users: int = USERS, rounds: int = ROUNDS) -> dict[str, object]:
    """Milliseconds of a load, the 95th of a hundred, and whether every sum is the ledger's.

    Args:
        rows: lines of the ledger, over half a year.
        users: whose they are.
        rounds: how many loads are timed.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        return asyncio.run(_measure(stack, rows, users, rounds))


async def _measure(stack: Stack, rows: int, users: int, rounds: int) -> dict[str, object]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    services = build(load(**(values | {"embedded_parts": ",".join(PARTS)})))
    try:
        cookie = await _first_account(services)
        last = datetime.now(UTC).date()
        first = last - timedelta(days=DAYS - 1)
        url = stack.env["MIGRATION_DATABASE_URL"]
        await asyncio.to_thread(_fill, url, rows, users, first)
        whole = Span(first, last)
        dice = random.Random(7)  # noqa: S311  # not for secrets
        for _ in range(rounds // 10):
            await _load(services, cookie, whole, dice)
        loads = [await _load(services, cookie, whole, dice) for _ in range(rounds)]
        matches = await _matches(services, cookie, whole, url)
    finally:
        await services.close()
    return {
        "rows": rows,
        "p95_ms": round(statistics.quantiles(loads, n=20)[-1], 1),
        "sum_matches": matches,
    }


async def _first_account(services: Services) -> str:
    """The cookie of an admin: the first account is one."""
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a password for a measurement", "", user_agent="bench"
    )
    assert signed_in is not None
    return f"{services.cookie}={signed_in.token}"


def _fill(url: str, rows: int, users: int, first: date) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("set work_mem = '256MB'")
        connection.execute(_PEOPLE, {"users": users})
        connection.execute(_SUBSCRIPTIONS, {"subscriptions": users // 5})
        done = 0
        for number in range(DAYS):
            upto = rows * (number + 1) // DAYS
            day = {"from": done, "rows": upto - done, "users": users}
            if upto > done:
                connection.execute(_DAY, day | {"day": first + timedelta(days=number)})
            done = upto
        around = {
            # A few are refused again and again.
            "refused": max(users // 20, 1),
            "refusals": max(rows // 100, 1),
            "first": first,
            "days": DAYS,
        }
        for statement in _AROUND.split(";\n"):
            connection.execute(statement, around)  # pyright: ignore[reportArgumentType, reportCallIssue]
        # What the database does by itself, sooner or later.
        connection.execute(f"vacuum analyze {_TABLES}")  # pyright: ignore[reportArgumentType, reportCallIssue]


async def _load(services: Services, cookie: str, whole: Span, dice: random.Random) -> float:
    """Milliseconds of one look at the page, at a span, an order and a search that somebody chose."""
    days = dice.choice(SPANS)
    back = dice.randrange(0, DAYS - days + 1) if dice.random() < BACK else 0
    last = whole.last - timedelta(days=back)
    span = Span(last - timedelta(days=days - 1), last)
    begin = time.perf_counter()
    principal = await services.accounts.principal(cookie)
    reports = services.usage_reports
    report = await reports.report(principal, span, step="hour" if days <= HOURLY_DAYS else "day")
    search = f"user-{dice.randrange(1, 99)}" if dice.random() < SEARCHED else ""
    page = await reports.users(
        principal,
        span,
        search=search,
        sort=dice.choice(SORTS),
        direction=dice.choice(("up", "down")),
        page=dice.choice((1, 1, 1, 2, 5)),
    )
    live = await reports.live(principal)
    elapsed = (time.perf_counter() - begin) * 1000
    assert report.total.figures.requests > 0
    assert page.users or search
    assert live.running > 0
    return elapsed


async def _matches(services: Services, cookie: str, whole: Span, url: str) -> bool:
    """What the page shows of all days, and every table of sums, against the ledger's own sum."""
    principal = await services.accounts.principal(cookie)
    shown = (await services.usage_reports.report(principal, whole)).total.figures
    with psycopg.connect(url, autocommit=True) as connection:
        ledger = connection.execute(_LEDGER).fetchone()
        sums = connection.execute(_SUMS).fetchall()
        days = connection.execute(_DAYS).fetchone()
    assert ledger is not None
    wanted = dict(zip(FIGURES, ledger, strict=True))
    return (
        len(sums) == TABLES
        and all(found == ledger for found in sums)
        and days == tuple(wanted[name] for name in _OF_DAYS)
        and {name: getattr(shown, name) for name in FIGURES} == wanted
    )

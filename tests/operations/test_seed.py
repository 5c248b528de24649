"""The demo month: believable, the same each time, true to the ledger's rules, and only where it may be."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import psycopg
import pytest

from aisaas.billing.plans.terms import FREE, Plan, plans
from aisaas.cli.run import demo_store, seed
from aisaas.cli.run.demo_month import DAYS, Month, make_month
from aisaas.errors import DependencyError
from aisaas.language_models import Model
from aisaas.prices import Price
from aisaas.settings import Settings
from devstack.stack import Stack
from tests.operations.conftest import Command, Sql

NOW = datetime(2026, 3, 18, 15, tzinfo=UTC)
PLANS = plans(Settings.model_construct())
PEOPLE = 30


def _model(name: str, weight: int, *sold: str, provider: str = "openai") -> Model:
    price = Price(Decimal(2), Decimal(8), Decimal(1), version="test")
    limits = {"context_window": 100_000, "max_output": 4096, "fallback": None}
    return Model(
        id=name,
        label=name,
        provider=provider,
        upstream=name,
        weight=Decimal(weight),
        plans=frozenset(sold),
        price=price,
        **limits,  # pyright: ignore[reportArgumentType]
    )


MODELS = (
    _model("small", 1, "free", "pro", "business"),
    _model("large", 15, "pro", "business"),
    _model("other", 7, "free", "pro", "business", provider="anthropic"),
)


def _month(number: int = 1, now: datetime = NOW) -> Month:
    return make_month(number, PEOPLE, now, models=MODELS, plans=PLANS)


# Made up


def test_the_same_seed_is_the_same_month_and_another_is_another() -> None:
    assert _month() == _month()
    assert _month().calls != _month(2).calls


def test_it_is_believable() -> None:
    month = _month()
    assert {person.plan for person in month.people} == set(PLANS)
    assert len({person.email for person in month.people}) == PEOPLE
    assert any(person.suspended for person in month.people)
    days = {call.at.date() for call in month.calls}
    assert len(days) >= DAYS - 1
    assert min(call.began_at for call in month.calls) >= NOW - timedelta(days=DAYS + 1)
    assert max(call.at for call in month.calls) <= NOW
    # Nights are quiet, and so are weekends.
    hours = Counter(call.began_at.hour for call in month.calls)
    assert sum(hours[hour] for hour in range(8, 18)) > 4 * sum(hours[hour] for hour in range(6))
    weekdays = Counter(call.began_at.weekday() for call in month.calls)
    assert weekdays[1] + weekdays[2] > weekdays[5] + weekdays[6]
    assert {turn.status for turn in month.turns} == {"done", "stopped", "interrupted", "failed"}
    assert len({code for _, code, _, _ in month.refusals}) >= 4
    assert month.errors


def test_nobody_uses_more_than_their_allowance_has() -> None:
    month, used = _month(), Counter[tuple[object, str]]()
    for call in month.calls:
        used[call.person, call.period.key] += call.quota
        assert call.period.start <= call.began_at < call.period.end
        assert call.plan in call.model.plans
    plan_of = {person.id: person.plan for person in month.people}
    for (person, key), tokens in used.items():
        plan = FREE if key.startswith("month:") else plan_of[person]  # pyright: ignore[reportArgumentType]
        assert tokens <= PLANS[plan].tokens_per_month
        assert month.used[person, key][1] == tokens  # pyright: ignore[reportArgumentType]
    assert any(code == "quota_exceeded" for _, code, _, _ in month.refusals)


# Written


@pytest.fixture(scope="module")
def seeded(install: Stack) -> dict[str, object]:
    """Written once, by the command, for all that look at it."""
    from tests.operations.conftest import PARTS

    with pytest.MonkeyPatch.context() as patch:
        named = {"EMBEDDED_PARTS": ",".join(PARTS), "OLLAMA_API_BASE": "http://127.0.0.1:9"}
        for name, value in (install.env | named).items():
            patch.setenv(name, value)
        patch.setenv("AISAAS_DATA_DIR", str(install.folder.path / "elsewhere"))
        printed: list[str] = []
        patch.setattr(seed, "say", printed.append)
        from aisaas.cli import environment, main

        environment.configured.cache_clear()
        assert main(["seed", "--demo", "--people", str(PEOPLE), "--yes", "--json"]) == 0
        environment.configured.cache_clear()
    return json.loads(printed[0])


def test_what_is_reported_is_what_is_there(seeded: dict[str, object], sql: Sql) -> None:
    [[people]] = sql("select count(*) from public.profiles where email like '%%@demo.example'")
    [[calls, tokens, cost]] = sql(
        "select count(*), sum(total_tokens), sum(cost_usd) from public.usage_records"
    )
    [[messages]] = sql("select count(*) from public.messages")
    # The install is shared with other tests.
    [[conversations]] = sql("select count(*) from public.conversations where title <> 'Kept'")
    [[refusals]] = sql("select sum(times) from public.refusals")
    assert (people, calls, tokens) == (seeded["people"], seeded["calls"], seeded["tokens"])
    assert str(cost) == seeded["cost_usd"]
    assert (messages, conversations) == (seeded["messages"], seeded["conversations"])
    assert refusals == seeded["refusals"]


def test_what_is_summed_from_the_ledger_agrees_with_it(seeded: dict[str, object], sql: Sql) -> None:
    ledger = sql(
        "select user_id, sum(quota_tokens), sum(cost_usd) from public.usage_records group by 1 order by 1"
    )
    days = sql(
        "select user_id, sum(quota_tokens), sum(cost_usd) from public.usage_days group by 1 order by 1"
    )
    assert ledger == days
    [[spent]] = sql("select sum(spent_usd) from public.spend_days where scope = 'total'")
    [[cost]] = sql("select sum(cost_usd) from public.usage_records")
    assert spent == cost
    used = sql("select user_id, sum(used) from public.quota_periods group by 1 order by 1")
    assert used == [(user, tokens) for user, tokens, _ in ledger]
    [[totals]] = sql("select sum(cost_usd) from private.usage_totals where step = 'day'")
    assert totals == cost


def test_the_people_can_sign_in_and_the_suspended_one_is(
    seeded: dict[str, object], sql: Sql, install: Stack
) -> None:
    [[email]] = sql(
        "select email from public.profiles where email like '%%@demo.example'"
        " and suspended_at is null order by email limit 1"
    )
    answer = httpx.post(
        f"{install.env['SUPABASE_URL']}/auth/v1/token?grant_type=password",
        json={"email": email, "password": seeded["password"]},
        headers={"apikey": install.env["SUPABASE_PUBLISHABLE_KEY"]},
    )
    assert answer.status_code == 200, answer.text
    assert sql("select count(*) from public.profiles where suspended_at is not null") == [(1,)]
    # The first person to sign up still becomes the admin.
    assert sql("select count(*) from public.profiles where role = 'admin'") == [(0,)]
    [[audited]] = sql("select count(*) from public.audit_log where action = 'demo.seed'")
    assert audited == 1


def test_nobody_asks_the_payment_provider_about_them(seeded: dict[str, object], sql: Sql) -> None:
    [[due]] = sql(
        "select count(*) from public.profiles where email like '%%@demo.example'"
        " and (billing_look_at is null or billing_look_at < now())"
    )
    assert due == 0
    assert sql("select count(*) from public.usage_outbox") == [(0,)]
    [[known]] = sql(
        "select count(*) from public.profiles where stripe_customer_id is not null"
        " and email like '%%@demo.example'"
    )
    assert known == 0


def test_a_second_month_is_refused(
    seeded: dict[str, object], command: Command, sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sql("select count(*) from public.usage_records")
    assert command("seed", "--demo", "--seed", "2", "--yes") == 2
    assert "already" in capsys.readouterr().err
    assert sql("select count(*) from public.usage_records") == before


# Where it may not be


def test_a_database_that_is_not_embedded_is_refused_until_it_is_meant(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("seed", "--demo", "--yes", EMBEDDED_PARTS="valkey") == 2
    assert "--yes-really" in capsys.readouterr().err


def test_production_is_refused_whatever_is_meant() -> None:
    production = Settings.model_construct(app_env="production", embedded_parts=())
    problem = seed._problem(production, anywhere=True)  # pyright: ignore[reportPrivateUsage]
    assert problem is not None
    assert "production" in problem


def test_what_could_not_be_written_leaves_nobody_behind(install: Stack, sql: Sql) -> None:
    people = sql("select count(*) from auth.users")
    month, url = _month(7), install.env["MIGRATION_DATABASE_URL"]
    # A line that the ledger refuses.
    broken = Plan(FREE, "Free", PLANS[FREE].rates, -1, 1)

    def seed_three() -> None:
        at, key = install.env["SUPABASE_URL"], install.env["SUPABASE_SECRET_KEY"]
        with demo_store.accounts(at, key, month.people[:3], "a long password"):
            assert sql("select count(*) from auth.users") == [(int(str(people[0][0])) + 3,)]
            demo_store.write(url, month, {**PLANS, FREE: broken}, actor="test", seed=7)

    with pytest.raises(DependencyError):
        seed_three()
    assert sql("select count(*) from auth.users") == people
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select count(*) from public.usage_records where user_id = %s", [month.people[0].id]
        ).fetchone()
    assert found == (0,)

"""The Stripe account follows the plans, whatever it had before; the real SDK against the Stripe fake."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from stripe import StripeClient

from aisaas.adapters.stripe_catalogue import Step, StripeCatalogue
from aisaas.billing.plans.models import RateLimits
from aisaas.billing.plans.terms import Plan, PlanPrice
from aisaas.cli import environment, main
from aisaas.errors import PaymentsError
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    sdk,
    variables_for,
)

PRICE = PlanPrice(Decimal(20), Decimal(10), Decimal(20), trial_days=14, trial_tokens=1000)
FREE = Plan("free", "Free", RateLimits(1, 1), 1000, 1)
PRO = Plan("pro", "Pro", RateLimits(1, 1), 2_000_000, 1, PRICE)
PAGE = "http://127.0.0.1:3000/billing"
PARTS = {
    "DATABASE_URL": "postgresql://app:secret@db.example.com/app",
    "REDIS_URL": "rediss://:secret@redis.example.com",
    "SUPABASE_URL": "https://p.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_x",
    "SUPABASE_SECRET_KEY": "sb_secret_x",
    "SESSION_SECRET": "s" * 48,
    "OPENAI_API_KEY": "sk-x",
}
Set = Callable[[Mapping[str, str]], None]
MADE = [
    "meter ai_extra_usage",
    "product extra_usage",
    "price extra_usage",
    "product pro",
    "price pro_base",
    "portal configuration",
]


@pytest.fixture
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
async def client(payments: Counterpart) -> AsyncIterator[StripeClient]:
    async with sdk(payments.url) as made:
        yield made


@asynccontextmanager
async def _catalogue(
    payments: Counterpart, *plans: Plan, dry_run: bool = False
) -> AsyncIterator[StripeCatalogue]:
    made = StripeCatalogue(
        KEY, api_base=payments.url, plans=plans, return_url=PAGE, dry_run=dry_run
    )
    try:
        yield made
    finally:
        await made.close()


async def _sync(payments: Counterpart, *plans: Plan, dry_run: bool = False) -> Sequence[Step]:
    async with _catalogue(payments, *plans, dry_run=dry_run) as catalogue:
        return await catalogue.sync()


def _actions(steps: Sequence[Step]) -> dict[str, str]:
    return {step.what: step.action for step in steps}


@pytest.fixture
def settings_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Sets variables for a command, in a folder where nothing runs."""

    def set_all(values: Mapping[str, str]) -> None:
        for name, value in {**values, "AISAAS_DATA_DIR": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        environment.configured.cache_clear()

    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    yield set_all
    environment.configured.cache_clear()


async def test_empty_account_gets_everything_and_then_nothing_more(
    payments: Counterpart, client: StripeClient
) -> None:
    made, kept = dict.fromkeys(MADE, "made"), dict.fromkeys(MADE, "kept")
    # There are no subscriptions yet.
    none = {"subscriptions": "kept"}
    assert _actions(await _sync(payments, FREE, PRO)) == made | none
    assert _actions(await _sync(payments, FREE, PRO)) == kept | none
    listed = await client.v1.prices.list_async({"lookup_keys": ["pro_base", "extra_usage"]})
    extra, base = sorted(listed.data, key=lambda price: str(price.lookup_key))
    assert (base.unit_amount, base.currency) == (2000, "usd")
    assert extra.recurring is not None
    assert (extra.recurring.usage_type, extra.billing_scheme) == ("metered", "per_unit")
    # A millionth of a dollar each, in cents.
    assert Decimal(str(extra.unit_amount_decimal)) == Decimal("0.0001")


async def test_dry_run_says_it_and_does_nothing(
    payments: Counterpart, client: StripeClient
) -> None:
    said = _actions(await _sync(payments, PRO, dry_run=True))
    assert said == dict.fromkeys(MADE, "made") | {"subscriptions": "kept"}
    assert (await client.v1.prices.list_async()).data == []
    assert (await client.v1.billing.meters.list_async()).data == []


async def test_price_that_changed_takes_over_the_lookup_key(
    payments: Counterpart, client: StripeClient
) -> None:
    await _sync(payments, PRO)
    (before,) = (await client.v1.prices.list_async({"lookup_keys": ["pro_base"]})).data
    dearer = replace(PRO, price=replace(PRICE, base_usd=Decimal("25.50")))
    assert _actions(await _sync(payments, dearer, dry_run=True))["price pro_base"] == "changed"
    changed = _actions(await _sync(payments, dearer))
    assert {what for what, action in changed.items() if action != "kept"} == {"price pro_base"}
    (after,) = (
        await client.v1.prices.list_async({"lookup_keys": ["pro_base"], "active": True})
    ).data
    assert after.unit_amount == 2550
    # Existing subscribers keep the old one.
    old = await client.v1.prices.retrieve_async(before.id)
    assert (old.active, old.unit_amount) == (False, 2000)


@pytest.mark.parametrize(
    "changed",
    [
        replace(PRO, tokens_per_month=3_000_000),
        replace(PRO, price=replace(PRICE, overage_usd_per_million=Decimal("0.0001"))),
    ],
)
async def test_what_is_included_and_what_more_costs_is_in_no_price(
    payments: Counterpart, changed: Plan
) -> None:
    await _sync(payments, PRO)
    assert set(_actions(await _sync(payments, changed)).values()) == {"kept"}


async def test_product_that_was_renamed_by_hand_is_corrected(
    payments: Counterpart, client: StripeClient
) -> None:
    await _sync(payments, PRO)
    await client.v1.products.update_async("aisaas_pro", {"name": "Prof", "active": False})
    assert _actions(await _sync(payments, PRO))["product pro"] == "changed"
    found = await client.v1.products.retrieve_async("aisaas_pro")
    assert (found.name, found.active) == ("Pro", True)


async def test_sync_that_was_cut_short_is_finished_by_the_next(
    payments: Counterpart, client: StripeClient
) -> None:
    async with control(payments.url) as faults:
        await faults.post(
            "/faults", json={"operation": "POST /v1/prices", "kind": "rate_limit", "times": 1}
        )
        with pytest.raises(PaymentsError):
            await _sync(payments, PRO)
    steps = _actions(await _sync(payments, PRO))
    assert (steps["product extra_usage"], steps["price extra_usage"]) == ("kept", "made")
    assert len((await client.v1.billing.meters.list_async()).data) == 1


def test_live_account_is_left_alone_unless_allowed(
    settings_of: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    live = {"APP_ENV": "production", "APP_URL": "https://chat.example.com"}
    # No request is made: the address wouldn't answer.
    settings_of(
        PARTS | live | {"STRIPE_SECRET_KEY": "sk_live_x", "STRIPE_API_BASE": "https://127.0.0.1:1"}
    )
    assert main(["stripe", "sync"]) == 2
    assert "--live" in capsys.readouterr().err


def test_command_says_what_it_did(
    payments: Counterpart, settings_of: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(PARTS | {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": payments.url})
    assert main(["stripe", "sync", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {s["action"] for s in said["steps"] if s["what"] != "subscriptions"} == {"made"}
    assert main(["stripe", "sync"]) == 0
    assert "price business_base" in capsys.readouterr().out


def test_check_tells_what_the_account_lacks(
    payments: Counterpart, settings_of: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        # The other parts aren't there at all.
        assert main(["check"]) == 1
        lines = capsys.readouterr().out.splitlines()
        return next(line for line in lines if line.startswith("Payments"))

    nowhere = {
        "DATABASE_URL": "postgresql://app:secret@127.0.0.1:1/app",
        "SERVICE_DATABASE_URL": "postgresql://app:secret@127.0.0.1:1/app",
        "REDIS_URL": "redis://127.0.0.1:1",
        "SUPABASE_URL": "http://127.0.0.1:1",
    }
    stripe = {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": payments.url}
    settings_of(PARTS | nowhere | stripe)
    assert "price business_base" in said()
    assert main(["stripe", "sync"]) == 0
    capsys.readouterr()
    assert "STRIPE_WEBHOOK_SECRET and STRIPE_METER_WEBHOOK_SECRET not set" in said()
    settings_of({"STRIPE_WEBHOOK_SECRET": "whsec_a", "STRIPE_METER_WEBHOOK_SECRET": "whsec_b"})
    assert said().endswith("ok, prices, meter, and portal match the plans")
    settings_of({"STRIPE_SECRET_KEY": "sk_test_somebody_elses"})
    assert "TROUBLE" in said()

"""A subscription from before the meter counted money goes over to it without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stripe import StripeClient

from aisaas.adapters.stripe_catalogue import Step, StripeCatalogue
from aisaas.cli import environment, main
from aisaas.errors import Unavailable
from devstack.stack import Stack
from devstack.tests.payments_client import KEY, Counterpart, counterpart, variables_for
from tests.metering.life import PLANS, PRO, Life, living
from tests.metering.provider import Sql


async def _sync(payments: Counterpart, *, dry_run: bool = False) -> list[Step]:
    catalogue = StripeCatalogue(
        KEY,
        api_base=payments.url,
        plans=tuple(PLANS.values()),
        return_url="http://127.0.0.1",
        dry_run=dry_run,
    )
    steps = await catalogue.sync()
    await catalogue.close()
    return [step for step in steps if step.what.startswith("subscription")]


async def _subscribe_as_before(life: Life) -> str:
    """Classic, with all tokens in tiers, of which the first is what Pro includes."""
    v1 = life.client.v1
    with suppress(Unavailable):
        # Makes the customer in any case.
        await life.checkout.subscribe(await life.account(), "pro")
    customer = str((await life.account()).metered_customer)
    await life.card("pm_card_visa")
    assert PRO.price is not None
    each = PRO.price.overage_usd_per_million * 100 / 1_000_000
    tiers: Any = [
        {"up_to": PRO.tokens_per_month, "unit_amount_decimal": Decimal(0)},
        {"up_to": "inf", "unit_amount_decimal": each},
    ]
    meter = await _token_meter(life.client)
    usage = await v1.prices.create_async(
        {
            "product": "aisaas_pro",
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": tiers,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
            "lookup_key": "pro_usage",
        }
    )
    (base,) = (await v1.prices.list_async({"lookup_keys": ["pro_base"]})).data
    made = await v1.subscriptions.create_async(
        {
            "customer": customer,
            "items": [{"price": base.id}, {"price": usage.id}],
            "metadata": {"user_id": str(life.user_id)},
            "billing_mode": {"type": "classic"},
        }
    )
    await life.catch_up()
    return made.id


@pytest.fixture
def old_account(tmp_path_factory: pytest.TempPathFactory) -> Generator[Counterpart]:
    """As the release before has set it up: no price and no meter for money."""
    with counterpart(variables_for(tmp_path_factory.mktemp("old") / "books")) as running:
        yield running


async def _sell_as_before(client: StripeClient) -> None:
    await client.v1.products.create_async(
        {"id": "aisaas_pro", "name": "Pro", "metadata": {"plan": "pro"}}
    )
    await client.v1.prices.create_async(
        {
            "product": "aisaas_pro",
            "currency": "usd",
            "unit_amount": 2_000,
            "recurring": {"interval": "month"},
            "lookup_key": "pro_base",
        }
    )


async def _token_meter(client: StripeClient) -> str:
    made = await client.v1.billing.meters.create_async(
        {
            "display_name": "AI tokens",
            "event_name": "ai_tokens_used",
            "default_aggregation": {"formula": "sum"},
        }
    )
    return made.id


async def test_live_subscription_is_billed_once_while_it_goes_over(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await _sync(payments)
    async with living(stack, payments, sql) as life:
        given = await _subscribe_as_before(life)
        await life.step("use 1500")
        said = await _sync(payments, dry_run=True)
        assert {(step.what, step.action) for step in said} == {(f"subscription {given}", "changed")}
        assert await _sync(payments) == said
        # Its old price stays as long as it has something to bill.
        assert [step.action for step in await _sync(payments)] == ["kept"]
        await life.catch_up()
        await life.step("use 90")
        rows = sql(
            "select meter, sum(tokens)::int from usage_outbox where user_id = %s and state = 'sent'"
            " group by 1 order by 1",
            life.user_id,
        )
        assert rows == [("ai_extra_usage", 90), ("ai_tokens_used", 1_500)]
        await life.step("renew")
        newest = (await life.invoices())[0]
        used = [line.amount for line in newest.lines.data if line.amount != 2_000]
        ((owed,),) = sql(
            "select sum(overage_usd) from usage_records where user_id = %s", life.user_id
        )
        # Two lines, each rounded by itself.
        assert sum(used) == pytest.approx(float(str(owed)) * 100, abs=1)
        ((step),) = await _sync(payments)
        assert (step.action, step.detail) == ("changed", "the price for tokens is removed")
        assert [step.action for step in await _sync(payments)] == ["kept"]
        await life.step("use 2500")
        assert life.did[-1] == "use 2500"
        await life.step("renew")
        key = max(life.ledger())
        assert (await life.invoiced())[key] == life.ledger()[key]


async def test_nothing_is_billed_twice_or_lost_before_sync_has_run(
    stack: Stack,
    old_account: Counterpart,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with living(stack, old_account, sql) as life:
        await _sell_as_before(life.client)
        # Nobody subscribes to what the account can't bill yet.
        with pytest.raises(Unavailable):
            await life.checkout.subscribe(await life.account(), "pro")
        given = await _subscribe_as_before(life)
        await life.step("use 1500")
        assert life.did == ["use 1500"]
        rows = sql(
            "select meter, tokens::int, micro_usd, state from usage_outbox where user_id = %s",
            life.user_id,
        )
        # All tokens go to the price that includes 1,000 of them.
        assert rows == [("ai_tokens_used", 1_500, None, "sent")]

        with caplog.at_level(logging.WARNING):
            await life.outbox.warn_of_token_meter()
        assert "billed by tokens" in caplog.text
        assert "python -m aisaas stripe sync" in caplog.text
        stripe = {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": old_account.url}
        for name, value in {**stack.env, **stripe, "AISAAS_DATA_DIR": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("PAYMENTS_URL", raising=False)
        monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
        environment.configured.cache_clear()
        assert await asyncio.to_thread(main, ["check"]) == 1
        environment.configured.cache_clear()
        lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
        assert "1 live subscription " in lines["Payments"]
        assert "live subscription" in lines["Usage"]
        assert "python -m aisaas stripe sync" in lines["Payments"]
        assert "python -m aisaas stripe sync" in lines["Usage"]

        # A period ends before the command was run.
        await life.step("renew")
        newest = (await life.invoices())[0]
        (owed,) = life.ledger().values()
        billed = [line.amount for line in newest.lines.data if line.amount != 2_000]
        assert sum(billed) == owed * 100 == 617
        # Then it is run in the middle of the next period.
        await life.step("use 1500")
        assert (await _sync(old_account))[0].what == f"subscription {given}"
        await life.catch_up()
        await life.step("use 700")
        await life.step("renew")
        newest = (await life.invoices())[0]
        billed = [line.amount for line in newest.lines.data if line.amount != 2_000]
        assert sum(billed) == pytest.approx(int(life.ledger()[max(life.ledger())] * 100), abs=1)
        ((until,),) = sql("select tokens_until < now() from subscriptions where id = %s", given)
        assert until

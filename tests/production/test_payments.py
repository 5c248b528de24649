"""The checklist names what is wrong with a Stripe account, read from the Stripe fake by the real SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from stripe import StripeClient

from aisaas.adapters.stripe_catalogue import sync
from aisaas.billing.subscriptions.events import HANDLERS, METER_PROBLEM
from aisaas.cli.checklist import payments
from aisaas.settings import Settings
from devstack.stack import METER_WEBHOOK, WEBHOOK
from devstack.tests.payments_client import KEY, Counterpart, counterpart, sdk, variables_for
from tests.production.conftest import Configure, Found, by_item

SNAPSHOT, THIN = "webhook endpoint", "meter's webhook endpoint"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Generator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("account") / "books")) as running:
        yield running


@dataclass(frozen=True)
class Launch:
    """One install's settings; its address is its own, and so are its endpoints in the account."""

    config: Settings

    def look(self) -> Found:
        return by_item(payments.look(self.config))

    def call(self, made: Any) -> Any:
        """`made` is given the SDK's client, in an event loop of its own."""

        async def calling() -> Any:
            assert self.config.stripe_api_base is not None
            async with sdk(self.config.stripe_api_base) as client:
                return await made(client)

        return asyncio.run(calling())

    def add_snapshot(self, *events: str) -> str:
        params: Any = {"url": f"{self.config.url}{WEBHOOK}", "enabled_events": events}

        async def add(client: StripeClient) -> str:
            return (await client.v1.webhook_endpoints.create_async(params)).id

        return self.call(add)

    def add_thin(self, *events: str) -> None:
        params: Any = {
            "name": "Meter problems",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": events,
            "webhook_endpoint": {"url": f"{self.config.url}{METER_WEBHOOK}"},
        }

        async def add(client: StripeClient) -> str:
            return (await client.v2.core.event_destinations.create_async(params)).id

        self.call(add)


@pytest.fixture
def launch(account: Counterpart, configure: Configure) -> Launch:
    config = configure(
        app_url=f"https://{uuid4().hex}.example.org",
        stripe_secret_key=KEY,
        stripe_api_base=account.url,
        stripe_webhook_secret="whsec_one",
        stripe_meter_webhook_secret="whsec_two",
    )
    return Launch(config)


def test_account_that_follows_the_plans_and_delivers_is_well(launch: Launch) -> None:
    asyncio.run(sync(launch.config))
    launch.add_snapshot(*HANDLERS)
    launch.add_thin(METER_PROBLEM)
    found = launch.look()
    # The fake itself is what is wrong here.
    assert [each.item for each in found.values() if each.state != "ok"] == ["Stripe"]
    assert "replaces Stripe" in found["Stripe"].said


def test_empty_account_is_reported_what_to_set_up(launch: Launch) -> None:
    config = launch.config.model_copy(update={"pro_base_usd": 4321, "app_name": uuid4().hex})
    found = by_item(payments.look(config))
    assert found["prices"].state == "failed"
    assert "aisaas stripe sync" in found["prices"].fix
    for item, events in ((SNAPSHOT, HANDLERS), (THIN, [METER_PROBLEM])):
        assert found[item].state == "failed"
        assert all(event in found[item].fix for event in events)
        assert config.url in found[item].fix


def test_endpoint_that_is_sent_too_little_is_reported_what_it_lacks(launch: Launch) -> None:
    dropped, *others = HANDLERS
    launch.add_snapshot(*others)
    launch.add_thin("v1.billing.meter.no_meter_found")
    found = launch.look()
    assert found[SNAPSHOT].state == found[THIN].state == "failed"
    assert f"doesn't receive {dropped}" in found[SNAPSHOT].said
    assert METER_PROBLEM in found[THIN].fix


def test_disabled_endpoint_is_as_good_as_none(launch: Launch) -> None:
    given = launch.add_snapshot("*")
    assert launch.look()[SNAPSHOT].state == "ok"
    launch.call(lambda c: c.v1.webhook_endpoints.update_async(given, {"disabled": True}))
    found = launch.look()[SNAPSHOT]
    assert (found.state, "is disabled" in found.said) == ("failed", True)


def test_second_endpoint_for_the_same_address_is_a_warning(launch: Launch) -> None:
    launch.add_snapshot("*")
    launch.add_snapshot("*")
    assert launch.look()[SNAPSHOT].state == "warning"


def test_snapshot_endpoint_at_the_meters_address_does_not_count(launch: Launch) -> None:
    launch.add_thin("*")
    params: Any = {"url": f"{launch.config.url}{WEBHOOK}/other", "enabled_events": ["*"]}
    launch.call(lambda c: c.v1.webhook_endpoints.create_async(params))
    found = launch.look()
    assert found[THIN].state == "ok"
    assert found[SNAPSHOT].state == "failed"
    assert "/other" in found[SNAPSHOT].said


def test_missing_webhook_secrets_are_named(launch: Launch) -> None:
    without = launch.config.model_copy(update={"stripe_meter_webhook_secret": None})
    found = by_item(payments.look(without))["webhook secrets"]
    assert found.state == "failed"
    assert "STRIPE_METER_WEBHOOK_SECRET" in found.said
    assert "STRIPE_WEBHOOK_SECRET" not in found.said


def test_key_that_stripe_does_not_know_fails_what_it_was_needed_for(launch: Launch) -> None:
    wrong = launch.config.model_copy(update={"stripe_secret_key": SecretStr("sk_test_wrong")})
    found = by_item(payments.look(wrong))
    for item in ("prices", SNAPSHOT, THIN):
        assert found[item].state == "failed"
        assert "API keys" in found[item].fix
    assert "sk_test_wrong" not in str(found)


@pytest.mark.parametrize(
    ("app_env", "key", "state"),
    [
        ("production", "sk_live_x", "ok"),
        ("production", "sk_test_x", "failed"),
        ("preview", "rk_test_x", "ok"),
        ("preview", "rk_live_x", "failed"),
        ("development", "sk_test_x", "failed"),
    ],
)
def test_mode_of_the_key_is_that_of_the_environment(
    app_env: str, key: str, state: str, launch: Launch
) -> None:
    config = launch.config.model_copy(
        update={
            "app_env": app_env,
            "stripe_api_base": None,
            "stripe_secret_key": SecretStr(key),
        }
    )
    found = payments._mode(config)
    assert found.state == state
    assert key not in str(found)


def test_shop_without_stripe_is_skipped_with_a_warning(configure: Configure) -> None:
    found = by_item(payments.look(configure()))
    assert found.pop("Stripe").state == "warning"
    assert {each.state for each in found.values()} == {"skipped"}

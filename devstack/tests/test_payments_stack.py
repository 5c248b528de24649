"""What a stack tells its Stripe fake and the product, and what lasts in its folder."""

from pathlib import Path

from devstack.stack import METER_WEBHOOK, PAYMENTS, WEBHOOK, Stack
from devstack.tests.payments_client import sdk, until
from devstack.tests.webhook_receiver import receiving


async def test_a_stacks_payments_last_and_tell_the_product(tmp_path: Path) -> None:
    with receiving() as product:
        site = product.url.removesuffix("/hook")
        with Stack(tmp_path, (PAYMENTS,), site_url=site) as stack:
            variables = dict(stack.env)
            product.secret = variables["STRIPE_WEBHOOK_SECRET"]
            async with sdk(variables["STRIPE_API_BASE"], variables["STRIPE_SECRET_KEY"]) as client:
                made = await client.v1.customers.create_async({"name": "Ada"})
                await until(lambda: product.types() == ["customer.created"])
                assert product.paths == [WEBHOOK]
                stack.kill(PAYMENTS)
                stack.start(PAYMENTS)
                assert (await client.v1.customers.retrieve_async(made.id)).name == "Ada"

                product.secret = variables["STRIPE_METER_WEBHOOK_SECRET"]
                product.paths.clear()
                meter = await client.v1.billing.meters.create_async(
                    {
                        "display_name": "Tokens",
                        "event_name": "tokens",
                        "default_aggregation": {"formula": "sum"},
                    }
                )
                payload = {"stripe_customer_id": "cus_nobody", "value": "1"}
                await client.v1.billing.meter_events.create_async(
                    {"event_name": meter.event_name, "payload": payload}
                )
                await until(lambda: METER_WEBHOOK in product.paths)
    with Stack(tmp_path, (PAYMENTS,), site_url=site) as again:
        assert again.env == variables
        async with sdk(variables["STRIPE_API_BASE"], variables["STRIPE_SECRET_KEY"]) as client:
            assert (await client.v1.customers.retrieve_async(made.id)).name == "Ada"

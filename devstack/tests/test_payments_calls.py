"""How the Stripe fake takes calls: strictly, once, whole, and so that it survives."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import stripe
from stripe import StripeClient

from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    counterpart,
    refused,
    sdk,
    until,
    variables_for,
)


async def test_a_customer_is_kept_changed_found_and_deleted(client: StripeClient) -> None:
    customers = client.v1.customers
    made = await customers.create_async(
        {"email": "ada@example.com", "metadata": {"user": "1", "plan": "pro"}}
    )
    assert made.metadata is not None
    assert made.metadata["user"] == "1"
    changed = await customers.update_async(
        made.id, {"name": "Ada", "metadata": {"plan": "", "more": "x"}}
    )
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"user": "1", "more": "x"}
    found = await customers.list_async({"email": "ada@example.com"})
    assert [each.id for each in found.data] == [made.id]
    assert (await customers.retrieve_async(made.id)).name == "Ada"
    assert (await customers.delete_async(made.id)).deleted
    assert (await customers.retrieve_async(made.id)).deleted
    assert (await customers.list_async({"email": "ada@example.com"})).data == []
    error = await refused(stripe.InvalidRequestError, customers.update_async(made.id, {"name": ""}))
    assert (error.http_status, error.code) == (404, "resource_missing")


async def test_what_stripe_does_not_know_is_refused_by_name(client: StripeClient) -> None:
    create = client.v1.customers.create_async
    cases: list[tuple[dict[str, Any], str | None, str]] = [
        ({"emial": "ada@example.com"}, "parameter_unknown", "emial"),
        ({"address": {"town": "X"}}, "parameter_unknown", "address[town]"),
        ({"balance": "much"}, "parameter_invalid_integer", "balance"),
        ({"tax_exempt": "maybe"}, None, "tax_exempt"),
        ({"email": "no address"}, "email_invalid", "email"),
    ]
    for params, code, param in cases:
        call: Any = create(params)  # pyright: ignore[reportArgumentType]
        error = await refused(stripe.InvalidRequestError, call)
        assert (error.http_status, error.code, error.param) == (400, code, param)
        assert error.request_id
    error = await refused(stripe.InvalidRequestError, client.v1.customers.retrieve_async("cus_no"))
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")
    assert error.user_message == "No such customer: 'cus_no'"


async def test_what_stripe_knows_and_the_fake_does_not_is_refused(client: StripeClient) -> None:
    cases: list[tuple[Any, str]] = [
        (client.v1.customers.create_async({"phone": "1"}), "phone"),
        (client.v1.customers.list_async({"created": 1}), "created"),
        (
            client.v1.prices.create_async(
                {
                    "currency": "usd",
                    "product": "prod_1",
                    "billing_scheme": "tiered",
                    "tiers_mode": "graduated",
                    "tiers": [{"up_to": "inf", "flat_amount": 5}],
                }
            ),
            "tiers[0][flat_amount]",
        ),
        (
            client.v1.checkout.sessions.create_async({"mode": "payment", "success_url": "x"}),
            "mode",
        ),
    ]
    for call, param in cases:
        error = await refused(stripe.InvalidRequestError, call)
        assert "does not implement" in str(error.user_message)
        assert error.param == param


async def test_without_the_key_nothing_is_answered(payments: Counterpart) -> None:
    async with sdk(payments.url, "sk_test_another") as stranger:
        error = await refused(stripe.AuthenticationError, stranger.v1.customers.list_async())
        assert error.http_status == 401
    async with httpx.AsyncClient(base_url=payments.url) as http:
        answer = await http.get("/v1/customers")
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"


async def test_a_repeated_call_with_its_key_is_done_once(client: StripeClient) -> None:
    create = client.v1.customers.create_async
    options: Any = {"idempotency_key": "once"}
    first = await create({"email": "once@example.com"}, options)
    again = await create({"email": "once@example.com"}, options)
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"  # pyright: ignore[reportOptionalSubscript]
    assert len((await client.v1.customers.list_async({"email": "once@example.com"})).data) == 1
    error = await refused(stripe.IdempotencyError, create({"email": "other@example.com"}, options))
    assert error.http_status == 400


async def test_a_refusal_is_replayed_like_an_answer(client: StripeClient) -> None:
    options: Any = {"idempotency_key": "refused"}
    update = client.v1.customers.update_async
    for _ in range(2):
        error = await refused(
            stripe.InvalidRequestError, update("cus_none", {"name": "X"}, options)
        )
        assert error.code == "resource_missing"
    # One that was not even begun is not kept: the key is free for the call as it was meant.
    free: Any = {"idempotency_key": "mistyped"}
    wrong: Any = {"nmae": "X"}
    await refused(stripe.InvalidRequestError, client.v1.customers.create_async(wrong, free))
    assert (await client.v1.customers.create_async({"name": "X"}, free)).name == "X"


async def test_lists_come_in_pages_newest_first(client: StripeClient) -> None:
    email = "pages@example.com"
    ids = [(await client.v1.customers.create_async({"email": email})).id for _ in range(5)][::-1]
    first = await client.v1.customers.list_async({"email": email, "limit": 2})
    assert [each.id for each in first.data] == ids[:2]
    assert first.has_more
    last = await client.v1.customers.list_async(
        {"email": email, "limit": 3, "starting_after": ids[1]}
    )
    assert [each.id for each in last.data] == ids[2:]
    assert not last.has_more
    assert [each.id async for each in first.auto_paging_iter()] == ids


async def test_a_crash_in_the_middle_of_many_calls_does_each_once(tmp_path: Path) -> None:
    variables, count = variables_for(tmp_path / "books"), 60

    async def create(client: StripeClient, number: int) -> str:
        options: Any = {"idempotency_key": f"crash-{number}"}
        made = await client.v1.customers.create_async({"name": str(number)}, options)
        return made.id

    with counterpart(variables) as server:
        async with sdk(server.url) as client:
            calls = [asyncio.create_task(create(client, number)) for number in range(count)]
            await until(lambda: sum(call.done() for call in calls) > 5)
            server.kill()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
    answered = {n: each for n, each in enumerate(outcomes) if isinstance(each, str)}
    assert answered
    with counterpart(variables) as server:
        async with sdk(server.url) as client:
            ids = [await create(client, number) for number in range(count)]
            assert all(ids[number] == given for number, given in answered.items())
            listed = await client.v1.customers.list_async({"limit": 100})
            assert {each.id for each in listed.data} == set(ids)
            assert len(listed.data) == count


async def test_a_crash_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    variables = variables_for(tmp_path / "books")
    options: Any = {"idempotency_key": "before"}
    with counterpart(variables) as server:
        async with sdk(server.url) as client:
            made = await client.v1.customers.create_async({"email": "a@example.com"}, options)
        server.kill()
    with counterpart(variables) as server:
        async with sdk(server.url) as client:
            assert (await client.v1.customers.retrieve_async(made.id)).email == "a@example.com"
            again = await client.v1.customers.create_async({"email": "a@example.com"}, options)
            assert again.id == made.id
    assert KEY not in server.log.read_text()
    assert "a@example.com" not in server.log.read_text()

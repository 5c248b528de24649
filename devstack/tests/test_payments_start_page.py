"""The fake's start page: what it shows, and what its buttons do."""

import pytest
import stripe
from stripe import StripeClient

from devstack.tests.payments_client import (
    Counterpart,
    control,
    refused,
)
from devstack.tests.payments_pages import Visitor


async def test_it_says_what_it_is_and_lets_nothing_in(visitor: Visitor) -> None:
    page = await visitor.open("/")
    assert "No money moves" in page.text
    policy = page.answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "form-action 'self'" in policy
    assert page.answer.headers["x-content-type-options"] == "nosniff"


async def test_names_are_text_whatever_they_look_like(
    client: StripeClient, visitor: Visitor
) -> None:
    name = "<script>alert('\"1')</script> & Søn"
    customer = await client.v1.customers.create_async({"name": name})
    page = await visitor.open("/")
    # Links from elsewhere lead to each customer's part.
    assert f'id="{customer.id}"' in page.answer.text
    assert "<script" not in page.answer.text
    assert name in page.text
    assert "customer.created" in page.text


async def test_time_moves_by_what_the_button_says(payments: Counterpart, visitor: Visitor) -> None:
    async with control(payments.url) as steer:
        for button, seconds in (("+1 hour", 3600), ("+1 day", 86_400), ("+1 week", 604_800)):
            before = (await steer.get("/clock")).json()["ahead_seconds"]
            answer = await visitor.press(await visitor.open("/"), button)
            assert (answer.status_code, answer.headers["location"]) == (303, "/#time")
            assert (await steer.get("/clock")).json()["ahead_seconds"] == before + seconds
    assert "ahead of this machine" in (await visitor.open("/")).text


async def test_there_is_no_renewal_to_go_to_without_a_subscription(visitor: Visitor) -> None:
    page = await visitor.open("/")
    assert all("To the next renewal" not in form.buttons for form in page.forms)
    answer = await visitor.send("/start/time", {"forward": "renewal"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Rate limit", stripe.RateLimitError),
        ("Lost answers", stripe.APIConnectionError),
        ("Down", stripe.APIConnectionError),
    ],
)
async def test_what_goes_wrong_does_so_until_it_is_turned_off(
    client: StripeClient, visitor: Visitor, name: str, error: type[stripe.StripeError]
) -> None:
    page = await visitor.pressed(await visitor.open("/"), f"Turn on {name}")
    for _ in range(2):
        await refused(error, client.v1.customers.list_async())
    await visitor.pressed(page, f"Turn off {name}")
    await client.v1.customers.list_async()


async def test_what_a_program_made_go_wrong_is_reported_and_can_be_ended(
    payments: Counterpart, client: StripeClient, visitor: Visitor
) -> None:
    async with control(payments.url) as steer:
        fault = {"operation": "GET /v1/customers", "kind": "server_error", "times": None}
        await steer.post("/faults", json=fault)
    page = await visitor.open("/")
    assert "server error at GET /v1/customers" in page.text
    await visitor.press(page, "End everything that goes wrong")
    await client.v1.customers.list_async()


async def test_webhooks_are_held_back_shuffled_or_doubled(
    payments: Counterpart, visitor: Visitor
) -> None:
    page = await visitor.open("/")
    for name in ("Hold back", "Shuffle", "Duplicate"):
        page = await visitor.pressed(page, f"Turn on {name}")
    async with control(payments.url) as steer:
        state = (await steer.get("/webhooks")).json()
        assert (state["paused"], state["shuffle"], state["duplicate"]) == (True, True, 1.0)
        for name in ("Hold back", "Shuffle", "Duplicate"):
            page = await visitor.pressed(page, f"Turn off {name}")
        state = (await steer.get("/webhooks")).json()
        assert (state["paused"], state["shuffle"], state["duplicate"]) == (False, False, 0.0)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_of_another_site_changes_nothing(
    payments: Counterpart, visitor: Visitor, headers: dict[str, str]
) -> None:
    async with control(payments.url) as steer:
        before = (await steer.get("/clock")).json()["ahead_seconds"]
        answer = await visitor.send("/start/time", {"forward": "day"}, **headers)
        assert answer.status_code == 403
        assert (await steer.get("/clock")).json()["ahead_seconds"] == before


async def test_what_is_no_form_of_ours_is_refused(visitor: Visitor) -> None:
    assert (await visitor.send("/start/time", {"forward": "x" * 20_000})).status_code == 413
    many = {f"field{number}": "" for number in range(50)}
    assert (await visitor.send("/start/time", many)).status_code == 400
    assert (await visitor.send("/start/time", {"forward": "backward"})).status_code == 400
    as_json = {"content-type": "application/json"}
    assert (await visitor.send("/start/time", {"forward": "day"}, **as_json)).status_code == 415

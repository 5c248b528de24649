"""The payment provider's deliveries as they come over HTTP: signed, or not taken."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from starlette.types import Message, Scope
from stripe import WebhookSignature

from aisaas import overload, wiring
from aisaas.api import stripe_webhook
from aisaas.api.app import api_routes
from aisaas.api.security_headers import SecurityHeaders
from aisaas.api.serving import serving
from aisaas.api.sign_in_first import SignInFirst
from aisaas.api.stripe_webhook import MAX_BYTES, METERS, SNAPSHOTS
from aisaas.observe.outages import Outages
from childprocess.ports import free_port
from devstack.stack import Stack
from tests.accounts.conftest import Install, Sql
from tests.parts import outage

SECRET = "whsec_of_the_tests"
OLD_SECRET = "whsec_on_its_way_out"
METER_SECRET = "whsec_of_the_meters"
# A dispute needs no look at the provider.
DISPUTE = "charge.dispute.created"


def body_of(kind: str = "product.created", *, about: object = None, **fields: object) -> bytes:
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": kind,
        "livemode": False,
        "created": int(time.time()),
        "data": {"object": about or {"object": "product", "id": "prod_1"}},
    }
    return json.dumps(event | fields).encode()


def id_of(body: bytes) -> str:
    return json.loads(body)["id"]


def signed(body: bytes, *, secret: str = SECRET, seconds_ago: float = 0) -> Mapping[str, str]:
    header = WebhookSignature.generate_signature_header(  # pyright: ignore[reportUnknownMemberType]
        body.decode(), secret, timestamp=int(time.time() - seconds_ago)
    )
    return {"stripe-signature": header, "content-type": "application/json"}


async def deliver(stripe: httpx.AsyncClient, body: bytes, **how: object) -> httpx.Response:
    headers = signed(body, **how)  # pyright: ignore[reportArgumentType]
    return await stripe.post(SNAPSHOTS, content=body, headers=headers)


def refused(answer: httpx.Response, status: int) -> bool:
    """Refused in one plain line."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.count("\n") == 1
    return True


@pytest.fixture
def variables() -> dict[str, str]:
    return {
        "STRIPE_SECRET_KEY": "sk_test_of_the_tests",
        "STRIPE_API_BASE": f"http://127.0.0.1:{free_port()}",
        "STRIPE_WEBHOOK_SECRET": f"{OLD_SECRET},{SECRET}",
        "STRIPE_METER_WEBHOOK_SECRET": METER_SECRET,
    }


@pytest_asyncio.fixture(loop_scope="session")
async def stripe(
    install: Install, variables: dict[str, str], sql: Sql
) -> AsyncGenerator[httpx.AsyncClient]:
    async with install(**variables) as client:
        yield client


@pytest.fixture
def known(sql: Sql) -> Sql:
    """(outcome) of an event's id, for those that were taken."""

    def find(event_id: object, *_: object) -> list[tuple[object, ...]]:
        return sql("select outcome from processed_webhook_events where id = %s", event_id)

    return find


async def test_what_stands_around_the_routes_leaves_deliveries_alone(
    stripe: httpx.AsyncClient,
) -> None:
    around = SecurityHeaders(SignInFirst(serving(api_routes(), wiring.services), wiring.services))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(around), base_url=stripe.base_url
    ) as outside:
        answer = await deliver(outside, body_of())
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert answer.headers["cache-control"] == "no-store"


# Who is believed


async def test_signed_event_is_taken_without_session_origin_or_cookie(
    stripe: httpx.AsyncClient, known: Sql
) -> None:
    body = body_of()
    headers = {**signed(body), "origin": "https://elsewhere.example.com", "sec-fetch-site": "none"}
    answer = await stripe.post(SNAPSHOTS, content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert "set-cookie" not in answer.headers
    assert known(id_of(body)) == [("ignored",)]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "evt_\0"},
        {"type": "product.\0created"},
        {"about": {"object": "product", "id": "prod_1", "name": "a\0b"}},
        {"id": "evt_\ud800"},
        {"type": "product.created\udfff"},
    ],
    ids=ascii,
)
async def test_signed_event_that_no_database_takes_is_refused(
    stripe: httpx.AsyncClient, fields: dict[str, object]
) -> None:
    assert refused(await deliver(stripe, body_of(**fields)), 400)  # pyright: ignore[reportArgumentType]


async def test_signed_event_may_quote_what_people_typed(stripe: httpx.AsyncClient) -> None:
    about = {
        "object": "product",
        "id": "prod_1",
        "name": "C:\\u0000 \ud83d\ude00 caf\u00e9 \n",
    }
    answer = await deliver(stripe, body_of(about=about))
    assert answer.status_code == 200, answer.text


async def test_any_secret_is_good_while_one_is_being_replaced(stripe: httpx.AsyncClient) -> None:
    for secret in (SECRET, OLD_SECRET):
        assert (await deliver(stripe, body_of(), secret=secret)).status_code == 200


async def test_what_is_not_signed_with_a_secret_of_this_endpoint_is_refused(
    stripe: httpx.AsyncClient, known: Sql
) -> None:
    body = body_of()
    other = body_of()
    for headers in (
        {},
        {"stripe-signature": ""},
        {"stripe-signature": "t=,v1="},
        {"stripe-signature": f"t={int(time.time())},v1={'0' * 64}"},
        {"stripe-signature": "ü".encode().decode("latin-1")},
        signed(body, secret="whsec_wrong"),
        signed(body, secret=METER_SECRET),
        signed(body, secret=""),
        signed(other),
    ):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        assert refused(await stripe.post(SNAPSHOTS, content=body, headers=raw), 400)
    assert known(id_of(body)) == []


@pytest.mark.parametrize(
    ("seconds_ago", "status"),
    [(290, 200), (-290, 200), (310, 400), (-310, 400), (86_400, 400), (-86_400, 400)],
)
async def test_signature_is_good_for_five_minutes_in_either_direction(
    stripe: httpx.AsyncClient, seconds_ago: int, status: int
) -> None:
    assert (await deliver(stripe, body_of(), seconds_ago=seconds_ago)).status_code == status


async def test_event_of_the_other_mode_is_refused_and_logged(
    stripe: httpx.AsyncClient, known: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    body = body_of(livemode=True)
    assert refused(await deliver(stripe, body), 400)
    assert known(id_of(body)) == []
    assert "another mode" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b'{"id": "evt_1", "type": 5}',
        b"[" * 100_000,
        body_of(data={"object": []}),
        body_of(data=None),
        body_of(id=""),
        body_of(created="yesterday"),
        body_of(about={"object": "subscription", "id": 5, "customer": ["cus"]}),
    ],
    ids=range(12),
)
async def test_signed_rubbish_is_refused_for_good(stripe: httpx.AsyncClient, body: bytes) -> None:
    assert refused(await deliver(stripe, body), 400)


async def test_bytes_that_are_no_text_are_refused(stripe: httpx.AsyncClient) -> None:
    headers = signed(b"{}")
    assert refused(await stripe.post(SNAPSHOTS, content=b"\xff\xfe{}", headers=headers), 400)


async def test_only_posting_is_possible(stripe: httpx.AsyncClient) -> None:
    for path in (SNAPSHOTS, METERS):
        assert (await stripe.get(path)).status_code == 405


# How much is read


async def test_body_may_be_as_large_as_the_limit_and_not_larger(stripe: httpx.AsyncClient) -> None:
    body = body_of()
    whole = body + b" " * (MAX_BYTES - len(body))
    assert (await deliver(stripe, whole)).status_code == 200
    assert refused(await deliver(stripe, whole + b" "), 413)


async def test_body_without_a_length_is_read_up_to_the_limit(stripe: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b" " * 65_536

    async def in_parts(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]

    body = body_of()
    taken = await stripe.post(SNAPSHOTS, content=in_parts(body), headers=signed(body))
    assert taken.status_code == 200
    assert refused(await stripe.post(SNAPSHOTS, content=endless(), headers=signed(body)), 413)
    assert read <= 2 * MAX_BYTES


@pytest.mark.parametrize("length", [str(MAX_BYTES + 1), "-1", "1e3", "٣", "9" * 10_000, ""])
async def test_length_that_is_too_large_or_none_is_refused_before_reading(
    stripe: httpx.AsyncClient, length: str
) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    headers = [(b"content-length", length.encode())]
    answer = await stripe.post(SNAPSHOTS, content=never(), headers=headers)
    assert refused(answer, 413)


async def test_body_that_does_not_come_is_not_waited_for(
    stripe: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_webhook, "READ_SECONDS", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert refused(await stripe.post(SNAPSHOTS, content=stuck()), 408)


async def test_delivery_that_is_cut_off_is_no_event(stripe: httpx.AsyncClient) -> None:
    coming: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": SNAPSHOTS,
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await serving(api_routes(), wiring.services)(scope, receive, send)
    assert sent[0]["status"] == 400


# Off


async def test_endpoint_without_a_secret_is_off_and_says_so_once(
    install: Install, variables: dict[str, str], known: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    async with install(**variables | {"STRIPE_WEBHOOK_SECRET": ""}) as stripe:
        body = body_of()
        for secret in ("", SECRET):
            assert refused(await deliver(stripe, body, secret=secret), 503)
        assert known(id_of(body)) == []
        off = [each for each in caplog.records if "endpoint is off" in each.getMessage()]
        assert [each.args for each in off] == [("STRIPE_WEBHOOK_SECRET",)]
        # The other endpoint has its own.
        thin = b'{"id": "evt_1", "object": "v2.core.event", "type": "v1.other"}'
        headers = signed(thin, secret=METER_SECRET)
        assert (await stripe.post(METERS, content=thin, headers=headers)).status_code != 503


async def test_notice_whose_event_can_not_be_fetched_is_a_failure_that_admins_see(
    stripe: httpx.AsyncClient, sql: Sql
) -> None:
    event_id = f"evt_test_{uuid4().hex}"
    kind = "v1.billing.meter.error_report_triggered"
    related = {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"}
    thin = json.dumps(
        {
            "id": event_id,
            "object": "v2.core.event",
            "type": kind,
            "created": "2026-01-01T00:00:00.000Z",
            "livemode": False,
            "related_object": related,
        }
    ).encode()
    for _ in range(2):
        headers = signed(thin, secret=METER_SECRET)
        # Nobody answers at the provider's address.
        assert refused(await stripe.post(METERS, content=thin, headers=headers), 500)
    assert sql(
        "select type, attempts, last_error, resolved_at from webhook_failures where event_id = %s",
        event_id,
    ) == [(kind, 2, "payments:unreachable", None)]


async def test_there_is_no_endpoint_where_nothing_is_sold(install: Install) -> None:
    async with install() as stripe:
        for path in (SNAPSHOTS, METERS):
            body = body_of()
            assert refused(await stripe.post(path, content=body, headers=signed(body)), 404)


# Outages


async def test_event_that_failed_for_want_of_the_database_comes_again_and_is_done_once(
    stripe: httpx.AsyncClient, spare_stack: Stack, sql: Sql, known: Sql
) -> None:
    about = {"object": "dispute", "id": f"du_{uuid4().hex}", "charge": "ch_1", "amount": 700}
    body = body_of(DISPUTE, about=about)
    with outage(spare_stack, "postgres", "stopped"):
        assert refused(await deliver(stripe, body), 500)
    for _ in range(2):
        assert (await deliver(stripe, body)).status_code == 200
    assert known(id_of(body)) == [("done",)]
    key = f"dispute_opened:{about['id']}"
    assert sql("select count(*) from billing_notices where key = %s", key) == [(1,)]


async def test_event_that_failed_for_want_of_the_provider_is_noted_without_what_was_in_it(
    stripe: httpx.AsyncClient, sql: Sql, known: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    about = {
        "object": "subscription",
        "id": f"sub_{uuid4().hex}",
        "customer": "cus_1",
        "description": "what someone wrote",
    }
    body = body_of("customer.subscription.updated", about=about)
    answer = await deliver(stripe, body)
    assert refused(answer, 500)
    assert known(id_of(body)) == []
    failure = "select type, attempts, last_error, resolved_at from webhook_failures"
    assert sql(f"{failure} where event_id = %s", id_of(body)) == [
        ("customer.subscription.updated", 1, "payments:unreachable", None)
    ]
    assert id_of(body) in caplog.text
    for private in ("what someone wrote", SECRET, "sk_test_of_the_tests"):
        assert private not in caplog.text + answer.text


async def test_surprise_is_answered_so_that_the_event_comes_again(
    stripe: httpx.AsyncClient, known: Sql, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    body = body_of(DISPUTE, about={"object": "dispute", "id": "du_1", "charge": "ch_1"})
    # What the database refuses for a reason of its own.
    refusing = f"add constraint unwanted check (id <> '{id_of(body)}')"
    sql(f"alter table processed_webhook_events {refusing}")
    try:
        with caplog.at_level(logging.ERROR):
            assert refused(await deliver(stripe, body), 500)
    finally:
        sql("alter table processed_webhook_events drop constraint unwanted")
    assert known(id_of(body)) == []
    assert id_of(body) in caplog.text
    assert "resolved_at" not in caplog.text
    (code,) = sql("select last_error from webhook_failures where event_id = %s", id_of(body))[0]
    assert code not in {None, "database"}


# More at once than this process does


async def test_burst_is_taken_or_sent_away_as_busy_and_nothing_of_it_is_lost(
    stripe: httpx.AsyncClient, known: Sql, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An outage of another test may not be over yet.
    monkeypatch.setattr(overload, "OUTAGES", Outages())
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.05)
    bodies = [body_of() for _ in range(200)]
    failed = sql("select count(*) from webhook_failures")
    answers = await asyncio.gather(*(deliver(stripe, body) for body in bodies))
    assert {answer.status_code for answer in answers} <= {200, 503}
    away = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 503]
    assert away
    for answer in answers:
        assert (answer.status_code == 503) == ("retry-after" in answer.headers)
    assert all(known(id_of(body)) == [] for body in away)
    # Stripe sends those again.
    while away:
        again = [await deliver(stripe, body) for body in away]
        away = [b for b, answer in zip(away, again, strict=True) if answer.status_code != 200]
    assert all(known(id_of(body)) == [("ignored",)] for body in bodies)
    assert sql("select count(*) from webhook_failures") == failed

"""The Stripe fake delivers to our routes over HTTP and retries until a delivery is accepted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from stripe import StripeClient

from aisaas.api.stripe_webhook import METERS, SNAPSHOTS
from devstack.stack import Stack
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    sdk,
    until,
    variables_for,
)
from tests.accounts.conftest import Install, Sql
from tests.parts import outage

SECRET = "whsec_of_the_tests"
METER_SECRET = "whsec_of_the_meters"
PASSED_ON = ("stripe-signature", "content-type")


class Door:
    """An address of this process: what comes is handed to the routes of the running test."""

    def __init__(self) -> None:
        self.url = ""
        self._inside: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._within = 0

    @asynccontextmanager
    async def open_to(self, inside: httpx.AsyncClient) -> AsyncGenerator[None]:
        """Afterwards nobody is inside any more: the routes may lose what they stand on."""
        self._inside, self._loop = inside, asyncio.get_running_loop()
        try:
            yield
        finally:
            self._inside = None
            while self._within:
                await asyncio.sleep(0.01)

    def status_of(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Called by the server's threads."""
        if self._loop is None or self._inside is None:
            return 503
        passing = asyncio.run_coroutine_threadsafe(self._pass(path, body, headers), self._loop)
        return passing.result(30)

    async def _pass(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        if self._inside is None:
            return 503
        self._within += 1
        try:
            return (await self._inside.post(path, content=body, headers=headers)).status_code
        finally:
            self._within -= 1


@contextmanager
def doors() -> Generator[Door]:
    door = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name: self.headers[name] for name in PASSED_ON}
            self.send_response(door.status_of(self.path, body, headers))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    door.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def door() -> Generator[Door]:
    with doors() as made:
        yield made


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory, door: Door) -> Generator[Counterpart]:
    folder: Path = tmp_path_factory.mktemp("payments")
    variables = variables_for(
        folder / "books",
        PAYMENTS_WEBHOOK_URL=door.url + SNAPSHOTS,
        PAYMENTS_WEBHOOK_SECRET=SECRET,
        PAYMENTS_THIN_WEBHOOK_URL=door.url + METERS,
        PAYMENTS_THIN_WEBHOOK_SECRET=METER_SECRET,
    )
    with counterpart(variables) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stripe(
    install: Install, payments: Counterpart, door: Door
) -> AsyncGenerator[StripeClient]:
    """Stripe's SDK connected to the Stripe fake, which sends its events to our routes."""
    variables = {
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_API_BASE": payments.url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_METER_WEBHOOK_SECRET": METER_SECRET,
    }
    async with (
        install(**variables) as routes,
        sdk(payments.url) as client,
        door.open_to(routes),
    ):
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def steer(payments: Counterpart) -> AsyncGenerator[httpx.AsyncClient]:
    async with control(payments.url) as made:
        yield made


async def eventually(holds: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
    return found


async def customer_of(sql: Sql, stripe: StripeClient) -> tuple[UUID, str]:
    """Someone with an account here and a customer there."""
    user_id = uuid4()
    email = f"{user_id}@example.com"
    sql("insert into auth.users (id, email) values (%s, %s)", user_id, email)
    customer = await stripe.v1.customers.create_async({"email": email})
    sql("update profiles set stripe_customer_id = %s where id = %s", customer.id, user_id)
    return user_id, customer.id


def linked(sql: Sql, user_id: UUID) -> object:
    return sql("select stripe_customer_id from profiles where id = %s", user_id)[0][0]


async def test_customer_deleted_there_is_unlinked_here(stripe: StripeClient, sql: Sql) -> None:
    user_id, customer = await customer_of(sql, stripe)
    await stripe.v1.customers.delete_async(customer)
    await until(lambda: linked(sql, user_id) is None)


async def test_event_comes_again_until_the_database_is_back(
    stripe: StripeClient, steer: httpx.AsyncClient, sql: Sql, spare_stack: Stack
) -> None:
    user_id, customer = await customer_of(sql, stripe)

    async def refused() -> bool:
        waiting = (await steer.get("/webhooks")).json()["undelivered"]
        return any(
            each["type"] == "customer.deleted" and each["last_status"] == 500 for each in waiting
        )

    with outage(spare_stack, "postgres", "stopped"):
        await stripe.v1.customers.delete_async(customer)
        await eventually(refused)
    assert linked(sql, user_id) == customer
    await until(lambda: linked(sql, user_id) is None)


async def test_answers_that_get_lost_and_events_that_come_twice_change_nothing(
    stripe: StripeClient, steer: httpx.AsyncClient, sql: Sql
) -> None:
    await steer.post("/webhooks", json={"duplicate": 1.0, "drop_answers": 0.5, "shuffle": True})
    people = [await customer_of(sql, stripe) for _ in range(5)]
    for _, customer in people:
        await stripe.v1.customers.delete_async(customer)
    await until(lambda: all(linked(sql, user_id) is None for user_id, _ in people))
    await steer.post("/webhooks", json={"duplicate": 0.0, "drop_answers": 0.0, "shuffle": False})
    processed = "select count(*) from processed_webhook_events where type = 'customer.deleted'"
    for _, customer in people:
        assert sql(f"{processed} and customer_id = %s", customer) == [(1,)]


async def test_usage_that_could_not_be_counted_reaches_the_admins(
    stripe: StripeClient, sql: Sql
) -> None:
    name, identifier = f"tokens_{uuid4().hex[:8]}", uuid4().hex
    meter = await stripe.v1.billing.meters.create_async(
        {"display_name": "Tokens", "event_name": name, "default_aggregation": {"formula": "sum"}}
    )
    gone = await stripe.v1.customers.create_async()
    await stripe.v1.customers.delete_async(gone.id)
    await stripe.v1.billing.meter_events.create_async(
        {
            "event_name": name,
            "identifier": identifier,
            "payload": {"stripe_customer_id": gone.id, "value": "7"},
        }
    )
    notice = "select values from billing_notices where kind = 'meter_problem' and values::text like"
    ((values,),) = await until(lambda: sql(f"{notice} %s", f"%{identifier}%"))
    assert isinstance(values, dict)
    assert values["meter"] == meter.id
    assert values["reasons"][0]["code"] == "meter_event_customer_not_found"

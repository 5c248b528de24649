"""The commands about money, as an operator types them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from aisaas.billing.metering.outbox import Outbox
from aisaas.cli import environment, main
from aisaas.cli.operate import reconcile
from devstack.stack import Stack
from devstack.tests.payments_client import KEY
from tests.admin.money.test_usage import kill, noon, settle
from tests.admin.money.test_webhooks import fail
from tests.metering.provider import Provider


@pytest.fixture
def _environment(
    stack: Stack, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Generator[None]:
    more = {
        "AISAAS_DATA_DIR": str(tmp_path),
        "EMBEDDED_PARTS": "postgres,valkey,auth",
        "OLLAMA_API_BASE": "http://127.0.0.1:9",
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_API_BASE": provider.counterpart.url,
    }
    for name, value in (stack.env | more).items():
        monkeypatch.setenv(name, value)
    # A process reads them once.
    environment.configured.cache_clear()
    yield
    environment.configured.cache_clear()


async def typed(*words: str) -> int:
    """In a thread, for a command has a loop of its own."""
    return await asyncio.to_thread(main, words)


@pytest.mark.usefixtures("_environment")
async def test_failed_events_are_listed_and_replayed(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = await provider.customer()
    ((event,),) = provider.books(
        "select id from objects where kind = 'event' and body like ?", f'%"{customer}"%'
    )
    fail(provider.sql, event)
    assert await typed("webhooks", "list", event, "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)["events"]
    assert (shown["id"], shown["status"], shown["error"]) == (event, "failed", "database")
    assert await typed("webhooks", "replay", event) == 2
    assert "reason" in capsys.readouterr().err
    assert await typed("webhooks", "replay", event, "--reason", "tests", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"event": event, "outcome": "ignored"}
    assert await typed("webhooks", "list", event) == 0
    assert "No failed events." in capsys.readouterr().out


@pytest.mark.usefixtures("_environment")
async def test_event_that_is_nowhere_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert await typed("webhooks", "replay", f"evt_{uuid4().hex}", "--reason", "tests") == 2
    assert "30 days" in capsys.readouterr().err


@pytest.mark.usefixtures("_environment")
async def test_what_jobs_have_set_aside_is_listed_and_retried(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    item = str(uuid4())
    provider.sql(
        "insert into private.job_failures (job, item, attempts, last_error)"
        " values ('recover_replies', %s, 5, 'KeyError')",
        item,
    )
    assert await typed("jobs", "list", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["items"]
    (mine,) = [each for each in shown if each["item"] == item]
    assert (mine["job"], mine["attempts"], mine["error"]) == ("recover_replies", 5, "KeyError")
    assert await typed("jobs", "list") == 0
    assert item in capsys.readouterr().out
    assert await typed("jobs", "retry", "recover_replies") == 2
    assert "jobs list" in capsys.readouterr().err
    retry = ("jobs", "retry", "recover_replies", item)
    assert await typed(*retry) == 2
    assert "reason" in capsys.readouterr().err
    assert await typed(*retry, "--reason", "tests", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"job": "recover_replies", "item": item}
    assert await typed(*retry, "--reason", "tests") == 2
    assert "isn't set aside" in capsys.readouterr().err


@pytest.mark.usefixtures("_environment")
async def test_stuck_usage_is_listed_resent_and_waived(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = await provider.customer()
    first, second = (kill(provider, each) for each in provider.seed(customer, [10, 20]))
    assert await typed("outbox", "list", customer, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["id"] for row in rows} == {str(first), str(second)}
    assert await typed("outbox", "resend", str(first), "--reason", "tests", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"resent": 1, "counted": 0}
    waive = ("outbox", "resolve", str(second), "--as", "waived", "--reason", "tests", "--yes")
    assert await typed(*waive) == 0
    assert provider.states([customer]) == {"pending": 1, "waived": 1}
    assert await typed(*waive) == 2
    assert await typed("outbox", "resend", "no-id", "--reason", "tests") == 2


@pytest.mark.usefixtures("_environment")
async def test_day_is_compared_and_corrected(
    provider: Provider, outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10, 20], age_seconds=noon(5))
    await provider.drain([outbox], [customer])
    settle(provider, customer)
    provider.books("delete from meter_events where customer = ? and value = 10", customer)
    day = str((datetime.now(UTC) - timedelta(days=5)).date())
    words = ("reconcile", "--day", day, "--correct", "--yes", "--reason", "tests", "--json")
    assert await typed(*words) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (mine,) = [each for each in shown if each["customer"] == customer]
    assert (mine["drift"], mine["remedy"]) == (-10, "sent")


@pytest.mark.usefixtures("_environment")
async def test_nothing_that_differs_is_left_out_however_much_there_is(
    provider: Provider,
    outbox: Outbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "AT_ONCE", 1)
    customers = [await provider.customer() for _ in range(3)]
    for customer, days_ago in zip(customers, (5, 5, 4), strict=True):
        provider.seed(customer, [10, 20], age_seconds=noon(days_ago))
    await provider.drain([outbox], customers)
    for customer in customers:
        settle(provider, customer)
        provider.books("delete from meter_events where customer = ? and value = 10", customer)
    for days_ago in (4, 5):
        day = str((datetime.now(UTC) - timedelta(days=days_ago)).date())
        assert await typed("reconcile", "--day", day, "--json") == 0
        shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {each["day"] for each in shown} == {day}
        mine = {each["customer"] for each in shown} & set(customers)
        assert mine == set(customers[2:] if days_ago == 4 else customers[:2])


@pytest.mark.usefixtures("_environment")
async def test_plan_that_stripe_knows_nothing_of_is_listed_and_taken_back(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    email = f"{uuid4().hex}@example.com"
    provider.sql("insert into auth.users (id, email) values (%s, %s)", uuid4(), email)
    provider.sql("update profiles set plan = 'business' where email = %s", email)

    def of_them() -> list[dict[str, str]]:
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [line for line in lines if line["email"] == email]

    assert await typed("reconcile", "--plans", "--json") == 0
    assert of_them() == [{"email": email, "plan": "business", "follows": "free"}]
    assert await typed("reconcile", "--plans", "--correct") == 2
    assert "--reason" in capsys.readouterr().err
    await typed("reconcile", "--plans", "--correct", "--reason", "tests", "--json")
    assert [line["corrected"] for line in of_them()] == ["free"]
    assert provider.sql("select plan from profiles where email = %s", email) == [("free",)]

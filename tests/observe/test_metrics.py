"""The figures for Prometheus: who may read them, what they tell, and that they tell of nobody."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from aisaas.api.metrics import may_read
from aisaas.errors import MessageInvalid
from aisaas.jobs.watch_process import sample, share_job_runs_once
from aisaas.observe.jobs import EXPECTED_SECONDS
from aisaas.observe.metrics import Reading, of_all
from aisaas.settings import PROJECT_ROOT, Settings
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.observe.conftest import Routes, browser_at, until_idle
from tests.parts import outage
from tests.services import Build, Database, new_principal, whole

TOKEN = "a-token-for-metrics-of-forty-characters!"
LOCAL = {"app_url": None}
PROXIED = {"app_url": "https://chat.example.com"}


def _request(peer: str | None, **headers: str) -> Request:
    headers = {"host": "127.0.0.1:3000"} | headers
    sent = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    client = (peer, 4711) if peer else None
    return Request({"type": "http", "client": client, "headers": sent, "path": "/metrics"})


def _config(token: str | None = TOKEN, **values: object) -> Settings:
    from pydantic import SecretStr

    secret = SecretStr(token) if token else None
    return Settings.model_construct(metrics_token=secret, **values)  # pyright: ignore[reportArgumentType]


# Who may read


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_read_without_a_token(peer: str) -> None:
    assert may_read(_request(peer), _config(None, **LOCAL))


@pytest.mark.parametrize("peer", ["10.0.0.7", "203.0.113.9", "::ffff:10.0.0.7", "", "unix", None])
def test_another_machine_may_not(peer: str | None) -> None:
    assert not may_read(_request(peer), _config(None, **LOCAL))
    assert not may_read(_request(peer, x_forwarded_for="127.0.0.1"), _config(None, **LOCAL))


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip"])
def test_a_proxy_on_this_machine_makes_nobody_local(header: str) -> None:
    request = _request("127.0.0.1", **{header: "127.0.0.1"})
    assert not may_read(request, _config(None, **LOCAL))


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1", "[::1]:3000", "LOCALHOST"])
def test_requests_for_this_machine_may_read(host: str) -> None:
    assert may_read(_request("127.0.0.1", host=host), _config(None, **LOCAL))


@pytest.mark.parametrize(
    "host", ["rebound.example.com", "127.0.0.1.example.com", "localhost.evil", "", "[", "\xff", "@"]
)
def test_a_name_that_was_made_to_point_here_lets_nobody_read(host: str) -> None:
    assert not may_read(_request("127.0.0.1", host=host), _config(None, **LOCAL))
    let_in = _request("127.0.0.1", host=host, authorization=f"Bearer {TOKEN}")
    assert may_read(let_in, _config(TOKEN, **LOCAL))


def test_behind_a_proxy_loopback_alone_lets_nobody_in() -> None:
    # Such a proxy need not add any header.
    assert not may_read(_request("127.0.0.1"), _config(None, **PROXIED))
    assert not may_read(_request("127.0.0.1"), _config(None, trusted_proxies=1, **LOCAL))


def test_the_token_lets_in_from_anywhere() -> None:
    for peer in ("127.0.0.1", "203.0.113.9"):
        request = _request(peer, authorization=f"Bearer {TOKEN}", x_forwarded_for="203.0.113.9")
        assert may_read(request, _config(TOKEN, **PROXIED))


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xff",
        f"Basic {TOKEN}",
    ],
)
def test_anything_but_the_token_does_not(given: str) -> None:
    request = _request("203.0.113.9", authorization=given)
    assert not may_read(request, _config(TOKEN, **PROXIED))
    assert not may_read(request, _config(None, **PROXIED))


async def test_the_route_refuses_a_stranger_and_says_what_is_needed(routes: Routes) -> None:
    async with routes("203.0.113.9", metrics_token=TOKEN) as (_, stranger):
        refused = await stranger.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "aisaas_" not in refused.text
        let_in = await stranger.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert let_in.status_code == 200


# What they tell

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _values(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


class Scrape:
    """Asks the routes of one process, and says by how much a value has grown."""

    def __init__(self, browser: httpx.AsyncClient) -> None:
        self._browser = browser

    async def __call__(self) -> Values:
        return _values(await self.text())

    async def text(self) -> str:
        answer = await self._browser.get("/metrics")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return answer.text


@pytest_asyncio.fixture(loop_scope="session")
async def served(
    build_services: Build, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Services, Scrape]]:
    monkeypatch.setattr("aisaas.api.metrics.FRESH_SECONDS", 0.0)
    async with build_services() as services, browser_at(services) as browser:
        yield services, Scrape(browser)


async def test_a_settled_call_is_counted_with_its_tokens_cost_and_times(
    served: tuple[Services, Scrape],
) -> None:
    services, scrape = served
    before = await scrape()
    principal = await new_principal(services)
    started = await services.chat.send(principal, "long 20", conversation_id=None, model="demo")
    _, message = await whole(services, principal, started)
    await until_idle(services)
    after = await scrape()

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    call = {"model": "demo", "provider": "demo"}
    assert grown("aisaas_model_calls_total", **call, purpose="reply", outcome="done") == 1
    assert message.completion_tokens is not None
    assert grown("aisaas_tokens_total", **call, kind="completion") >= message.completion_tokens
    assert message.prompt_tokens is not None
    assert grown("aisaas_tokens_total", **call, kind="prompt") >= message.prompt_tokens
    assert grown("aisaas_cost_usd_total", **call) >= float(message.cost_usd or 0) - 1e-9
    assert grown("aisaas_first_token_seconds_count", provider="demo") >= 1
    assert grown("aisaas_provider_seconds_count", provider="demo", end="done") >= 1
    assert grown("aisaas_admission_seconds_count") >= 1


async def test_a_refusal_is_counted_by_its_code(served: tuple[Services, Scrape]) -> None:
    services, scrape = served
    before, principal = await scrape(), await new_principal(services)
    with pytest.raises(MessageInvalid):
        await services.chat.send(principal, " ", conversation_id=None, model="demo")
    after = await scrape()
    code = {"code": "message_invalid"}
    counted = value(after, "aisaas_refusals_total", **code)
    assert counted == value(before, "aisaas_refusals_total", **code) + 1


async def test_a_provider_that_fails_is_counted_also_when_a_fallback_answers(
    served: tuple[Services, Scrape],
) -> None:
    services, scrape = served
    before, principal = await scrape(), await new_principal(services)
    started = await services.chat.send(principal, "long 5", conversation_id=None, model="broken")
    _, message = await whole(services, principal, started)
    await until_idle(services)
    assert (message.status, message.answered_by) == ("done", "demo")
    after = await scrape()

    def errors(found: Values) -> float:
        return sum(
            counted
            for (name, labels), counted in found.items()
            if name == "aisaas_provider_errors_total" and ("provider", "demo") in labels
        )

    assert errors(after) == errors(before) + 1
    failed = {"provider": "demo", "end": "failed"}
    assert value(after, "aisaas_provider_seconds_count", **failed) > value(
        before, "aisaas_provider_seconds_count", **failed
    )


async def test_a_running_reply_is_a_gauge_here_and_everywhere(
    served: tuple[Services, Scrape],
) -> None:
    services, scrape = served
    principal = await new_principal(services)
    started = await services.chat.send(
        principal, "long 4000 speed 20", conversation_id=None, model="demo"
    )
    sample(services.running, services.pools)
    running = await scrape()
    assert value(running, "aisaas_replies_here") >= 1
    assert value(running, "aisaas_running_replies") >= 1
    await services.chat.stop(principal, started.reply.id)
    await whole(services, principal, started)
    await until_idle(services)
    sample(services.running, services.pools)
    assert value(await scrape(), "aisaas_replies_here") == value(running, "aisaas_replies_here") - 1


async def test_pools_tell_their_use_and_their_limit(served: tuple[Services, Scrape]) -> None:
    services, scrape = served
    async with services.quota._service.transaction():  # pyright: ignore[reportPrivateUsage]
        sample(services.running, services.pools)
        found = await scrape()
    pool = {"login": "service", "pool": "transactions"}
    assert value(found, "aisaas_db_pool_in_use", **pool) >= 1
    assert value(found, "aisaas_db_pool_limit", **pool) == 30


async def test_money_that_waits_or_is_lost_is_reported(
    served: tuple[Services, Scrape], database: Database
) -> None:
    _, scrape = served
    before = await scrape()
    event = f"evt_{uuid4().hex}"
    database(
        "insert into public.webhook_failures (event_id, type, last_error) values (%s, 'x', 'y')",
        event,
    )
    user, record = uuid4(), uuid4()
    database(
        "insert into public.usage_records (id, reservation_id, user_id, purpose, plan, model,"
        " provider, prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,"
        " input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome)"
        " values (%s, %s, %s, 'reply', 'pro', 'demo', 'demo', 1, 1, 'provider', 1, 2, 'month:x',"
        " 1, 1, 'v', 0, 'done')",
        record,
        uuid4(),
        user,
    )
    at = datetime.now(UTC) - timedelta(hours=3)
    database(
        "insert into public.usage_outbox (usage_record_id, user_id, identifier, stripe_customer_id,"
        " tokens, event_at, state) values (%s, %s, %s, 'cus_x', 2, %s, 'pending')",
        record,
        user,
        str(record),
        at,
    )
    try:
        after = await scrape()
        assert value(after, "aisaas_outbox_lag_seconds") >= 3 * 3600
        rows = "aisaas_outbox_rows"
        assert value(after, rows, state="pending") == value(before, rows, state="pending") + 1
        database(
            "update public.usage_outbox set state = 'parked' where usage_record_id = %s", record
        )
        parked = value(await scrape(), rows, state="parked")
        assert parked == value(before, rows, state="parked") + 1
        open_ = "aisaas_webhook_failures_open"
        assert value(after, open_) == value(before, open_) + 1
    finally:
        database("delete from public.usage_outbox where usage_record_id = %s", record)
        database("delete from public.webhook_failures where event_id = %s", event)


async def test_cap_use_is_a_share_of_the_cap(
    served: tuple[Services, Scrape], database: Database
) -> None:
    services, scrape = served
    principal = await new_principal(services)
    started = await services.chat.send(principal, "long 5", conversation_id=None, model="demo")
    await whole(services, principal, started)
    await until_idle(services)
    found = await scrape()
    [[spent]] = database(
        "select spent_usd + reserved_usd from public.spend_days"
        " where scope = 'total' and day = (now() at time zone 'UTC')::date"
    )
    cap = value(found, "aisaas_spend_cap_usd", scope="total")
    assert cap == float(services.settings.total_daily_usd)
    used = value(found, "aisaas_spend_cap_used_ratio", scope="total")
    assert used == pytest.approx(float(str(spent)) / cap, rel=0.05)


async def test_every_job_tells_when_it_last_succeeded(served: tuple[Services, Scrape]) -> None:
    services, scrape = served
    last = "aisaas_job_last_success_timestamp_seconds"
    # Those of a process without payments and mails begin with it.
    wanted = {"recover_replies", "record_refusals"}
    async with asyncio.timeout(60):
        while not wanted <= set(await services.job_times.read()):
            await share_job_runs_once(services.job_times)
            await asyncio.sleep(0.05)
    found = await scrape()
    for job in wanted:
        assert abs(value(found, last, task=job) - datetime.now(UTC).timestamp()) < 60
        assert value(found, "aisaas_job_expected_seconds", task=job) == EXPECTED_SECONDS[job]
        assert value(found, "aisaas_job_runs_total", task=job, result="done") >= 1


async def test_a_job_that_never_succeeded_is_known_from_when_it_began(
    served: tuple[Services, Scrape],
) -> None:
    services, _ = served
    job = f"never-{uuid4()}"
    await services.job_times.note({job: 5.0}, {})
    await services.job_times.note({job: 9.0}, {})
    assert (await services.job_times.read())[job] == 5.0
    await services.job_times.note({}, {job: 11.0})
    await services.job_times.note({job: 20.0}, {})
    assert (await services.job_times.read())[job] == 11.0


@pytest.mark.parametrize(("part", "source"), [("postgres", "database"), ("valkey", "redis")])
async def test_without_a_part_the_rest_still_comes_and_nothing_is_reported_as_zero(
    routes: Routes, spare_stack: Stack, part: str, source: str
) -> None:
    async with routes() as (_, browser):
        with outage(spare_stack, part, "stopped"):
            answer = await browser.get("/metrics")
    assert answer.status_code == 200
    found = _values(answer.text)
    assert found["aisaas_shared_figures_up", frozenset({("source", source)})] == 0
    missing = {
        "database": "aisaas_outbox_lag_seconds",
        "redis": "aisaas_job_last_success_timestamp_seconds",
    }
    assert missing[source] not in answer.text
    assert "aisaas_admission_seconds_bucket" in answer.text


# What they must not tell


async def test_nothing_tells_who_or_what(served: tuple[Services, Scrape]) -> None:
    services, scrape = served
    principal = await new_principal(services)
    started = await services.chat.send(
        principal, "a canary called Xanthippe", conversation_id=None, model="demo"
    )
    await whole(services, principal, started)
    await until_idle(services)
    with pytest.raises(Exception, match="model"):
        await services.chat.send(
            principal, "hi", conversation_id=None, model="made-up-by-a-browser"
        )
    text = await scrape.text()
    for never in (
        str(principal.user_id),
        principal.user_id.hex,
        principal.email,
        str(started.reply.id),
        "Xanthippe",
        "made-up-by-a-browser",
        *(secret for _, secret in services.settings.secrets()),
    ):
        assert never not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)


def test_readings_of_one_name_share_a_family() -> None:
    text = of_all(
        [Reading("a", "About.", 1, {"state": "x"}), Reading("a", "About.", 2, {"state": 'y"\n'})]
    ).decode()
    assert text.count("# TYPE a gauge") == 1
    found = _values(text)
    assert found["a", frozenset({("state", 'y"\n')})] == 2


# Several workers behind one port

COUNT = """
import os, sys, time
from aisaas.observe.metrics import REFUSALS, REPLIES_HERE, of_this_process
REFUSALS.labels("busy").inc(3)
REPLIES_HERE.set(2)
if sys.argv[1] == "wait":
    print("counted", flush=True)
    sys.stdin.read()
else:
    print(of_this_process().decode())
"""


def test_workers_of_one_machine_answer_for_each_other(tmp_path: Path) -> None:
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT_ROOT)}
    command = [sys.executable, "-c", COUNT]
    with subprocess.Popen(
        [*command, "wait"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "counted\n"
        both = subprocess.run(
            [*command, "tell"], env=env, capture_output=True, text=True, check=True
        )
        other.kill()
        other.wait()
    found = _values(both.stdout)
    assert value(found, "aisaas_refusals_total", code="busy") == 6
    # Of each process by itself.
    here = [number for (name, _), number in found.items() if name == "aisaas_replies_here"]
    assert here == [2, 2]
    # What a worker that is gone has counted still counts; what it had it has no more.
    alone = subprocess.run([*command, "tell"], env=env, capture_output=True, text=True, check=True)
    found = _values(alone.stdout)
    assert value(found, "aisaas_refusals_total", code="busy") == 9
    here = [number for (name, _), number in found.items() if name == "aisaas_replies_here"]
    assert here == [2]

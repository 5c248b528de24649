"""Lines of the day's caps: each is reported once, to every admin and to the webhook, and none is lost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.adapters.alert_webhook import AlertWebhook
from aisaas.billing.notices.alert_delivery import REFUSALS
from aisaas.controls.spending_alerts import SpendingAlerts
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import AlertError, SpendingPaused
from childprocess.ports import HOST, free_port
from devstack.stack import Stack
from tests.alert_receiver import AlertReceiver, taking_alerts
from tests.billing.conftest import Billing, claim, model
from tests.services import Build

CAPS = {"free": Decimal(10), "total": Decimal(100)}
PAGE = "https://chat.example.com/admin/controls"
SECRET = "a secret of thirty-two characters"


@dataclass(frozen=True)
class Desk:
    """An install on which nobody else spends anything and no job runs."""

    service: ServiceDatabase
    owner: psycopg.Connection

    def alerts(self, url: str | None = None) -> SpendingAlerts:
        sink = AlertWebhook(url, SECRET, app="Chat") if url is not None else None
        return SpendingAlerts(self.service, CAPS, sink, page=PAGE)

    def spend(self, usd: str, scope: str = "free") -> None:
        self.owner.execute(
            "insert into spend_days (day, scope, spent_usd)"
            " values ((now() at time zone 'UTC')::date, %s, %s) on conflict (day, scope)"
            " do update set spent_usd = excluded.spent_usd",
            [scope, usd],
        )

    def sent(self) -> list[tuple[str, int]]:
        """Scopes and percents of the mails, in order; those to the admins in one."""
        return self.owner.execute(
            "select values ->> 'scope', (values ->> 'percent')::int from billing_notices"
            " where kind like 'spending_%' and user_id is null order by created_at"
        ).fetchall()

    def states(self) -> list[tuple[str, int]]:
        return self.owner.execute(
            "select state, attempts from private.spending_alerts where told order by created_at"
        ).fetchall()

    def make_due(self) -> None:
        self.owner.execute("update private.spending_alerts set next_attempt_at = now()")


@pytest_asyncio.fixture(loop_scope="session")
async def desk(spare_stack: Stack) -> AsyncGenerator[Desk]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    with psycopg.connect(spare_stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        for table in ("private.spending_alerts", "private.spending_caps", "spend_days"):
            owner.execute(f"delete from {table}")  # pyright: ignore[reportArgumentType]
        owner.execute("delete from billing_notices")
        yield Desk(ServiceDatabase(login), owner)
        owner.execute("delete from spend_days")
    await login.close()


@pytest.fixture(name="receiver")
def _receiver() -> Generator[AlertReceiver]:
    with taking_alerts() as receiver:
        yield receiver


async def test_each_line_is_reported_once(desk: Desk) -> None:
    alerts = desk.alerts()
    for usd in ("4.99", "5", "5", "7.99", "8", "9.99", "10", "12"):
        desk.spend(usd)
        await alerts.look_once()
    desk.spend("80", "total")
    await alerts.look_once()
    await alerts.look_once()
    assert desk.sent() == [("free", 50), ("free", 80), ("free", 100), ("total", 80)]


async def test_lines_crossed_at_once_are_reported_as_the_highest_and_never_after_it(
    desk: Desk,
) -> None:
    alerts = desk.alerts()
    desk.spend("8.5")
    await alerts.look_once()
    # A correction of what was spent doesn't start it again.
    desk.spend("5.5")
    await alerts.look_once()
    assert desk.sent() == [("free", 80)]


async def test_processes_that_look_at_once_tell_it_once(desk: Desk) -> None:
    desk.spend("9")
    made = await asyncio.gather(*(desk.alerts().look_once() for _ in range(6)))
    assert sum(made) == 1
    assert desk.sent() == [("free", 80)]


async def test_cap_that_is_changed_has_lines_of_its_own(desk: Desk) -> None:
    alerts = desk.alerts()
    desk.spend("8")
    await alerts.look_once()
    desk.owner.execute(
        "insert into private.spending_caps (scope, usd, changed_by) values ('free', 16, 'tests')"
    )
    await alerts.look_once()
    desk.owner.execute("delete from private.spending_caps")
    await alerts.look_once()
    assert desk.sent() == [("free", 80), ("free", 50)]


async def test_cap_that_refuses_someone_is_reported_whatever_is_spent(
    desk: Desk, spare_stack: Stack
) -> None:
    login = DatabasePool(spare_stack.env["DATABASE_URL"])
    user = UserDatabase(login)
    quota = Billing(user, desk.service, lambda *_: []).quota(free_cap=Decimal("0.6"))
    desk.owner.execute(
        "insert into private.spending_caps (scope, usd, changed_by) values ('free', 0.6, 'tests')"
    )
    half_a_dollar = [claim(uuid4(), of=model(usd="1000")) for _ in range(2)]
    await quota.reserve(half_a_dollar[0])
    await desk.alerts().look_once()
    assert desk.sent() == []
    with pytest.raises(SpendingPaused):
        await quota.reserve(half_a_dollar[1])
    await desk.alerts().look_once()
    assert desk.sent() == [("free", 100)]
    ((kind, values),) = desk.owner.execute("select kind, values from billing_notices").fetchall()
    assert (kind, values["spent_usd"], values["reserved_usd"]) == (
        "spending_refused",
        "0.000000",
        "0.500000",
    )
    await quota.release(half_a_dollar[0].request_id)
    await login.close()


async def test_webhook_gets_a_sentence_its_figures_and_a_signature(desk: Desk) -> None:
    desk.spend("8.125")
    with taking_alerts() as receiver:
        alerts = desk.alerts(receiver.url)
        await alerts.look_once()
        assert await alerts.deliver_once() == 1
        assert await alerts.deliver_once() == 0
    (posted,) = receiver.posted
    said = posted.said
    assert said["text"].startswith("Chat: Free accounts have spent $8.13 of the $10.00 allowed on")
    assert said["text"].endswith(f": 80%. {PAGE}")
    assert (said["scope"], said["percent"], said["refusing"]) == ("free", 80, False)
    assert (Decimal(said["cap_usd"]), Decimal(said["spent_usd"])) == (10, Decimal("8.125"))
    at, _, signature = posted.headers["X-Alert-Signature"].partition(",v1=")
    signed = at.removeprefix("t=").encode() + b"." + posted.body
    assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert posted.headers["Idempotency-Key"] == said["id"]


async def test_alert_waits_while_the_webhook_is_away_and_is_the_same_when_it_is_back(
    desk: Desk,
) -> None:
    port = free_port()
    alerts = desk.alerts(f"http://{HOST}:{port}/a-token")
    desk.spend("5")
    await alerts.look_once()
    for _ in range(REFUSALS + 1):
        with pytest.raises(AlertError) as caught:
            await alerts.deliver_once()
        assert "a-token" not in str(caught.value)
        desk.make_due()
    with taking_alerts(port) as receiver:
        for status in (500, 503, 429):
            receiver.answers.append(status)
            with pytest.raises(AlertError):
                await alerts.deliver_once()
            desk.make_due()
        assert desk.states() == [("pending", 0)]
        assert await alerts.deliver_once() == 1
    assert len({posted.said["id"] for posted in receiver.posted}) == 1
    assert desk.states() == [("sent", 0)]
    # Mails don't wait for it.
    assert desk.sent() == [("free", 50)]


@pytest.mark.parametrize("status", [302, 400, 404, 410])
async def test_webhook_that_will_not_have_it_ends_the_trying_and_nothing_else(
    desk: Desk, status: int
) -> None:
    desk.spend("5")
    with taking_alerts() as receiver:
        alerts = desk.alerts(receiver.url)
        await alerts.look_once()
        receiver.answers = [status] * REFUSALS
        for _ in range(REFUSALS):
            assert await alerts.deliver_once() == 0
            desk.make_due()
        assert desk.states() == [("dead", REFUSALS)]
        desk.spend("8")
        await alerts.look_once()
        assert await alerts.deliver_once() == 1
    assert [posted.said["percent"] for posted in receiver.posted] == [50] * REFUSALS + [80]


async def test_processes_that_deliver_at_once_post_it_once(desk: Desk) -> None:
    desk.spend("5")
    desk.spend("50", "total")
    with taking_alerts() as receiver:
        await desk.alerts(receiver.url).look_once()
        await asyncio.gather(*(desk.alerts(receiver.url).deliver_once() for _ in range(5)))
    assert sorted(posted.said["scope"] for posted in receiver.posted) == ["free", "total"]


async def test_process_looks_and_tells_by_itself(
    build_services: Build, desk: Desk, spare_stack: Stack, receiver: AlertReceiver
) -> None:
    overrides = {
        name.lower(): value
        for name, value in spare_stack.env.items()
        if name.lower().endswith(("database_url", "redis_url"))
    }
    desk.spend("50", "total")
    overrides |= {"alert_webhook_url": receiver.url, "total_daily_usd": "100"}
    async with build_services(**overrides):
        # Alerts about providers may come, too.
        while not (found := [p.said for p in receiver.posted if "percent" in p.said]):
            await asyncio.sleep(0.02)
    assert found[0]["percent"] == 50

"""Losses go to the webhook as alerts about spending do: recorded by settling, sent once, and never lost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.adapters.alert_webhook import AlertWebhook
from aisaas.admin.job_failures import FailedJobs
from aisaas.billing.ledger import losses
from aisaas.billing.ledger.models import LossReason, ProviderBill
from aisaas.billing.notices.alert_delivery import REFUSALS, AlertDelivery
from aisaas.billing.reservations.quota import book
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import AlertError
from aisaas.language_models import Usage
from childprocess.ports import HOST, free_port
from devstack.stack import Stack
from tests.alert_receiver import AlertReceiver, taking_alerts
from tests.billing.conftest import Billing, charge, claim, model
from tests.billing.test_job_failures import OPERATOR
from tests.services import Build

PAGE = "https://chat.example.com/admin/money"
SECRET = "a secret of thirty-two characters"


@dataclass(frozen=True)
class Desk:
    """An install on which nobody else loses anything and no job runs."""

    billing: Billing
    owner: psycopg.Connection

    def alerts(self, url: str | None) -> AlertDelivery:
        sink = AlertWebhook(url, SECRET, app="Chat") if url is not None else None
        return AlertDelivery(
            self.billing.service, sink, "private.loss_alerts", partial(losses.alert, page=PAGE)
        )

    async def lose(
        self,
        reason: LossReason = "report",
        *,
        tokens: int = 900,
        name: str = "dear",
        to_webhook: bool = True,
    ) -> None:
        """Settle a call of 500 tokens that its provider says were more."""
        user_id = uuid4()
        self.owner.execute(
            "insert into auth.users (id, email) values (%s, %s)",
            [user_id, f"{user_id}@example.com"],
        )
        of = replace(model(usd="10"), id=name)
        mine = claim(user_id, of=of)
        await self.billing.quota().reserve(mine)
        bill = ProviderBill(of, reason, 100, 0, tokens, Usage(100, tokens), 100, 30)
        async with self.billing.service.transaction() as session:
            booked = await book(session, charge(mine, 400, prompt=100))
            assert booked is not None
            await losses.record(session, booked, bill, to_webhook=to_webhook)

    def states(self) -> list[tuple[str, int]]:
        return self.owner.execute(
            "select state, attempts from private.loss_alerts order by created_at"
        ).fetchall()

    def make_due(self) -> None:
        self.owner.execute("update private.loss_alerts set next_attempt_at = now()")

    def mails(self) -> int:
        ((count,),) = self.owner.execute(
            "select count(*) from billing_notices where kind = 'usage_lost' and user_id is null"
        ).fetchall()
        return count


@pytest_asyncio.fixture(loop_scope="session")
async def desk(spare_stack: Stack) -> AsyncGenerator[Desk]:
    service = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    user = DatabasePool(spare_stack.env["DATABASE_URL"])
    with psycopg.connect(spare_stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        for table in ("private.loss_alerts", "billing_notices"):
            owner.execute(f"delete from {table}")  # pyright: ignore[reportArgumentType]
        yield Desk(Billing(UserDatabase(user), ServiceDatabase(service), lambda *_: []), owner)
        owner.execute("delete from spend_days")
    await service.close()
    await user.close()


@pytest.fixture(name="receiver")
def _receiver() -> Generator[AlertReceiver]:
    with taking_alerts() as receiver:
        yield receiver


async def test_webhook_gets_a_sentence_its_figures_and_a_signature(
    desk: Desk, receiver: AlertReceiver
) -> None:
    await desk.lose(tokens=5_000_400)
    alerts = desk.alerts(receiver.url)
    assert await alerts.deliver_once() == 1
    assert await alerts.deliver_once() == 0
    (posted,) = receiver.posted
    body = posted.said
    assert body["kind"] == "usage_lost"
    assert body["text"] == (
        "Chat: demo may bill 5,000,500 tokens for one call to dear. The customer is charged for 500; "
        f"the difference, up to $50.00, is your loss. {PAGE}"
    )
    assert (body["model"], body["provider"], body["reason"]) == ("dear", "demo", "report")
    figures = (body["billed_tokens"], body["charged_tokens"], body["reserved_tokens"])
    assert (*figures, Decimal(body["lost_usd"])) == (5_000_500, 500, 500, Decimal(50))
    at, _, signature = posted.headers["X-Alert-Signature"].partition(",v1=")
    signed = at.removeprefix("t=").encode() + b"." + posted.body
    assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert posted.headers["Idempotency-Key"] == body["id"]
    assert desk.mails() == 1


async def test_each_model_and_reason_is_sent_once_a_day(
    desk: Desk, receiver: AlertReceiver
) -> None:
    alerts = desk.alerts(receiver.url)
    lost: list[tuple[LossReason, str]] = [
        ("report", "dear"),
        ("report", "dear"),
        ("overrun", "dear"),
        ("report", "cheap"),
        ("reservation", "cheap"),
        ("report", "dear"),
    ]
    for reason, name in lost:
        await desk.lose(reason, name=name)
        await alerts.deliver_once()
    assert [(p.said["reason"], p.said["model"]) for p in receiver.posted] == [
        ("report", "dear"),
        ("overrun", "dear"),
        ("report", "cheap"),
        ("reservation", "cheap"),
    ]


async def test_calls_that_are_free_because_they_failed_are_not_sent(desk: Desk) -> None:
    await desk.lose("failed")
    assert desk.states() == []
    assert desk.mails() == 0


async def test_without_a_webhook_only_the_mail_is_recorded(
    desk: Desk, receiver: AlertReceiver
) -> None:
    await desk.lose(to_webhook=False)
    assert await desk.alerts(None).deliver_once() == 0
    # A webhook that is set later isn't sent what the mail said before.
    await desk.lose()
    assert await desk.alerts(receiver.url).deliver_once() == 0
    assert (desk.states(), desk.mails()) == ([], 1)


async def test_calls_that_settle_at_once_send_it_once(desk: Desk, receiver: AlertReceiver) -> None:
    await asyncio.gather(*(desk.lose() for _ in range(5)))
    await asyncio.gather(*(desk.alerts(receiver.url).deliver_once() for _ in range(5)))
    assert len(receiver.posted) == 1


async def test_alert_waits_while_the_webhook_is_away_and_is_the_same_when_it_is_back(
    desk: Desk,
) -> None:
    port = free_port()
    alerts = desk.alerts(f"http://{HOST}:{port}/a-token")
    await desk.lose()
    for _ in range(REFUSALS + 1):
        with pytest.raises(AlertError):
            await alerts.deliver_once()
        desk.make_due()
    with taking_alerts(port) as receiver:
        receiver.answers.append(503)
        with pytest.raises(AlertError):
            await alerts.deliver_once()
        desk.make_due()
        assert desk.states() == [("pending", 0)]
        assert await alerts.deliver_once() == 1
    assert len({posted.said["id"] for posted in receiver.posted}) == 1
    assert desk.states() == [("sent", 0)]


async def test_alert_that_is_refused_is_set_aside_and_retried(
    desk: Desk, receiver: AlertReceiver
) -> None:
    await desk.lose()
    alerts = desk.alerts(receiver.url)
    receiver.answers = [400] * REFUSALS
    for number in range(1, REFUSALS + 1):
        assert await alerts.deliver_once() == 0
        desk.make_due()
        assert desk.states() == [("dead" if number == REFUSALS else "pending", number)]
    failed = FailedJobs(desk.billing.service)
    (item,) = [each for each in (await failed.page(OPERATOR)).found if each.job == "alert_spending"]
    assert (item.about, item.attempts) == ("dear report", REFUSALS)
    assert item.last_error.endswith("status 400")
    await failed.retry(OPERATOR, "alert_spending", item.item, reason="tests")
    assert await alerts.deliver_once() == 1
    assert UUID(receiver.posted[-1].said["id"]) == UUID(item.item)


async def test_process_sends_it_by_itself(
    build_services: Build, desk: Desk, spare_stack: Stack, receiver: AlertReceiver
) -> None:
    overrides: dict[str, object] = {
        name.lower(): value
        for name, value in spare_stack.env.items()
        if name.lower().endswith(("database_url", "redis_url"))
    }
    await desk.lose()
    async with build_services(**overrides, alert_webhook_url=receiver.url):
        while not (found := [p.said for p in receiver.posted if p.said["kind"] == "usage_lost"]):
            await asyncio.sleep(0.02)
    assert found[0]["model"] == "dear"

"""One poisoned item keeps no other from its turn: it waits, is set aside, and can be retried."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from aisaas.adapters.redis_signals import RedisSignals
from aisaas.admin.job_failures import FailedJobs
from aisaas.billing.job_failures import failures as job_failures
from aisaas.billing.job_failures.failures import ATTEMPTS, JobFailures, Patience, name_of
from aisaas.billing.metering.reconcile import JOB as RECONCILE
from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.billing.notices.alert_delivery import REFUSALS as ALERT_TRIES
from aisaas.billing.notices.mailer import REFUSALS as MAIL_TRIES
from aisaas.billing.notices.mailer import NoticeMails
from aisaas.billing.notices.notices import SUBSCRIPTION_ENDED
from aisaas.billing.notices.ports import Mail
from aisaas.billing.ports import Alert
from aisaas.billing.reservations.refusals import Refusals
from aisaas.billing.subscriptions.store import LOOK_JOB as SYNCHRONISE
from aisaas.controls.spending_alerts import SpendingAlerts
from aisaas.errors import ActionInvalid, DependencyError, MailRefused, NotFound, PaymentsRefused
from aisaas.wiring import Services
from tests.billing import test_notice_mails as mails
from tests.billing import test_spending_alerts as alerts
from tests.billing.conftest import Billing, Sql
from tests.billing.test_synchronise_subscriptions import due
from tests.billing.webhooks import Shop
from tests.services import new_principal

office, desk = mails.office, alerts.desk
OPERATOR = "operator:tests"


def noted(sql: Sql, job: str, item: object) -> list[tuple[object, ...]]:
    return sql(
        "select attempts, last_error, next_attempt_at is null from private.job_failures"
        " where job = %s and item = %s",
        job,
        str(item),
    )


def hurry(sql: Sql, job: str, item: object) -> None:
    """Its next try is due."""
    sql(
        "update private.job_failures set next_attempt_at = now()"
        " where job = %s and item = %s and next_attempt_at is not null",
        job,
        str(item),
    )


async def test_item_waits_longer_each_time_and_is_set_aside_at_the_last(
    billing: Billing, sql: Sql
) -> None:
    failures, item = JobFailures(billing.service), str(uuid4())
    waits: list[float] = []
    for number in range(1, ATTEMPTS + 1):
        aside = await failures.failed("tests", item, ZeroDivisionError("what a user wrote"))
        assert aside == (number == ATTEMPTS)
        assert noted(sql, "tests", item) == [(number, "ZeroDivisionError", aside)]
        ((seconds,),) = sql(
            "select round(extract(epoch from next_attempt_at - last_at))::int"
            " from private.job_failures where item = %s",
            item,
        )
        waits.append(cast("float", seconds))
    assert waits == [30, 120, 480, 1920, None]
    await failures.succeeded("tests", item)
    assert noted(sql, "tests", item) == []


def test_an_error_is_named_and_never_quoted() -> None:
    class Odd(Exception):
        kind = "so\x00_\ud83d"

    assert name_of(ValueError("secret words")) == "ValueError"
    assert name_of(Odd("secret words")) == "Odd so_\ufffd"


def test_a_part_that_is_away_is_distinguished_from_items_without_an_answer() -> None:
    patience = Patience()
    for _ in range(5):
        patience.unanswered(DependencyError("one"))
        patience.unanswered(DependencyError("two"))
        patience.answered()
    with pytest.raises(DependencyError, match="two"):
        patience.end()
    patience.unanswered(DependencyError("three"))
    patience.unanswered(DependencyError("four"))
    with pytest.raises(DependencyError, match="five"):
        patience.unanswered(DependencyError("five"))
    Patience().end()


# Subscriptions


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    sql("update profiles set billing_look_at = now() + interval '1 day'")
    sql("update profiles set plan_ends_at = null where plan_ends_at <= now()")
    return Shop(billing.service, sql, signals)


async def test_user_whose_look_always_fails_is_set_aside_and_retried(shop: Shop) -> None:
    poisoned, strange = shop.subscriber()
    shop.provider.change(strange, status=None)
    for number in range(1, ATTEMPTS + 1):
        good, sold = shop.subscriber()
        due(shop, poisoned)
        hurry(shop.sql, SYNCHRONISE, poisoned)
        # As the job asks: until nobody is due any more.
        async with asyncio.timeout(60):
            while await shop.subscriptions.look_again(10):
                pass
        assert shop.profile(good).subscription_id == sold.id
        ((attempts, _, aside),) = noted(shop.sql, SYNCHRONISE, poisoned)
        assert (attempts, aside) == (number, number == ATTEMPTS)
    due(shop, poisoned)
    assert await shop.subscriptions.look_again(10) == 0

    failed = FailedJobs(shop.service)
    assert (SYNCHRONISE, str(poisoned)) in [
        (each.job, each.item) for each in (await failed.page(OPERATOR)).found
    ]
    with pytest.raises(ActionInvalid):
        await failed.retry(OPERATOR, SYNCHRONISE, str(poisoned), reason="")
    with pytest.raises(ActionInvalid):
        await failed.retry(OPERATOR, SYNCHRONISE, str(uuid4()), reason="tests")
    await failed.retry(OPERATOR, SYNCHRONISE, str(poisoned), reason="put right at Stripe")
    shop.provider.change(strange, status="active")
    assert await shop.subscriptions.look_again(10) == 1
    assert shop.profile(poisoned).plan == "pro"
    assert noted(shop.sql, SYNCHRONISE, poisoned) == []
    assert shop.sql(
        "select actor, reason from audit_log where action = 'job.retry' and subject = %s",
        f"job:{SYNCHRONISE}:{poisoned}",
    ) == [(OPERATOR, "put right at Stripe")]


async def test_plan_that_has_ended_is_looked_at_once_and_not_in_a_circle(shop: Shop) -> None:
    poisoned, strange = shop.subscriber()
    await shop.subscriptions.look_again(10)
    shop.provider.change(strange, status=None)
    # It was to be looked at tomorrow, and is, at once, because the plan has ended.
    shop.sql("update profiles set plan_ends_at = now() where id = %s", poisoned)
    assert [await shop.subscriptions.look_again(10) for _ in range(3)] == [1, 0, 0]


async def test_customer_who_gets_no_answer_keeps_nobody_from_their_turn(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, _ = shop.subscriber()
    good, sold = shop.subscriber()
    due(shop, good)
    shop.sql("update profiles set billing_look_at = null where id = %s", slow)
    real = shop.provider.subscriptions
    theirs = shop.profile(slow).customer_id

    async def subscriptions(customer_id: str) -> Any:
        if customer_id == theirs:
            raise DependencyError("timeout")
        return await real(customer_id)

    monkeypatch.setattr(shop.provider, "subscriptions", subscriptions)
    with pytest.raises(DependencyError):
        await shop.subscriptions.look_again(10)
    assert shop.profile(good).subscription_id == sold.id


# Reconciliation


class Meter:
    """A meter that has a customer about whom it answers nonsense."""

    def __init__(self, poisoned: str, error: Exception) -> None:
        self.poisoned = poisoned
        self.error: Exception | None = error
        self.asked: list[str] = []

    async def reported_usage(self, customer: str, *_: object, meter: str) -> int:
        self.asked.append(customer)
        if customer == self.poisoned and self.error is not None:
            raise self.error
        return 0


@pytest.mark.parametrize("error", [KeyError("aggregated_value"), DependencyError("timeout")])
async def test_day_that_cannot_be_compared_keeps_no_other_from_its_turn(
    billing: Billing, sql: Sql, error: Exception
) -> None:
    sql("delete from meter_reconciliations")
    names = [f"cus_{number}{uuid4().hex}" for number in range(12)]
    poisoned = names[0]
    for place, name in enumerate(names):
        sql(
            "insert into meter_reconciliations (stripe_customer_id, day, next_check_at)"
            " values (%s, current_date - 2, now() - make_interval(secs => %s))",
            name,
            100 - place,
        )
    meter = Meter(poisoned, error)
    reconciliation = Reconciliation(billing.service, cast("Any", meter))
    if isinstance(error, DependencyError):
        with pytest.raises(DependencyError):
            await reconciliation.run_once()
    else:
        await reconciliation.run_once()
    assert sorted(meter.asked) == sorted(names)
    ((day,),) = sql("select day from meter_reconciliations where stripe_customer_id = %s", poisoned)
    item = f"{poisoned} {day}"
    if isinstance(error, DependencyError):
        # No answer is nobody's fault: it has its turn again, and is never set aside.
        assert noted(sql, RECONCILE, item) == []
        return
    for _ in range(1, ATTEMPTS):
        hurry(sql, RECONCILE, item)
        sql("update meter_reconciliations set next_check_at = now() where next_check_at > now()")
        await reconciliation.run_once()
    assert noted(sql, RECONCILE, item) == [(ATTEMPTS, "KeyError", True)]
    meter.error = None
    sql("update meter_reconciliations set next_check_at = now() where next_check_at > now()")
    await reconciliation.run_once()
    assert noted(sql, RECONCILE, item) == [(ATTEMPTS, "KeyError", True)]
    await FailedJobs(billing.service).retry(OPERATOR, RECONCILE, item, reason="tests")
    await reconciliation.run_once()
    assert noted(sql, RECONCILE, item) == []


# Mails and alerts


class Mailer:
    """Chokes on some addresses."""

    def __init__(self, poisoned: str) -> None:
        self.poisoned = poisoned
        self.error: Exception = UnicodeEncodeError("ascii", "x", 0, 1, "no")
        self.sent: list[str] = []

    async def send(self, mail: Mail) -> None:
        if mail.to == self.poisoned:
            raise self.error
        self.sent.append(mail.to)


async def test_mail_that_cannot_be_sent_is_set_aside_and_the_others_go_out(
    office: mails.Office,
) -> None:
    (poisoned, address), (good, other) = office.member(), office.member()
    first = await office.ended(poisoned)
    await office.ended(good)
    mailer = Mailer(address)
    sender: NoticeMails = office.mails(cast("Any", mailer))
    assert await sender.deliver_once() == 1
    assert mailer.sent == [other]
    for number in range(2, MAIL_TRIES + 1):
        office.make_due(first)
        await sender.deliver_once()
        assert office.state(first)[1] == number
    assert office.state(first) == ("dead", MAIL_TRIES, "UnicodeEncodeError")

    failed = FailedJobs(office.service)
    found = {each.item: each for each in (await failed.page(OPERATOR)).found}
    assert found[str(first)].about == SUBSCRIPTION_ENDED
    await failed.retry(OPERATOR, "deliver_notices", str(first), reason="tests")
    mailer.poisoned = ""
    assert await sender.deliver_once() == 1
    assert office.state(first)[0] == "sent"


async def test_what_a_mail_server_says_can_be_noted_whatever_it_is(office: mails.Office) -> None:
    user_id, address = office.member()
    notice_id = await office.ended(user_id)
    mailer = Mailer(address)
    mailer.error = MailRefused("550 no\x00 such \ud83d user")
    await office.mails(cast("Any", mailer)).deliver_once()
    assert office.state(notice_id) == ("dead", 1, "550 no such \ufffd user")


class Sink:
    def __init__(self) -> None:
        self.broken = True
        self.alerted: list[UUID] = []

    async def send(self, alert: Alert) -> None:
        if self.broken:
            raise ValueError
        self.alerted.append(alert.id)


async def test_alert_that_cannot_be_sent_is_set_aside_and_retried(desk: alerts.Desk) -> None:
    sink = Sink()
    sender = SpendingAlerts(desk.service, alerts.CAPS, sink, page=alerts.PAGE)
    desk.spend("6")
    await sender.look_once()
    for number in range(1, ALERT_TRIES + 1):
        desk.make_due()
        await sender.deliver_once()
        state = "dead" if number == ALERT_TRIES else "pending"
        assert desk.states() == [(state, number)]
    ((alert_id,),) = desk.owner.execute("select id from private.spending_alerts where told")
    failed = FailedJobs(desk.service)
    await failed.retry(OPERATOR, "alert_spending", str(alert_id), reason="tests")
    sink.broken = False
    assert await sender.deliver_once() == 1
    assert sink.alerted == [alert_id]


async def test_cap_whose_alert_cannot_be_recorded_keeps_no_other_cap_from_being_reported(
    desk: alerts.Desk,
) -> None:
    desk.spend("6")
    desk.spend("60", "total")
    desk.owner.execute(
        "alter table private.spending_alerts add constraint tests check (scope <> 'free')"
    )
    try:
        assert await desk.alerts().look_once() == 1
    finally:
        desk.owner.execute("alter table private.spending_alerts drop constraint tests")
    assert desk.sent() == [("total", 50)]
    assert await desk.alerts().look_once() == 1


# Refusals


async def test_refusal_that_cannot_be_written_loses_only_itself(billing: Billing, sql: Sql) -> None:
    user_id = uuid4()
    sql("insert into auth.users (id, email) values (%s, %s)", user_id, f"{user_id}@example.com")
    refusals = Refusals(billing.service)
    for code in ("busy", "a code\x00", "not_found", "suspended", "quota_exceeded"):
        refusals.record(user_id, code, None)
    await refusals.flush()
    assert sql("select code from refusals where user_id = %s order by code", user_id) == [
        ("busy",),
        ("not_found",),
        ("quota_exceeded",),
        ("suspended",),
    ]
    assert await refusals.flush() == 0


# Who may


async def test_only_admins_see_and_retry(services: Services, billing: Billing) -> None:
    # The very first account of an install is an admin's.
    await new_principal(services)
    nobody = await new_principal(services)
    failed = FailedJobs(billing.service)
    with pytest.raises(NotFound):
        await failed.page(nobody)
    with pytest.raises(NotFound):
        await failed.retry(nobody, "tests", "x", reason="tests")


def test_what_the_payment_provider_says_can_be_stored() -> None:
    refused = PaymentsRefused("a\x00b", "half \ud83d")
    assert (refused.code, refused.message) == ("ab", "half \ufffd")
    assert job_failures.name_of(refused) == "PaymentsRefused"

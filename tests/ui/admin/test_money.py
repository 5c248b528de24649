"""The billing operations page: what it shows, to whom, and what its actions do."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from aisaas import formats
from aisaas.admin.outbox import PAGE_ENTRIES, Resent
from aisaas.admin.reconciliation import Corrected
from aisaas.billing.metering.outbox import Outbox
from aisaas.ui.admin.money import view
from aisaas.ui.admin.money.days import Days
from aisaas.ui.admin.money.failed import FailedJobs
from aisaas.ui.admin.money.losses import Losses
from aisaas.ui.admin.money.outbox import OutboxRows
from aisaas.ui.admin.money.plans import Plans
from aisaas.ui.admin.money.state import Money
from aisaas.ui.admin.money.webhooks import WebhookRows
from aisaas.wiring import Services
from tests.admin.members import new_user
from tests.admin.money import conftest as money
from tests.admin.money.test_ledger import lose, the_day
from tests.admin.money.test_usage import kill, noon, park, settle
from tests.admin.money.test_webhooks import fail
from tests.metering.provider import Provider, Sql
from tests.services import Member
from tests.ui.tabs import JUNK, Tab, by_name, open_tab

PAGE = "/admin/money"
WHY = "the meter was mended"
A_ROW = "00000000-0000-0000-0000-000000000007"
A_DAY = "cus_nobody 2026-01-01"
FORM = {"form": {"search": "cus_"}}
HANDLERS: dict[Any, dict[str, Any]] = {
    Money.load: {},
    OutboxRows.choose: {"which": "dead"},
    OutboxRows.find: FORM,
    OutboxRows.older: {},
    OutboxRows.newer: {},
    OutboxRows.resend: {"form": {"subject": A_ROW, "reason": WHY}},
    OutboxRows.resolve: {"form": {"subject": A_ROW, "resolution": "waived", "reason": WHY}},
    WebhookRows.choose: {"which": "all"},
    WebhookRows.find: FORM,
    WebhookRows.older: {},
    WebhookRows.newer: {},
    WebhookRows.replay: {"form": {"subject": "evt_none", "reason": WHY}},
    Days.choose: {"which": "all"},
    Days.choose_day: {"form": {"day": "2026-01-01"}},
    Days.find: FORM,
    Days.older: {},
    Days.newer: {},
    Days.compare: {"subject": A_DAY},
    Days.compare_day: {},
    Days.correct: {"form": {"subject": A_DAY, "reason": WHY}},
    Days.settle: {"form": {"subject": A_DAY, "reason": WHY}},
    Plans.choose: {"which": "all"},
    Plans.find: FORM,
    Plans.older: {},
    Plans.newer: {},
    Plans.compare: {"subject": A_ROW},
    Plans.compare_all: {},
    Plans.correct: {"form": {"subject": A_ROW, "reason": WHY}},
    FailedJobs.retry: {"form": {"subject": "tests nothing", "reason": WHY}},
}
ACTIONS = [
    *(OutboxRows.resend, OutboxRows.resolve, WebhookRows.replay),
    *(Days.correct, Days.settle, Plans.correct, FailedJobs.retry),
]

pytestmark = pytest.mark.usefixtures("app", "domain")

stack, running_provider, sql = money.stack, money.running_provider, money.sql
provider, service, outbox = money.provider, money.service, money.outbox
services, admin = money.services, money.admin


@pytest.fixture
async def customer(provider: Provider, outbox: Outbox) -> str:
    """Of a day with 10 and 20 tokens, sent and shown."""
    made = await provider.customer()
    provider.seed(made, [10, 20], age_seconds=noon(3))
    await provider.drain([outbox], [made])
    settle(provider, made)
    return made


async def _act(tab: Tab, handler: Any, **form: str) -> str:
    """Do it; what was said of it."""
    acted = tab.vars.get("area.acted", 0)
    await tab.call(handler, path=PAGE, form={"reason": WHY, **form})
    assert not tab.refused
    assert tab.vars["area.acted"] == acted + 1
    return tab.vars["area.said"]


async def _looking_at(tab: Tab, find: Any, search: str) -> None:
    await tab.call(Money.load, path=PAGE)
    assert (tab.vars["money.ready"], tab.vars["money.sold"]) == (True, True)
    await tab.call(find, path=PAGE, form={"search": search})


async def test_refused_row_is_sent_again_and_a_parked_one_decided(
    admin: Member, provider: Provider, sql: Sql
) -> None:
    customer = await provider.customer()
    refused, unsure = provider.seed(customer, [10, 20])
    dead, parked = str(kill(provider, refused)), str(park(provider, unsure))
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, OutboxRows.find, customer)
        shown = {row.id: row for row in tab.vars["outbox_rows.shown"].rows}
        assert (shown[dead].state, shown[dead].error) == ("Rejected", "archived: no meter")
        assert [len(shown[row].fields[0]["options"]) for row in (dead, parked)] == [1, 2]
        said = await _act(tab, OutboxRows.resend, subject=dead)
        assert said == "1 record will be sent again."
        said = await _act(tab, OutboxRows.resolve, subject=parked, resolution="counted")
        assert said == "1 record resolved."
        assert tab.vars["outbox_rows.shown"].rows == []
    assert provider.states([customer]) == {"pending": 1, "sent": 1}
    assert sql("select action from audit_log where subject = %s", f"usage:{dead}") == [
        ("usage.resend",)
    ]


async def test_item_that_a_job_has_set_aside_is_shown_and_retried(admin: Member, sql: Sql) -> None:
    item = f"{uuid4()} 2026-01-01"
    sql(
        "insert into private.job_failures (job, item, attempts, last_error)"
        " values ('reconcile_usage', %s, 5, 'KeyError')",
        item,
    )
    async with open_tab(admin.cookie) as tab:
        await tab.call(Money.load, path=PAGE)
        (row,) = [row for row in tab.vars["failed_jobs.rows"] if row.item == item]
        assert (row.job, row.error, row.tries) == (
            "Comparing ledger and meter",
            "KeyError",
            "5 tries",
        )
        assert await _act(tab, FailedJobs.retry, subject=row.id) == "The item is due again."
        assert item not in [row.item for row in tab.vars["failed_jobs.rows"]]
        await tab.call(FailedJobs.retry, path=PAGE, form={"subject": row.id, "reason": WHY})
        assert tab.refused == "action_invalid"
    assert sql(
        "select attempts, next_attempt_at <= now() from private.job_failures where item = %s", item
    ) == [(1, True)]


async def test_rows_in_view_are_sent_again_together(admin: Member, provider: Provider) -> None:
    customer = await provider.customer()
    for identifier in provider.seed(customer, [10, 20, 30]):
        kill(provider, identifier)
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, OutboxRows.find, customer)
        shown = tab.vars["outbox_rows.shown"]
        assert shown.sending == 3
        assert (
            await _act(tab, OutboxRows.resend, subject=shown.sendable)
            == "3 records will be sent again."
        )
        await tab.call(OutboxRows.choose, path=PAGE, which="pending")
        assert [row.state for row in tab.vars["outbox_rows.shown"].rows] == ["Waiting"] * 3


async def test_rows_come_a_page_at_a_time(admin: Member, provider: Provider) -> None:
    customer = await provider.customer()
    provider.seed(customer, [1] * (PAGE_ENTRIES + 1))
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, OutboxRows.find, customer)
        await tab.call(OutboxRows.choose, path=PAGE, which="pending")
        first = tab.vars["outbox_rows.shown"]
        await tab.call(OutboxRows.older, path=PAGE)
        second = tab.vars["outbox_rows.shown"]
        await tab.call(OutboxRows.newer, path=PAGE)
        assert tab.vars["outbox_rows.shown"] == first
    assert [(len(page.rows), page.page, page.older) for page in (first, second)] == [
        (PAGE_ENTRIES, 1, True),
        (1, 2, False),
    ]


async def test_usage_that_nobody_is_charged_for_is_shown(admin: Member, sql: Sql) -> None:
    sql(
        "insert into private.usage_losses (reservation_id, user_id, purpose, model, provider, reason,"
        " reported_prompt_tokens, reported_completion_tokens, counted_prompt_tokens,"
        " counted_completion_tokens, reserved_prompt_tokens, reserved_completion_tokens,"
        " reserved_usd, charged_prompt_tokens, charged_completion_tokens, charged_usd, lost_tokens,"
        " lost_usd, created_at)"
        " values (gen_random_uuid(), gen_random_uuid(), 'reply', 'tests-model', 'tests', 'report',"
        " 40, 5000000, 44, 30, 50, 393, 1, 40, 30, 0.5, 4999970, 4995.06, now() + interval '1 h')"
    )
    async with open_tab(admin.cookie) as tab:
        await tab.call(Money.load, path=PAGE)
        row = tab.vars["losses.rows"][0]
        assert (row.model, row.provider, row.reason, row.purpose) == (
            "tests-model",
            "tests",
            "Reported more than we counted",
            "Reply",
        )
        assert (row.reported, row.counted, row.reserved, row.charged) == (
            "5,000,040",
            "74",
            "443",
            "70",
        )
        assert (row.tokens, row.usd) == ("4,999,970 tokens", "$4,995.060000")


async def test_failed_event_is_handled_anew(admin: Member, provider: Provider, sql: Sql) -> None:
    customer = await provider.customer()
    ((event,),) = provider.books(
        "select id from objects where kind = 'event' and body like ?", f'%"{customer}"%'
    )
    fail(sql, event)
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, WebhookRows.find, event)
        (row,) = tab.vars["webhook_rows.shown"].rows
        assert (row.status, row.error, row.failed) == (
            "Failed",
            "database, 3 failed attempts",
            True,
        )
        said = await _act(tab, WebhookRows.replay, subject=event)
        assert said == "The event was handled: ignored."
        assert tab.vars["webhook_rows.shown"].rows == []
        await tab.call(WebhookRows.choose, path=PAGE, which="all")
        (row,) = tab.vars["webhook_rows.shown"].rows
        assert (row.status, row.failed) == ("Ignored", False)
        # Also by its id, but once.
        form = {"event": event, "reason": WHY}
        await tab.call(WebhookRows.replay, path=PAGE, form=form)
        assert tab.refused == "action_invalid"


async def test_day_that_differs_is_compared_and_corrected(
    admin: Member, provider: Provider, customer: str
) -> None:
    lose(provider, customer, 10)
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, Days.find, customer)
        assert tab.vars["days.shown"].rows == []
        await tab.call(Days.choose_day, path=PAGE, form={"day": the_day().isoformat()})
        await tab.call(Days.compare_day, path=PAGE)
        assert not tab.refused
        assert tab.vars["area.said"].endswith(f"compared for {formats.day(the_day())}.")
        (row,) = tab.vars["days.shown"].rows
        amounts = ("$0.000030", "$0.000020", "−$0.000010", True)
        assert (row.ours, row.theirs, row.drift, row.open) == amounts
        said = await _act(tab, Days.correct, subject=row.id)
        assert said.startswith(
            "$0.000010 of usage will be sent to Stripe. Compare the day again in an hour."
        )
        # Nobody has a profile here, so no period of theirs is running.
        assert said.endswith("invoice or credit it by hand.")
        await tab.call(Days.compare, path=PAGE, subject=row.id)
        assert tab.vars["area.said"].startswith("Some usage of that day is waiting")
        await tab.call(Days.choose_day, path=PAGE, form={"day": "2020-01-01"})
        assert tab.vars["days.shown"].rows == []


async def test_what_was_corrected_elsewhere_is_settled(
    admin: Member, provider: Provider, customer: str
) -> None:
    provider.books("update meter_events set value = 16 where customer = ? and value = 10", customer)
    subject = f"{customer} {the_day()}"
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, Days.find, customer)
        await tab.call(Days.compare, path=PAGE, subject=subject)
        assert tab.vars["area.said"] == "Stripe differs by +$0.000006."
        said = await _act(tab, Days.settle, subject=subject)
        assert said == "The day is marked as settled."
        assert tab.vars["days.shown"].rows == []
        await tab.call(Days.choose, path=PAGE, which="all")
        (row,) = tab.vars["days.shown"].rows
        assert (row.drift, row.hints, row.open) == ("0", ["+$0.000006 settled"], False)


async def test_plan_that_stripe_knows_nothing_of_is_found_and_taken_back(
    admin: Member, sql: Sql
) -> None:
    user, email = str(uuid4()), f"{uuid4().hex}@example.com"
    sql("insert into auth.users (id, email) values (%s, %s)", user, email)
    sql("update profiles set plan = 'pro', subscription_status = 'trialing' where id = %s", user)
    async with open_tab(admin.cookie) as tab:
        await _looking_at(tab, Plans.find, email)
        assert tab.vars["plans.shown"].rows == []
        await tab.call(Plans.compare_all, path=PAGE)
        assert not tab.refused
        assert "compared" in tab.vars["area.said"]
        (row,) = tab.vars["plans.shown"].rows
        assert (row.ours, row.theirs, row.by, row.open) == ("Pro, trial", "Free", "an admin", True)
        await tab.call(Plans.compare, path=PAGE, subject=user)
        assert tab.vars["area.said"] == "They have Pro, trial, but Stripe says Free."
        said = await _act(tab, Plans.correct, subject=user)
        assert said == "Changed from Pro, trial to Free."
        assert tab.vars["plans.shown"].rows == []
        await tab.call(Plans.compare, path=PAGE, subject=user)
        assert tab.vars["area.said"] == "The plan matches Stripe."
        await tab.call(Plans.choose, path=PAGE, which="all")
        (row,) = tab.vars["plans.shown"].rows
        assert (row.open, row.corrected_at != "") == (False, True)
    assert sql("select plan from profiles where id = %s", user) == [("free",)]
    assert sql("select action, reason from audit_log where subject = %s", f"user:{user}") == [
        ("entitlement.correct", WHY)
    ]


def test_every_handler_of_the_page_is_tried() -> None:
    states = (Money, OutboxRows, WebhookRows, Days, Plans, Losses, FailedJobs)
    own = {f"{each.__name__}.{name}" for each in states for name in vars(each)["event_handlers"]}
    tried = {by_name(handler) for handler in HANDLERS}
    assert {name for name in own if not name.endswith(".setvar")} == tried


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_others_find_nothing_here(services: Services, sql: Sql, handler: Any) -> None:
    member = await new_user(services, sql)
    async with open_tab(member.cookie) as tab:
        await tab.call(handler, path=PAGE, **HANDLERS[handler])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
        for state in ("outbox_rows", "webhook_rows", "days", "plans"):
            shown = f"{state}.shown"
            assert (tab.vars[shown].tiles, tab.vars[shown].rows) == ([], [])
        assert tab.vars["losses.rows"] == []


async def test_without_a_reason_or_with_junk_nothing_is_done(
    admin: Member, provider: Provider, sql: Sql
) -> None:
    (identifier,) = provider.seed(await provider.customer(), [10])
    row = str(kill(provider, identifier))
    mark = uuid4().hex
    async with open_tab(admin.cookie) as tab:
        for handler in ACTIONS:
            form = HANDLERS[handler]["form"] | {"reason": " "}
            if handler in (OutboxRows.resend, OutboxRows.resolve):
                form |= {"subject": row}
            await tab.call(handler, path=PAGE, form=form)
            assert tab.refused == "action_invalid"
        for junk in JUNK:
            for handler in ACTIONS:
                await tab.call(handler, path=PAGE, form=junk)
                names = dict.fromkeys(["subject", "event", "resolution"], junk)
                await tab.call(handler, path=PAGE, form=names | {"reason": mark})
                assert tab.refused in ("action_invalid", "not_found")
            for handler in (OutboxRows.choose, WebhookRows.choose, Days.choose, Plans.choose):
                await tab.call(handler, path=PAGE, which=junk)
                assert tab.refused == "action_invalid"
            for handler in (Days.compare, Plans.compare):
                await tab.call(handler, path=PAGE, subject=junk)
                assert tab.refused in ("action_invalid", "not_found")
    actor = f"user:{admin.principal.user_id}"
    assert sql("select count(*) from audit_log where actor = %s", actor) == [(0,)]
    assert sql("select state from usage_outbox where id = %s", row) == [("dead",)]


def test_what_was_done_is_said_in_words() -> None:
    assert view.resent(Resent(0, 2)) == (
        "0 records will be sent again. Stripe already had 2 records."
    )
    day = date(2026, 1, 31)
    assert "Credit 6 quota tokens" in view.corrected(Corrected("cus_1", day, 6, "to_credit"))
    assert "by hand" in view.corrected(Corrected("cus_1", day, 6, "cancelled", late=True))
    assert [view.lasting(seconds) for seconds in (5, 60, 7300, 86_400, 259_200)] == [
        "less than a minute",
        "1 minute",
        "2 hours",
        "24 hours",
        "3 days",
    ]

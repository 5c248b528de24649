"""Notices become mails: once each, however many send, and later where something is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.adapters.smtp_mail import SmtpMail
from aisaas.billing.notices import notices
from aisaas.billing.notices.mailer import REFUSALS, NoticeMails
from aisaas.billing.notices.notices import add_notice
from aisaas.billing.notices.ports import Mail, Mailer
from aisaas.billing.reservations.quota import book
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, MailError
from aisaas.wiring import Services
from childprocess.ports import HOST, free_port
from devstack.stack import Stack
from tests.billing.conftest import Billing, Sql, charge, claim
from tests.billing.mails import mail_context
from tests.mail_server import MailServer
from tests.parts import Mailbox
from tests.services import Build, new_principal

SENDER = "mail@example.com"
INVOICE = {"plan": "pro", "until": None, "url": None, "amount": 2000}
ENDED = {"subscription": "sub_1", "plan": "pro"}


@dataclass(frozen=True)
class Office:
    """The outbox of an install on which no job runs: what is sent is sent by the test."""

    service: ServiceDatabase
    owner: psycopg.Connection

    def member(self, *, domain: str = "example.com", role: str = "user") -> tuple[UUID, str]:
        """Someone with a profile: their id and address."""
        user_id = uuid4()
        email = f"{user_id.hex}@{domain}"
        self.owner.execute("insert into auth.users (id, email) values (%s, %s)", [user_id, email])
        self.owner.execute("update profiles set role = %s where id = %s", [role, user_id])
        return user_id, email

    async def note(self, user_id: UUID | None, kind: str, values: Mapping[str, object]) -> UUID:
        key = str(uuid4())
        async with self.service.transaction() as session:
            assert await add_notice(session, user_id, kind, key, values)
        ((notice_id,),) = self.owner.execute("select id from billing_notices where key = %s", [key])
        return notice_id

    async def ended(self, user_id: UUID) -> UUID:
        return await self.note(user_id, notices.SUBSCRIPTION_ENDED, ENDED)

    def state(self, notice_id: UUID) -> tuple[str, int, str | None]:
        ((state, attempts, error),) = self.owner.execute(
            "select state, attempts, last_error from billing_notices where id = %s", [notice_id]
        )
        return state, attempts, error

    def make_due(self, notice_id: UUID) -> None:
        self.owner.execute(
            "update billing_notices set next_attempt_at = now() where id = %s", [notice_id]
        )

    def mails(self, mailer: Mailer) -> NoticeMails:
        return NoticeMails(self.service, mailer, mail_context())


@pytest_asyncio.fixture(loop_scope="session")
async def office(spare_stack: Stack) -> AsyncGenerator[Office]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    url = spare_stack.env["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as owner:
        # Other tests on this install have left no recipients.
        owner.execute("delete from billing_notices")
        owner.execute("delete from auth.users")
        yield Office(ServiceDatabase(login), owner)
    await login.close()


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


@pytest.fixture
def to_mailbox(spare_stack: Stack, office: Office) -> NoticeMails:
    return office.mails(SmtpMail(spare_stack.env["SMTP_URL"], spare_stack.env["MAIL_FROM"]))


class Crashing:
    """A process that dies after its mails were taken on, and before it can say so."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def send(self, mail: Mail) -> None:
        await self._mailer.send(mail)
        raise asyncio.CancelledError


async def test_mail_arrives_once_though_two_send_at_once(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox, spare_stack: Stack
) -> None:
    members = [office.member() for _ in range(6)]
    noted = [await office.ended(user_id) for user_id, _ in members]
    other = office.mails(SmtpMail(spare_stack.env["SMTP_URL"], SENDER))
    sent = await asyncio.gather(to_mailbox.deliver_once(), other.deliver_once())
    assert sum(sent) == len(members)
    for (_, email), notice_id in zip(members, noted, strict=True):
        (mail,) = mailbox.to(email)
        assert mail["message_id"] == f"<{notice_id}@chat.example.com>"
        assert mail["subject"] == "Your subscription has ended"
        assert "the Pro plan" in mail["html"]
        assert office.state(notice_id) == ("sent", 0, None)
    assert await to_mailbox.deliver_once() == 0


async def test_same_fact_is_mailed_once_and_a_rolled_back_one_never(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    user_id, email = office.member()
    for _ in range(2):
        async with office.service.transaction() as session:
            await add_notice(session, user_id, notices.SUBSCRIPTION_ENDED, f"a:{user_id}", ENDED)
    async with office.service.transaction() as session:
        await add_notice(session, user_id, notices.SUBSCRIPTION_ENDED, f"b:{user_id}", ENDED)
        await session.rollback()
    assert await to_mailbox.deliver_once() == 1
    assert len(mailbox.to(email)) == 1


async def test_address_is_the_one_of_the_moment_of_sending(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    user_id, before = office.member()
    await office.ended(user_id)
    now = f"new-{before}"
    office.owner.execute("update profiles set email = %s where id = %s", [now, user_id])
    await to_mailbox.deliver_once()
    assert (len(mailbox.to(before)), len(mailbox.to(now))) == (0, 1)


async def test_account_that_is_gone_gets_no_mail(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    user_id, email = office.member()
    await office.ended(user_id)
    office.owner.execute("delete from auth.users where id = %s", [user_id])
    assert await to_mailbox.deliver_once() == 0
    assert mailbox.to(email) == []


async def test_refused_address_is_dead_and_the_others_get_theirs(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    gone, _ = office.member(domain="nowhere.invalid")
    there, email = office.member()
    dead, sent = await office.ended(gone), await office.ended(there)
    assert await to_mailbox.deliver_once() == 1
    assert office.state(dead) == ("dead", 1, "refused with 550")
    assert office.state(sent)[0] == "sent"
    assert len(mailbox.to(email)) == 1


async def test_mail_that_is_always_put_off_is_given_up_in_the_end(office: Office) -> None:
    user_id, email = office.member()
    notice_id = await office.ended(user_id)
    with MailServer() as server:
        server.recipients[email] = "452 4.2.2 Mailbox full"
        mails = office.mails(SmtpMail(server.url, SENDER))
        for tries in range(1, REFUSALS):
            assert await mails.deliver_once() == 0
            assert office.state(notice_id) == ("pending", tries, "put off with 452")
            # Not again at once.
            assert await mails.deliver_once() == 0
            assert office.state(notice_id)[1] == tries
            office.make_due(notice_id)
        assert await mails.deliver_once() == 0
        assert office.state(notice_id) == ("dead", REFUSALS, "put off with 452")
        assert server.taken == []


async def test_while_the_server_is_away_notices_wait_and_are_sent_later(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    user_id, email = office.member()
    notice_id = await office.ended(user_id)
    away = office.mails(SmtpMail(f"smtp://{HOST}:{free_port()}", SENDER))
    for _ in range(REFUSALS + 1):
        with pytest.raises(MailError):
            await away.deliver_once()
        state, attempts, error = office.state(notice_id)
        assert (state, attempts, error) == ("pending", 0, "ConnectionRefusedError")
        office.make_due(notice_id)
    assert await to_mailbox.deliver_once() == 1
    assert len(mailbox.to(email)) == 1
    assert office.state(notice_id) == ("sent", 0, None)


async def test_crash_after_acceptance_sends_again_with_the_same_message_id(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox, spare_stack: Stack
) -> None:
    user_id, email = office.member()
    notice_id = await office.ended(user_id)
    mailer = SmtpMail(spare_stack.env["SMTP_URL"], SENDER)
    with pytest.raises(asyncio.CancelledError):
        await office.mails(Crashing(mailer)).deliver_once()
    # Until its lease ends nobody else takes it.
    assert office.state(notice_id) == ("pending", 0, None)
    assert await to_mailbox.deliver_once() == 0
    office.make_due(notice_id)
    assert await to_mailbox.deliver_once() == 1
    first, again = mailbox.to(email)
    assert first["message_id"] == again["message_id"] == f"<{notice_id}@chat.example.com>"


async def test_shutdown_lets_the_mail_in_flight_arrive_and_takes_no_other(
    office: Office, to_mailbox: NoticeMails
) -> None:
    handing_in, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        async def send(self, mail: Mail) -> None:
            handing_in.set()
            await go_on.wait()

    noted = [await office.ended(office.member()[0]) for _ in range(2)]
    round_ = asyncio.create_task(office.mails(Slow()).deliver_once())
    await handing_in.wait()
    round_.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await round_
    assert sorted(office.state(notice_id)[0] for notice_id in noted) == ["pending", "sent"]
    assert await to_mailbox.deliver_once() == 1


async def test_sender_that_was_too_slow_takes_nothing_back(office: Office) -> None:
    """Its lease ended while the mail server dawdled; someone else has sent the mail since."""
    user_id, _ = office.member()
    notice_id = await office.ended(user_id)
    with MailServer() as server:

        class Slow:
            async def send(self, mail: Mail) -> None:
                office.make_due(notice_id)
                assert await office.mails(SmtpMail(server.url, SENDER)).deliver_once() == 1
                raise MailError("put off with 451", refused=True)

        assert await office.mails(Slow()).deliver_once() == 0
        assert len(server.taken) == 1
    assert office.state(notice_id) == ("sent", 0, None)


async def test_every_admin_is_mailed_and_one_who_is_refused_keeps_nobody_from_it(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    _, first = office.member(role="admin")
    _, second = office.member(role="admin")
    office.member(role="admin", domain="nowhere.invalid")
    _, user = office.member()
    values = {
        **{"user_id": None, "customer": "cus_1", "charge": "ch_1", "amount": 2000},
        **{"currency": "usd", "reason": "fraudulent", "status": "needs_response"},
    }
    await office.note(None, notices.DISPUTE_OPENED, values)
    assert await to_mailbox.deliver_once() == 2
    for email in (first, second):
        (mail,) = mailbox.to(email)
        assert mail["subject"] == "A payment of $20.00 is disputed"
    assert mailbox.to(user) == []
    states = office.owner.execute(
        "select user_id is null, state, count(*)::int from billing_notices group by 1, 2 order by 1, 2"
    ).fetchall()
    assert states == [(False, "dead", 1), (False, "sent", 2), (True, "sent", 1)]


async def test_without_an_admin_what_is_for_them_waits(
    office: Office, to_mailbox: NoticeMails, mailbox: Mailbox
) -> None:
    notice_id = await office.note(
        None, notices.METERING_LATE, {"pending": 5, "minutes": 20, "parked": 0, "dead": 0}
    )
    assert await to_mailbox.deliver_once() == 0
    assert office.state(notice_id) == ("pending", 0, "no admin")
    _, email = office.member(role="admin")
    office.make_due(notice_id)
    assert await to_mailbox.deliver_once() == 1
    assert len(mailbox.to(email)) == 1


async def test_notice_that_cannot_be_written_is_dead_and_logged_and_holds_up_nobody(
    office: Office, to_mailbox: NoticeMails, caplog: pytest.LogCaptureFixture
) -> None:
    user_id, _ = office.member()
    broken = await office.note(user_id, notices.PAYMENT_FAILED, {**INVOICE, "currency": ""})
    unknown = await office.note(user_id, "birthday", {})
    fine = await office.ended(user_id)
    assert await to_mailbox.deliver_once() == 1
    assert office.state(broken) == ("dead", 1, "payment_failed has no currency")
    assert office.state(unknown) == ("dead", 1, "birthday is no kind of notice")
    assert office.state(fine)[0] == "sent"
    assert {record.levelname for record in caplog.records} == {"ERROR"}


async def test_no_transaction_is_open_while_the_mail_server_is_awaited(office: Office) -> None:
    user_id, _ = office.member()
    notice_id = await office.ended(user_id)
    seen: list[object] = []

    class Looking:
        async def send(self, mail: Mail) -> None:
            seen.extend(
                office.owner.execute(
                    "select 1 from pg_stat_activity where usename = 'app_service'"
                    " and state like 'idle in transaction%'"
                ).fetchall()
            )
            # And nobody holds a lock on it.
            office.owner.execute(
                "select 1 from billing_notices where id = %s for update nowait", [notice_id]
            )

    assert await office.mails(Looking()).deliver_once() == 1
    assert seen == []


async def test_without_the_database_nothing_is_sent(office: Office, spare_stack: Stack) -> None:
    nowhere = DatabasePool(f"postgresql://app@{HOST}:{free_port()}/postgres")
    with MailServer() as server:
        mails = NoticeMails(
            ServiceDatabase(nowhere),
            SmtpMail(server.url, SENDER),
            mail_context(),
        )
        with pytest.raises(DependencyError):
            await mails.deliver_once()
    assert server.taken == []
    await nowhere.close()


# In a whole product


async def test_running_product_mails_what_a_call_has_crossed(
    services: Services, stack: Stack, build_services: Build, billing: Billing, sql: Sql
) -> None:
    member = (await new_principal(services)).user_id
    ((email,),) = sql("select email from profiles where id = %s", member)
    call = claim(member, prompt=0, max_tokens=146, limit=100, overage=50, free=False)
    await billing.quota().reserve(call)
    async with billing.service.transaction() as session:
        await book(session, charge(call, 146))
    box = Mailbox(stack)
    try:
        # A process that starts looks at once.
        async with asyncio.timeout(60), build_services(smtp_url=stack.env["SMTP_URL"]):
            while len(found := box.to(str(email))) < 2:
                await asyncio.sleep(0.05)
    finally:
        box.close()
    assert {mail["subject"] for mail in found} == {
        "You've used all your tokens",
        "You've used 90% of your spending cap",
    }


async def test_without_a_mail_server_nothing_fails_and_notices_wait(
    build_services: Build, caplog: pytest.LogCaptureFixture
) -> None:
    async with build_services() as alone:
        assert alone.notice_mails is None
        await asyncio.sleep(0)
    warnings = [
        record.getMessage() for record in caplog.records if "SMTP_URL" in record.getMessage()
    ]
    assert warnings == ["SMTP_URL is not set: mails about billing are off, and notices wait"]

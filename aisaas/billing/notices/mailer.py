"""Mails notices: claims one, writes the mail, hands it to the mail server, and records the outcome.

Any number of processes may do it at once: a claim is a lease that lasts longer than sending a mail
can take, and no transaction is open during that. Invariant: a mail is sent at least once. A crash
between its acceptance and the record sends it again, with the same Message-ID.

Outages: while the mail server is away notices wait, however long. A notice is given up only after
the server deferred its mail REFUSALS times or refused it for good. Without an admin, notices for
admins wait too.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.job_failures.failures import name_of
from aisaas.billing.notices import store
from aisaas.billing.notices.mail import MailContext, write
from aisaas.billing.notices.ports import Mailer
from aisaas.billing.notices.store import Claimed
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, MailError, MailRefused, NoticeUnwritable
from aisaas.observe.metrics import JOB_ITEMS_FAILED

log = logging.getLogger(__name__)

REFUSALS = 5
LEASE_SECONDS = 180.0
# The mail server is down: not the mail's fault, so retry without limit.
AWAY_SECONDS = 60.0
# A mail that was put off: after 5, 20, 80 and 320 minutes.
PUT_OFF_SECONDS = 300.0
PUT_OFF_FACTOR = 4
NO_ADMIN_SECONDS = 600.0
# How long a shutdown waits for the mail that is being handed in.
LAST_SECONDS = 5.0


class NoticeMails:
    def __init__(self, service: ServiceDatabase, mailer: Mailer, mail_context: MailContext) -> None:
        self._service = service
        self._mailer = mailer
        self._mail_context = mail_context

    async def deliver_once(self) -> int:
        """Mail everything that is due, one after the other; how many were sent.

        Raises:
            DependencyError: the database is away.
            MailError: the mail server is away; the rest waits.
        """
        sent = 0
        while (notice := await self._claim()) is not None:
            sent += await self._deliver_to_the_end(notice)
        return sent

    async def _deliver_to_the_end(self, notice: Claimed) -> bool:
        """A shutdown waits for the mail in flight, so that it needn't be sent again."""
        task = asyncio.create_task(self._deliver(notice))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=LAST_SECONDS)
            task.cancel()
            raise

    async def _claim(self) -> Claimed | None:
        async with self._service.transaction() as session:
            return await store.claim(session, LEASE_SECONDS)

    async def _deliver(self, notice: Claimed) -> bool:
        try:
            return await self._mail(notice)
        except DependencyError:
            raise
        except Exception as error:
            # A failure of this one must not block the others; it waits like a refused one.
            log.exception("notice %s could not be mailed", notice.id)
            JOB_ITEMS_FAILED.labels("deliver_notices").inc()
            await self._put_off(notice, name_of(error), refused=True)
            return False

    async def _mail(self, notice: Claimed) -> bool:
        if notice.address is None:
            await self._hand_to_admins(notice)
            return False
        try:
            mail = write(notice.id, notice.kind, notice.values, notice.address, self._mail_context)
        except NoticeUnwritable as error:
            log.exception("notice %s can't be written", notice.id)
            await self._give_up(notice, str(error))
            return False
        try:
            await self._mailer.send(mail)
        except MailRefused as error:
            log.warning("notice %s is refused: %s", notice.id, error)
            await self._give_up(notice, str(error))
            return False
        except MailError as error:
            await self._put_off(notice, str(error), refused=error.refused)
            if not error.refused:
                # The next one would fare no better.
                raise
            return False
        async with self._service.transaction() as session:
            await store.note_sent(session, notice)
        return True

    async def _hand_to_admins(self, notice: Claimed) -> None:
        async with self._service.transaction() as session:
            admins = await store.hand_to_admins(session, notice)
            if not admins:
                await store.put_off(
                    session, notice, "no admin", seconds=NO_ADMIN_SECONDS, refused=False
                )
        if not admins:
            log.warning("notice %s waits: it is for the admins, and there is none", notice.id)

    async def _give_up(self, notice: Claimed, error: str) -> None:
        async with self._service.transaction() as session:
            await store.note_dead(session, notice, error)

    async def _put_off(self, notice: Claimed, error: str, *, refused: bool) -> None:
        if refused and notice.attempts + 1 >= REFUSALS:
            log.warning("notice %s is given up: %s", notice.id, error)
            await self._give_up(notice, error)
            return
        seconds = AWAY_SECONDS
        if refused:
            seconds = PUT_OFF_SECONDS * PUT_OFF_FACTOR**notice.attempts
        async with self._service.transaction() as session:
            await store.put_off(session, notice, error, seconds=seconds, refused=refused)

"""Emails the notices about billing. The first process that checks sends what is due.

Outages: without the database or the mail server notices wait, and are emailed afterwards.
"""

from __future__ import annotations

import logging

from aisaas.billing.notices.mailer import NoticeMails
from aisaas.jobs.runner import Job, run

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


async def deliver_notices(mails: NoticeMails | None, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled; without a mail server it logs that and returns."""
    if mails is None:
        log.warning("SMTP_URL is not set: mails about billing are off, and notices wait")
        return
    await run(
        Job(
            name="deliver_notices",
            every=every,
            once=mails.deliver_once,
            waits="notices are mailed later",
            failed="mailing notices failed",
        )
    )

"""Mails the notices about billing. What is due in any process is mailed by the first that looks.

Outages: without the database or the mail server notices stay where they are, and are mailed after.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.notices.mailer import NoticeMails
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


async def deliver_notices(mails: NoticeMails | None) -> None:
    """Runs until cancelled; without a mail server it says so and ends."""
    if mails is None:
        log.warning("SMTP_URL is not set: mails about billing are off, and notices wait")
        return
    RUNS.began("deliver_notices")
    while True:
        try:
            await mails.deliver_once()
            RUNS.succeeded("deliver_notices")
        except DependencyError as error:
            RUNS.failed("deliver_notices")
            log.warning("notices are mailed later: %s", error)
        except Exception:
            RUNS.failed("deliver_notices")
            # An unexpected error in one round must not stop the later ones.
            log.exception("mailing notices failed")
        await asyncio.sleep(EVERY_SECONDS)

"""Stops the replies of users who were signed out, suspended, banned or deleted, even with no tab
open.

Each process checks its own replies: EVERY_SECONDS plus the age at which a session is rechecked
(accounts/live.py) stays below a minute.

Outages: without the database or the auth server replies continue; neither outage ends a reply.
"""

from __future__ import annotations

from aisaas.accounts.identity import Accounts
from aisaas.chat.running import RunningReplies
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 10.0


async def end_replies(
    accounts: Accounts, running: RunningReplies, *, every: float = EVERY_SECONDS
) -> None:
    """Runs until cancelled, `every` so many seconds."""
    await run(
        Job(
            name="end_replies",
            every=every,
            once=lambda: end_replies_once(accounts, running),
            waits="sessions of running replies are looked at later",
            failed="sessions of running replies not looked at",
            rests_first=True,
        )
    )


async def end_replies_once(accounts: Accounts, running: RunningReplies) -> None:
    """One look at the sessions of all replies that run here."""
    sessions = running.sessions()
    if not sessions:
        return
    async for session_id in accounts.ended(sessions):
        running.stop_of_session(session_id)

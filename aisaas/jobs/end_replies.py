"""Stops the replies of whoever was signed out, suspended, banned or deleted, also without a tab.

Each process looks after its own replies: EVERY_SECONDS and the age at which a session is looked at
again (accounts/live.py) together stay below a minute.

Outages: without the database or the auth server replies go on; neither is a reason to end anything.
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

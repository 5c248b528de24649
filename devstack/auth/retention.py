"""Removes old records: expired codes and links, used refresh tokens, abandoned sessions, old mail.
A batch at a time, each in its own transaction.

Used refresh tokens are kept for a while, because one that is used again was stolen, and ends its
session.
"""

import asyncio
from typing import LiteralString

import psycopg

from devstack.auth.database import Database
from devstack.auth.errors import AuthError
from devstack.serving import log

EVERY_SECONDS = 900.0
BATCH = 1000
# By table: which rows to delete. Tokens before their sessions, so that no delete cascades to many
# rows. The app's own sessions last 30 days, so one not renewed for 60 is never used again.
OLD: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("auth.one_time_tokens", "created_at < now() - interval '1 day'"),
    ("auth.flow_state", "created_at < now() - interval '1 day'"),
    ("auth.mfa_challenges", "created_at < now() - interval '1 day'"),
    ("auth.mailbox", "created_at < now() - interval '7 days'"),
    ("auth.refresh_tokens", "revoked_at < now() - interval '7 days'"),
    ("auth.sessions", "coalesce(refreshed_at, created_at) < now() - interval '60 days'"),
)


async def remove_old(database: Database) -> dict[str, int]:
    """By table, how many rows that removed. Raises `AuthError` 503 without the database."""
    removed: dict[str, int] = {}
    for table, old in OLD:
        removed[table] = 0
        while batch := await _remove_some(database, table, old):
            removed[table] += batch
    return removed


async def keep_removing(database: Database) -> None:
    """Runs until cancelled; without the database it continues in the next round."""
    while True:
        try:
            removed = await remove_old(database)
        except (AuthError, psycopg.Error):
            log("old rows wait to be removed", failed=True)
        else:
            if any(removed.values()):
                log("removed old rows", removed=removed)
        await asyncio.sleep(EVERY_SECONDS)


async def _remove_some(database: Database, table: LiteralString, old: LiteralString) -> int:
    query: LiteralString = (
        f"delete from {table} where ctid = any(array("  # noqa: S608  # names of this module
        f"select ctid from {table} where {old} limit %s for update skip locked))"
    )
    async with database.transaction() as connection:
        cursor = await connection.execute(query, [BATCH])
        return cursor.rowcount

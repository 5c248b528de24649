"""Ended sessions, with the tokens they hold; and records of deleted accounts, once all their data is
gone."""

from __future__ import annotations

from typing import LiteralString

from aisaas.db.purging import Rule

# Kept briefly, in case a user asks what happened to a session.
SESSIONS_KEPT_DAYS = 7
_SESSIONS = "sessions"
DAYS = {_SESSIONS: SESSIONS_KEPT_DAYS}

RULES = (
    Rule(
        "private.sessions",
        """
        select ctid from private.sessions
        where expires_at < now() - make_interval(days => :days)
          or revoked_at < now() - make_interval(days => :days)
        limit :batch for update skip locked
        """,
        _SESSIONS,
    ),
)


def removed_accounts(*left: LiteralString) -> Rule:
    """Args: `left`: queries for what other domains still have of a removed account `r`."""
    gone = " and ".join(f"not exists ({each})" for each in left)
    return Rule(
        "private.removed_accounts",
        f"select ctid from private.removed_accounts r where {gone} limit :batch",  # noqa: S608  # statements of ours
    )

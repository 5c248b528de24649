"""Sessions that are over, with the tokens they hold; and the notes of accounts that are gone, once
nothing is left of them."""

from __future__ import annotations

from aisaas.db.purging import Rule

# For a moment, in case somebody asks what became of a session.
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
    Rule(
        "private.removed_accounts",
        """
        select ctid from private.removed_accounts r
        where not exists (select from public.conversations c where c.user_id = r.user_id)
          and not exists (select from public.refusals f where f.user_id = r.user_id)
        limit :batch
        """,
    ),
)

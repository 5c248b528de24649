"""What users deleted, and the remaining data of deleted accounts: messages first, then their
conversations."""

from __future__ import annotations

from typing import LiteralString

from aisaas.accounts.relations import REMOVED
from aisaas.db.purging import Rule

# Conversations that are looked at at once; each is found by an index.
_AT_ONCE: LiteralString = "100"
_DUE: LiteralString = f"""
    (select id from public.conversations
      where deleted_at < now() - make_interval(days => :days)
      order by deleted_at limit {_AT_ONCE})
    union
    (select c.id from {REMOVED} r join public.conversations c on c.user_id = r.user_id
      limit {_AT_ONCE})
    """  # noqa: S608  # statements of this module
KEEP = "retention_deleted_conversations_days"

RULES = (
    # The newest first: an answer goes before its question, so that no delete cascades.
    Rule(
        "public.messages",
        f"""
        select m.ctid from ({_DUE}) due cross join lateral (
          select ctid from public.messages where conversation_id = due.id
          order by created_at desc, id desc limit :batch for update skip locked
        ) m limit :batch
        """,  # noqa: S608
        KEEP,
    ),
    Rule(
        "public.conversations",
        f"""
        select ctid from public.conversations c where c.id in ({_DUE})
          and not exists (select from public.messages m where m.conversation_id = c.id)
        limit :batch
        """,  # noqa: S608
        KEEP,
    ),
)

# Data of a deleted account, `r`, that must be deleted before its record.
LEFT: LiteralString = "select from public.conversations c where c.user_id = r.user_id"

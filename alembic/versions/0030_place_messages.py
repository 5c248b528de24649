"""Messages that exist follow each other in time, conversation by conversation."""

from __future__ import annotations

from sqlalchemy import Connection, text

from aisaas.db.online import (
    create_index_concurrently,
    drop_index_concurrently,
    outside_transaction,
)

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

INDEX = "public.messages_parent_idx"
# Conversations in a statement: few, so that a send that waits for one of their rows hardly waits.
BATCH = 50
PLACE = """
    with batch as (
      select id from public.conversations where id > :after order by id limit :batch
    ), placed as (
      update public.messages m set parent_id = p.parent_id, depth = p.depth
      from (
        select id, lag(id) over line as parent_id, row_number() over line - 1 as depth
        from public.messages where conversation_id in (select id from batch)
        window line as (partition by conversation_id order by created_at, id)
      ) p
      where m.id = p.id and m.depth is null
    )
    select id from batch order by id desc limit 1
"""


def place_messages(connection: Connection) -> None:
    """Messages that a release adds meanwhile are placed by their trigger."""
    after: object = "00000000-0000-0000-0000-000000000000"
    while after is not None:
        after = connection.execute(text(PLACE), {"after": after, "batch": BATCH}).scalar()


def upgrade() -> None:
    create_index_concurrently(INDEX, "public.messages (conversation_id, parent_id)")
    with outside_transaction() as connection:
        place_messages(connection)


def downgrade() -> None:
    drop_index_concurrently(INDEX)

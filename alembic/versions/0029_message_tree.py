"""Messages become a tree: each says what it follows."""

from __future__ import annotations

from aisaas.db.schema_files import apply
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

FILES = {
    "functions/place_message.sql": "ce62ee0d9874",
    "tables/public.conversations.sql": "a077a5971448",
    "tables/public.messages.sql": "60de3dd6e439",
}


def upgrade() -> None:
    # Constraints are proven by 0032, once 0030 has placed the messages that exist.
    op.execute(
        """
        alter table public.conversations add column leaf_id uuid;
        alter table public.messages
          add column parent_id uuid,
          add column depth integer,
          add constraint messages_depth_check check (depth >= 0) not valid,
          add constraint messages_root_check
            check ((parent_id is null) = (depth = 0)) not valid,
          add constraint messages_parent_id_conversation_id_fkey
            foreign key (parent_id, conversation_id)
            references public.messages (id, conversation_id) on delete cascade not valid;
        """
    )
    apply(FILES)


def downgrade() -> None:
    op.execute(
        """
        drop trigger messages_place on public.messages;
        drop function private.place_message;
        alter table public.messages drop column parent_id, drop column depth;
        alter table public.conversations drop column leaf_id;
        """
    )

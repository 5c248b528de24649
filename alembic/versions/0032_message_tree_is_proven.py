"""What was added about the tree of messages holds for every row, so that it is what the classes say."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

UNPROVEN = (
    "messages_depth_check",
    "messages_root_check",
    "messages_parent_id_conversation_id_fkey",
    "messages_placed_check",
)


def upgrade() -> None:
    # Reads the table, and lets everybody read and write it meanwhile.
    for constraint in UNPROVEN:
        op.execute(f"alter table public.messages validate constraint {constraint}")
    # Needs no look at the rows: a check has proven it, and is no longer needed.
    op.execute(
        "alter table public.messages alter depth set not null, drop constraint messages_placed_check"
    )


def downgrade() -> None:
    op.execute("alter table public.messages alter depth drop not null")

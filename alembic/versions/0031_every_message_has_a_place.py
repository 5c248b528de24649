"""Every message has a place in its conversation's tree, from here on."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Proven by the next migration, which lets everybody read and write meanwhile.
    op.execute(
        "alter table public.messages add constraint messages_placed_check"
        " check (depth is not null) not valid"
    )


def downgrade() -> None:
    op.execute("alter table public.messages drop constraint messages_placed_check")

"""Replies keep how they ended and what the model thought; conversations keep how much it should think."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        alter table public.messages drop column ending, drop column thinking,
          drop column thinking_tokens, drop column thinking_seconds, drop column continued_from;
        alter table public.conversations drop column effort
        """
    )

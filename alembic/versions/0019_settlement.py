"""Settlement never exceeds the reservation; what it leaves over is kept as the house's loss."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    # The function keeps its bound: it has the same arguments and columns as before.
    op.execute(
        """
        drop table private.usage_losses;
        alter table public.usage_records drop column report_issue;
        """
    )

"""What jobs could not do, item by item."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        drop table private.job_failures;
        drop index public.billing_notices_dead_idx;
        drop index private.spending_alerts_dead_idx;
        """
    )

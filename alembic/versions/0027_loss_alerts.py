"""Losses also go to the alert webhook."""

from __future__ import annotations

from pathlib import Path

from aisaas.db.schema_files import apply
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")
FILES = {"tables/private.loss_alerts.sql": "211e52b09e29"}


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))
    apply(FILES)


def downgrade() -> None:
    op.execute("drop table private.loss_alerts")

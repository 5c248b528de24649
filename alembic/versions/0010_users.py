"""Limits of one account: replies at once, and how high its spending cap may be."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        "alter table public.profiles drop column parallel_replies, drop column highest_cap_usd"
    )

"""Checks that were added to grown tables hold for every row, so that they are what the classes say."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

UNPROVEN = {
    "public.quota_periods": "quota_periods_billed_check",
    "public.usage_outbox": "usage_outbox_value_check",
    "public.usage_records": "usage_records_kinds_check",
}


def upgrade() -> None:
    # Reads the table, and lets everybody read and write it meanwhile.
    for table, constraint in UNPROVEN.items():
        op.execute(f"alter table {table} validate constraint {constraint}")


def downgrade() -> None:
    pass

"""Prices by kind of token and tier, and what each line of the ledger was computed from."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        alter table private.model_overrides drop column price;
        alter table public.usage_records
          drop constraint usage_records_kinds_check,
          drop column price_digest,
          drop column thinking_tokens,
          drop column cache_write_tokens,
          drop column cache_write_1h_tokens,
          drop column region;
        drop table private.price_versions;
        """
    )

"""Refunds: the period of a subscription whose payment went back."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Refunded in full, or lost in a dispute: in that period nothing is granted.
    op.execute("alter table public.subscriptions add column suspended_period timestamptz")


def downgrade() -> None:
    op.execute("alter table public.subscriptions drop column suspended_period")

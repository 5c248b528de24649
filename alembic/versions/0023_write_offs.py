"""Extra usage that was given up with its subscription."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        -- What the ledger charged in a subscription's last period and no invoice asks for, because no
        -- payment succeeded. Append-only, like the ledger.
        create table private.write_offs (
          period_key text primary key,
          user_id uuid not null,
          subscription_id text not null,
          reason text not null check (reason in ('payment_failed')),
          tokens bigint not null check (tokens > 0),
          usd numeric(14, 6) not null check (usd > 0),
          created_at timestamptz not null default now()
        );
        create index write_offs_user_idx on private.write_offs (user_id);
        alter table private.write_offs enable row level security;
        revoke all on private.write_offs from public, anon, authenticated, service_role;
        grant select, insert on private.write_offs to service_role;
        """
    )


def downgrade() -> None:
    op.execute("drop table private.write_offs")

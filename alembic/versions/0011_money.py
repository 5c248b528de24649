"""Money's health: usage that was waived, corrections of the meter, plans that differed, purging."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        revoke delete on public.processed_webhook_events, public.webhook_failures,
          public.billing_notices from service_role;
        drop table public.entitlement_differences;
        drop index public.profiles_plan_ends_idx;
        drop index public.billing_notices_over_idx;
        drop index public.meter_reconciliations_drift_idx;
        create index meter_reconciliations_drift_idx on public.meter_reconciliations (day desc)
          where drift <> 0;
        alter table public.meter_reconciliations drop column corrected_at, drop column settled_tokens;
        drop index public.usage_outbox_trouble_idx;
        -- Without the ledger's line there was no such row, and nobody had let one be.
        delete from public.usage_outbox where usage_record_id is null;
        update public.usage_outbox set state = 'dead' where state = 'waived';
        alter table public.usage_outbox drop constraint usage_outbox_state_check,
          add constraint usage_outbox_state_check
            check (state in ('pending', 'sent', 'dead', 'parked')),
          alter column usage_record_id set not null;
        create index usage_outbox_trouble_idx on public.usage_outbox (state, event_at desc)
          where state in ('dead', 'parked');
        """
    )

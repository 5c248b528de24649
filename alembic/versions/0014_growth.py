"""Growing tables: accounts whose history is removed later, and what purging everything needs."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        revoke delete on public.messages, public.reservations, public.quota_periods,
          public.meter_reconciliations, private.provider_errors, private.spending_alerts
          from service_role;
        -- What would hang on nothing.
        delete from public.credit_uses u
          where not exists (select from public.reservations r where r.id = u.reservation_id);
        alter table public.credit_uses add constraint credit_uses_reservation_id_fkey
          foreign key (reservation_id) references public.reservations (id);
        delete from public.refusals f
          where not exists (select from public.profiles p where p.id = f.user_id);
        alter table public.refusals add constraint refusals_user_id_fkey
          foreign key (user_id) references public.profiles (id) on delete cascade;
        drop trigger conversations_owner on public.conversations;
        drop function private.require_profile;
        delete from public.conversations c
          where not exists (select from public.profiles p where p.id = c.user_id);
        alter table public.conversations add constraint conversations_user_id_fkey
          foreign key (user_id) references public.profiles (id) on delete cascade;
        drop trigger profiles_removed on public.profiles;
        drop function private.note_removed_account;
        drop table private.removed_accounts;
        """
    )

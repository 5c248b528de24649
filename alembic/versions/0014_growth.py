"""Growing tables: accounts whose history goes later, purging of everything, searching by index."""

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
        drop index if exists public.audit_log_words_idx, public.profiles_name_words_idx,
          public.profiles_address_words_idx;
        drop index public.audit_log_actor_idx;
        create index audit_log_created_idx on public.audit_log (created_at desc);
        drop index public.audit_log_newest_idx, public.subscriptions_earned_idx,
          private.sessions_seen_idx, public.profiles_suspended_idx, public.profiles_admins_idx,
          public.profiles_status_idx, public.profiles_plan_idx;
        create index profiles_email_idx on public.profiles (lower(email));
        drop index public.profiles_address_idx, public.profiles_joined_idx;
        create index meter_reconciliations_drift_idx
          on public.meter_reconciliations (day desc, stripe_customer_id)
          where drift <> settled_tokens;
        drop index public.meter_reconciliations_differ_idx;
        drop index public.entitlement_differences_corrected_idx, public.webhook_failures_resolved_idx,
          public.meter_reconciliations_settled_idx, public.quota_periods_end_idx,
          public.reservations_closed_idx, private.sessions_revoked_idx, private.sessions_expired_idx;
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

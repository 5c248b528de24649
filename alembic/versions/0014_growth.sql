-- Accounts that are gone ------------------------------------------------------------------------------

-- Deleting an account must not take as long as its history is large: the sign-in server waits for it in
-- one statement. So what may be large doesn't hang on the profile any more. The account is noted here
-- instead, and a job removes what it left behind, a batch at a time; then the note goes, too.
create table private.removed_accounts (
  user_id uuid primary key,
  removed_at timestamptz not null default now()
);

create function private.note_removed_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into private.removed_accounts (user_id) values (old.id) on conflict (user_id) do nothing;
  return null;
end $$;
create trigger profiles_removed after delete on public.profiles
  for each row execute function private.note_removed_account();

-- Nobody's conversation can't be begun: looked at when it is added, as a foreign key would, but the
-- account's end doesn't wait for its conversations.
create function private.require_profile() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform 1 from public.profiles where id = new.user_id for key share;
  if not found then
    raise foreign_key_violation using message = 'conversations: there is no such profile';
  end if;
  return null;
end $$;
alter table public.conversations drop constraint conversations_user_id_fkey;
create trigger conversations_owner after insert or update of user_id on public.conversations
  for each row execute function private.require_profile();
-- Refusals are only ever written for accounts that are there (billing/store.py).
alter table public.refusals drop constraint refusals_user_id_fkey;

-- Like the ledger, whose lines have no foreign key to it either, a use of credits outlives the
-- reservation it was for.
alter table public.credit_uses drop constraint credit_uses_reservation_id_fkey;

-- Purging ---------------------------------------------------------------------------------------------

create index sessions_expired_idx on private.sessions (expires_at);
create index sessions_revoked_idx on private.sessions (revoked_at) where revoked_at is not null;
create index reservations_closed_idx on public.reservations (closed_at) where closed_at is not null;
create index quota_periods_end_idx on public.quota_periods (period_end);
create index meter_reconciliations_settled_idx on public.meter_reconciliations (day)
  where next_check_at is null and drift = settled_tokens;
-- With all that is summed of it: days that differ are few, which the planner can't know.
create index meter_reconciliations_differ_idx
  on public.meter_reconciliations (day desc, stripe_customer_id)
  include (drift, settled_tokens, checked_at) where drift <> settled_tokens;
drop index public.meter_reconciliations_drift_idx;
create index webhook_failures_resolved_idx on public.webhook_failures (resolved_at)
  where resolved_at is not null;
create index entitlement_differences_corrected_idx on public.entitlement_differences (corrected_at)
  where corrected_at is not null;

-- What admins look for --------------------------------------------------------------------------------

create index profiles_joined_idx on public.profiles (created_at, id);
-- With the id, by which equal addresses are ordered.
create index profiles_address_idx on public.profiles (lower(email), id);
drop index public.profiles_email_idx;
create index profiles_plan_idx on public.profiles (plan, id);
create index profiles_status_idx on public.profiles (subscription_status, id);
create index profiles_admins_idx on public.profiles (id) where role = 'admin';
create index profiles_suspended_idx on public.profiles (id) where suspended_at is not null;
create index sessions_seen_idx on private.sessions (last_seen_at, user_id);
-- With all that the dashboard reads of it.
create index subscriptions_earned_idx on public.subscriptions (plan, status)
  include (created_at, trial_end, past_due_since, updated_at);
create index audit_log_newest_idx on public.audit_log (created_at desc, id desc);
drop index public.audit_log_created_idx;
create index audit_log_actor_idx on public.audit_log (actor, created_at desc, id desc);

-- Words in the middle of a text are found by their trigrams. A server without that extension finds
-- them, too, by reading everything.
do $$
declare
  v_operators text;
begin
  if not exists (select from pg_catalog.pg_available_extensions where name = 'pg_trgm') then
    raise notice 'pg_trgm is not available: searching reads whole tables';
    return;
  end if;
  if not exists (select from pg_catalog.pg_extension where extname = 'pg_trgm') then
    create schema if not exists extensions;
    create extension pg_trgm with schema extensions;
  end if;
  select quote_ident(n.nspname) || '.gin_trgm_ops' into v_operators
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'pg_trgm';
  execute 'create index profiles_address_words_idx on public.profiles using gin (lower(email) '
    || v_operators || ')';
  execute 'create index profiles_name_words_idx on public.profiles using gin (lower(full_name) '
    || v_operators || ')';
  execute 'create index audit_log_words_idx on public.audit_log using gin ('
    || '(actor || chr(10) || action || chr(10) || subject || chr(10) || reason) ' || v_operators || ')';
end $$;

-- Access ----------------------------------------------------------------------------------------------

alter table private.removed_accounts enable row level security;
revoke all on private.removed_accounts from public, anon, authenticated, service_role;
revoke execute on function private.note_removed_account, private.require_profile
  from public, anon, authenticated, service_role;
grant select, delete on private.removed_accounts to service_role;
grant delete on public.messages, public.reservations, public.quota_periods,
  public.meter_reconciliations, private.provider_errors, private.spending_alerts to service_role;

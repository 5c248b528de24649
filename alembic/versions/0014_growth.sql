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

-- Search ----------------------------------------------------------------------------------------------

-- For finding words in the middle of a text by their trigrams. A server without the extension finds
-- them, too, by reading everything.
do $$
begin
  if not exists (select from pg_catalog.pg_available_extensions where name = 'pg_trgm') then
    raise notice 'pg_trgm is not available: searching reads whole tables';
    return;
  end if;
  if not exists (select from pg_catalog.pg_extension where extname = 'pg_trgm') then
    create schema if not exists extensions;
    create extension pg_trgm with schema extensions;
  end if;
end $$;

-- Access ----------------------------------------------------------------------------------------------

alter table private.removed_accounts enable row level security;
revoke all on private.removed_accounts from public, anon, authenticated, service_role;
revoke execute on function private.note_removed_account, private.require_profile
  from public, anon, authenticated, service_role;
grant select, delete on private.removed_accounts to service_role;
grant delete on public.messages, public.reservations, public.quota_periods,
  public.meter_reconciliations, private.provider_errors, private.spending_alerts to service_role;

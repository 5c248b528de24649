create or replace function private.note_removed_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into private.removed_accounts (user_id) values (old.id) on conflict (user_id) do nothing;
  return null;
end $$;

revoke all on function private.note_removed_account from public, anon, authenticated, service_role;

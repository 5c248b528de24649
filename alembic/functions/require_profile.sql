-- A conversation needs an account. This is checked when the conversation is added, as by a foreign key,
-- but deleting an account doesn't wait for its conversations to be deleted.
create or replace function private.require_profile() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform 1 from public.profiles where id = new.user_id for key share;
  if not found then
    raise foreign_key_violation using message = 'conversations: there is no such profile';
  end if;
  return null;
end $$;

revoke all on function private.require_profile from public, anon, authenticated, service_role;

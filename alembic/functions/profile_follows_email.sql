create or replace function private.profile_follows_email() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.profiles set email = coalesce(new.email, '') where id = new.id;
  return new;
end $$;

revoke all on function private.profile_follows_email from public, anon, authenticated, service_role;

alter table public.profiles enable row level security;
revoke all on public.profiles from public, anon, authenticated, service_role;
grant select (id, email, full_name, avatar_url, role, plan, subscription_status, created_at,
  updated_at, subscription_id, period_start, period_end, plan_ends_at, overage_cap_usd)
  on public.profiles to authenticated;
grant update (full_name, avatar_url, overage_cap_usd) on public.profiles to authenticated;
grant select, update on public.profiles to service_role;

drop policy if exists own_profile_read on public.profiles;
create policy own_profile_read on public.profiles for select to authenticated
  using (id = (select auth.uid()));

drop policy if exists own_profile_write on public.profiles;
create policy own_profile_write on public.profiles for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

create or replace trigger profiles_touch before update on public.profiles
  for each row execute function private.touch_updated_at();
create or replace trigger profiles_removed after delete on public.profiles
  for each row execute function private.note_removed_account();

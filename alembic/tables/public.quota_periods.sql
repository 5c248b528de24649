alter table public.quota_periods enable row level security;
revoke all on public.quota_periods from public, anon, authenticated, service_role;
grant select on public.quota_periods to authenticated;
grant select, insert, update, delete on public.quota_periods to service_role;

drop policy if exists own_quota_read on public.quota_periods;
create policy own_quota_read on public.quota_periods for select to authenticated
  using (user_id = (select auth.uid()));

create or replace trigger quota_periods_touch before update on public.quota_periods
  for each row execute function private.touch_updated_at();

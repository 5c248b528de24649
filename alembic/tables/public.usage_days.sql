-- Written by a trigger of the ledger alone.
alter table public.usage_days enable row level security;
revoke all on public.usage_days from public, anon, authenticated, service_role;
grant select on public.usage_days to authenticated;
grant select on public.usage_days to service_role;

drop policy if exists own_usage_days_read on public.usage_days;
create policy own_usage_days_read on public.usage_days for select to authenticated
  using (user_id = (select auth.uid()));

alter table public.refusals enable row level security;
revoke all on public.refusals from public, anon, authenticated, service_role;
grant select on public.refusals to authenticated;
grant select, insert, update, delete on public.refusals to service_role;

drop policy if exists own_refusals_read on public.refusals;
create policy own_refusals_read on public.refusals for select to authenticated
  using (user_id = (select auth.uid()));

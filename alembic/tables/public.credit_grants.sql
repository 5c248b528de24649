alter table public.credit_grants enable row level security;
revoke all on public.credit_grants from public, anon, authenticated, service_role;
grant select (id, user_id, tokens, spent, expires_at, created_at)
  on public.credit_grants to authenticated;
grant select, insert on public.credit_grants to service_role;
grant update (spent) on public.credit_grants to service_role;

drop policy if exists own_credits_read on public.credit_grants;
create policy own_credits_read on public.credit_grants for select to authenticated
  using (user_id = (select auth.uid()));

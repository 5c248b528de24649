alter table public.spend_days enable row level security;
revoke all on public.spend_days from public, anon, authenticated, service_role;
grant select, insert, update on public.spend_days to service_role;

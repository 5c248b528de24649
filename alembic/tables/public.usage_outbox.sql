alter table public.usage_outbox enable row level security;
revoke all on public.usage_outbox from public, anon, authenticated, service_role;
grant select, insert, update on public.usage_outbox to service_role;

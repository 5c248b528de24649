alter table public.webhook_failures enable row level security;
revoke all on public.webhook_failures from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.webhook_failures to service_role;

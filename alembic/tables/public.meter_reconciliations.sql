alter table public.meter_reconciliations enable row level security;
revoke all on public.meter_reconciliations from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.meter_reconciliations to service_role;

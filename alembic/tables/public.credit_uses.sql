-- Append-only: nobody may change or remove a row.
alter table public.credit_uses enable row level security;
revoke all on public.credit_uses from public, anon, authenticated, service_role;
grant select, insert on public.credit_uses to service_role;
